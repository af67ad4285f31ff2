//! Arrow IPC files.

use super::heading::About;
use super::whole::{Problem, open_part};
use arrow_array::RecordBatch;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;

pub(super) fn write(file: &mut File, about: &About, rows: &RecordBatch) -> Result<(), Problem> {
    let mut writer = FileWriter::try_new(BufWriter::new(file), &about.schema)?;
    if rows.num_rows() > 0 {
        writer.write(rows)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?.flush()?)
}

pub(super) fn join(file: &mut File, parts: &[PathBuf]) -> Result<(), Problem> {
    let open = |path: &PathBuf| -> Result<_, Problem> {
        Ok(FileReader::try_new(BufReader::new(open_part(path)?), None)?)
    };
    let Some(first) = parts.first() else { return Ok(()) };
    let mut writer = FileWriter::try_new(BufWriter::new(file), &open(first)?.schema())?;
    for path in parts {
        for rows in open(path)? {
            writer.write(&rows?)?;
        }
    }
    writer.finish()?;
    Ok(writer.into_inner()?.flush()?)
}
