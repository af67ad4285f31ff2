//! JSON lines.

use super::whole::Problem;
use arrow_array::RecordBatch;
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use std::fs::File;
use std::io::{BufWriter, Write};

pub(super) fn write(file: &mut File, rows: &RecordBatch) -> Result<(), Problem> {
    let mut out = BufWriter::with_capacity(256 << 10, file);
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut out);
    writer.write(rows)?;
    writer.finish()?;
    Ok(out.flush()?)
}
