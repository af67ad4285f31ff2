//! Parts, and what they are joined to.

use super::format::Format;
use super::heading::{About, Heading};
use super::joining::{Joining, copy};
use super::whole::whole;
use super::{array_file, arrow, jsonl, parquet, record};
use crate::error::{CorpusError, Result};
use arrow_array::RecordBatch;
use std::path::{Path, PathBuf};

/// The name of the part of a window.
pub(crate) fn part_name(format: Format, index: usize) -> String {
    match format {
        Format::Npy | Format::Safetensors => format!("part-{index:06}.values"),
        format => format!("part-{index:06}.{}", format.name()),
    }
}

/// The file of the kept columns of a part, where the part itself has only values.
pub(crate) fn rows_name(index: usize) -> String {
    format!("part-{index:06}.rows.jsonl")
}

/// Writes a part into `folder`, whole and on the disk when this returns.
pub(crate) fn write_part(folder: &Path, index: usize, about: &About, rows: &RecordBatch) -> Result<()> {
    let path = folder.join(part_name(about.heading.format, index));
    if about.heading.format.is_array() {
        let (values, others) = record::split_values(rows).map_err(|e| CorpusError::file(&path, e))?;
        if let Some(others) = others {
            whole(&folder.join(rows_name(index)), |file| jsonl::write(file, &others))?;
        }
        return whole(&path, |file| array_file::write_values(file, &values));
    }
    whole(&path, |file| match about.heading.format {
        Format::Parquet => parquet::write(file, about, rows),
        Format::Arrow => arrow::write(file, about, rows),
        _ => jsonl::write(file, rows),
    })
}

/// Joins the parts of these places, in order, to one file of so many rows.
pub(crate) fn join(folders: &[(PathBuf, usize)], heading: &Heading, rows: u64, to: &Path) -> Result<()> {
    let parts: Vec<PathBuf> =
        folders.iter().map(|(folder, index)| folder.join(part_name(heading.format, *index))).collect();
    if heading.rows_beside {
        let others: Vec<PathBuf> =
            folders.iter().map(|(folder, index)| folder.join(rows_name(*index))).collect();
        whole(&rows_file(to), |file| others.iter().try_for_each(|part| copy(part, file)))?;
    }
    whole(to, |file| match heading.format {
        Format::Npy => array_file::join(file, npy(heading, rows), &parts),
        Format::Safetensors => array_file::join(file, safetensors(heading, rows), &parts),
        _ => {
            let mut joining = Joining::of(file, to, heading)?;
            parts.iter().try_for_each(|part| joining.add(part))?;
            Ok(joining.finish()?)
        }
    })
}

/// The file of kept columns beside an array.
fn rows_file(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}.rows.jsonl"))
}

fn npy(heading: &Heading, rows: u64) -> Vec<u8> {
    array_file::npy_header(heading.output_type, rows, heading.width, heading.json["fingerprint"].as_str())
}

fn safetensors(heading: &Heading, rows: u64) -> Vec<u8> {
    array_file::safetensors_header(heading.output_type, rows, heading.width, &heading.json)
}
