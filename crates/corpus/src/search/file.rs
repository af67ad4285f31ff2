//! What a file of vectors is.

use super::layout::Layout;
use super::stored::{ArrowVectors, ParquetVectors, Source, Values};
use crate::error::{CorpusError, Result};
use crate::output::record::{VECTOR, value_type};
use arrow_schema::{DataType, Schema, SchemaRef};
use serde_json::Value;
use std::path::{Path, PathBuf};
use taskvec::{Bytes, OutputType};

/// A file with a column of vectors.
#[derive(Debug)]
pub(super) struct VectorFile {
    /// What it says of how its vectors were made.
    pub(super) about: Value,
    pub(super) schema: SchemaRef,
    pub(super) layout: Layout,
    /// Values of a vector before it was brought to its type.
    pub(super) dimensions: usize,
    pub(super) rows: u64,
    pub(super) source: Source,
    /// Whether it has dense vectors, and sparse ones.
    pub(super) dense: bool,
    pub(super) sparse: bool,
}

/// The files of paths: themselves, or the tables of a folder, sorted.
pub(super) fn find<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if !path.is_dir() {
            all.push(path.to_owned());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(CorpusError::read(path))?;
        let mut found: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()
            .map_err(CorpusError::read(path))?;
        found.retain(|file| file.extension().is_some_and(|ending| ending == "parquet" || ending == "arrow"));
        if found.is_empty() {
            return Err(CorpusError::file(path, "there are no files of vectors in it, .parquet or .arrow"));
        }
        found.sort();
        all.extend(found);
    }
    Ok(all)
}

impl VectorFile {
    pub(super) fn open(path: &Path) -> Result<VectorFile> {
        let bytes = Bytes::map(path).map_err(|e| CorpusError::Engine(e.into()))?;
        let bytes = bytes::Bytes::from_owner(bytes);
        let (source, schema) = match () {
            () if bytes.starts_with(b"PAR1") => ParquetVectors::open(path, bytes)?,
            () if bytes.starts_with(b"ARROW1") => ArrowVectors::open(path, bytes)?,
            () => {
                let problem = "it is neither Parquet nor Arrow; `taskvec embed --output vectors.parquet` writes what is searched";
                return Err(CorpusError::file(path, problem));
            }
        };
        let about: Value = schema
            .metadata()
            .get("taskvec")
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| {
                CorpusError::file(path, "it does not say how its vectors were made: taskvec did not write it")
            })?;
        let give = about["give"].as_str().unwrap_or("dense");
        let (dense, sparse) = (give != "sparse", give != "dense");
        let (width, kind) = if dense { vectors(path, &schema)? } else { (0, DataType::Null) };
        let said = about["type"].as_str().and_then(|name| name.parse().ok());
        let output_type: OutputType =
            said.ok_or_else(|| CorpusError::file(path, "it does not say the type of its vectors"))?;
        let dimensions = about["dimensions"].as_u64().unwrap_or(0) as usize;
        let fits =
            dimensions > 0 && output_type.values(dimensions) == width && kind == value_type(output_type);
        if dense && !fits {
            let problem = format!(
                "it says that it has vectors of {dimensions} values as {output_type}, and has {width} of {kind}"
            );
            return Err(CorpusError::file(path, problem));
        }
        let rows = source.rows();
        let layout = Layout { path: path.to_owned(), output_type, width };
        Ok(VectorFile { about, schema, layout, dimensions, rows, source, dense, sparse })
    }

    /// Checks that its vectors were made as another file's.
    pub(super) fn check_made_as(&self, other: &VectorFile) -> Result<()> {
        for key in ["give", "type", "dimensions", "fingerprint", "ranges"] {
            if self.about[key] != other.about[key] {
                return Err(CorpusError::file(
                    &self.layout.path,
                    format!(
                        "its vectors were made otherwise than those of {}: {key} is {}, and there {}; search them apart, or embed both alike",
                        other.layout.path.display(),
                        self.about[key],
                        other.about[key]
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Parts of the file that can be read apart.
    pub(super) fn groups(&self) -> usize {
        self.source.groups()
    }

    /// Hands on the vectors of a group, some at a time, each time with the row of the first.
    pub(super) fn each_block(&self, group: usize, take: &mut dyn FnMut(u64, Values<'_>)) -> Result<()> {
        self.source.each_block(&self.layout, group, take)
    }
}

/// Values of a stored vector, and their type.
fn vectors(path: &Path, schema: &Schema) -> Result<(usize, DataType)> {
    match schema.field_with_name(VECTOR).map(|field| field.data_type()) {
        Ok(DataType::FixedSizeList(item, width)) if *width > 0 => {
            Ok((*width as usize, item.data_type().clone()))
        }
        Ok(other) => Err(CorpusError::file(
            path,
            format!("its column `{VECTOR}` holds {other}, expected lists of a fixed size"),
        )),
        Err(_) => Err(CorpusError::file(path, format!("it has no column `{VECTOR}`"))),
    }
}
