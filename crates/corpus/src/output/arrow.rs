//! Arrow IPC files.

use super::heading::About;
use super::whole::{Problem, open_part};
use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

pub(super) fn write(file: &mut File, about: &About, rows: &RecordBatch) -> Result<(), Problem> {
    let mut writer = FileWriter::try_new(BufWriter::new(file), &about.schema)?;
    if rows.num_rows() > 0 {
        writer.write(rows)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?.flush()?)
}

/// Adds the batches of parts.
pub(super) struct Joining {
    file: Option<File>,
    writer: Option<FileWriter<BufWriter<File>>>,
}

impl Joining {
    pub(super) fn new(file: File) -> Joining {
        Joining { file: Some(file), writer: None }
    }

    pub(super) fn add(&mut self, part: &Path) -> Result<(), Problem> {
        let reader = FileReader::try_new(BufReader::new(open_part(part)?), None)?;
        if let Some(file) = self.file.take() {
            self.writer = Some(FileWriter::try_new(BufWriter::new(file), &reader.schema())?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        reader.into_iter().try_for_each(|rows| Ok(writer.write(&rows?)?))
    }

    pub(super) fn finish(self) -> Result<(), Problem> {
        let Some(mut writer) = self.writer else { return Ok(()) };
        writer.finish()?;
        Ok(writer.into_inner()?.flush()?)
    }
}
