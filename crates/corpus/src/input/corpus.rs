//! Texts with their columns, in files.

use super::files;
use super::input_file::{InputFile, InputFormat};
use super::rows::{RowBatch, RowReader};
use crate::columns::{Columns, Keep};
use crate::error::{CorpusError, Result};
use arrow_array::Array;
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use taskvec::CancelToken;

/// How much there is in a corpus.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Count {
    /// Rows.
    pub rows: u64,
    /// Bytes of their texts.
    pub text_bytes: u64,
}

/// A text, and its title if it has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextRow {
    /// The text.
    pub text: String,
    /// Its title.
    pub title: Option<String>,
}

/// A file that could not be opened.
struct NoRows;

impl RowReader for NoRows {
    fn next_rows(&mut self) -> Result<Option<RowBatch>> {
        Ok(None)
    }
}

/// Texts with their columns, in files or on standard input.
#[derive(Debug)]
pub struct Corpus {
    pub(crate) files: Vec<InputFile>,
    /// With a text source.
    pub(crate) columns: Columns,
    /// The columns that are kept.
    pub(crate) kept: SchemaRef,
}

impl Corpus {
    /// The rows of files, folders (all files below them whose endings are known, sorted by name) and patterns such as
    /// `data/*.jsonl.gz`; `-` is standard input. `format`: what they hold, if their endings and contents do not say.
    ///
    /// The types of columns are settled here: JSONL is read once for that if columns of it are kept.
    ///
    /// # Errors
    /// If a file cannot be read, holds something else, has not the columns, or its columns have other types than the
    /// files' before it.
    pub fn open<P: AsRef<Path>>(
        inputs: &[P],
        format: Option<InputFormat>,
        columns: Columns,
    ) -> Result<Corpus> {
        let mut files = files::find(inputs, format)?;
        let mut columns = columns;
        if columns.id.is_some() || columns.keep != Keep::Nothing {
            files.iter_mut().try_for_each(InputFile::make_readable_again)?; // for the types of its columns
        }
        let mut kept: Option<Vec<FieldRef>> = None;
        for file in &files {
            let found = file.columns(&mut columns)?;
            kept = Some(match kept {
                None => found,
                Some(before) => same_types(file, before, found)?,
            });
        }
        Ok(Corpus { files, columns, kept: Arc::new(Schema::new(kept.unwrap_or_default())) })
    }

    /// Hands on each line before the next one is read, for programs that write a line and wait for its answer. For lines
    /// and JSONL; others are read in batches.
    pub fn one_by_one(mut self) -> Corpus {
        self.files.iter_mut().for_each(|file| file.one_by_one = true);
        self
    }

    /// All texts with their titles, for callers that want them in memory. A row without a text is an error, and others
    /// follow.
    pub fn texts(&self) -> impl Iterator<Item = Result<TextRow>> + '_ {
        let files = (0..self.files.len()).flat_map(|file| {
            let mut reader = self.reader(file);
            std::iter::from_fn(move || match &mut reader {
                Ok(open) => open.next_rows().transpose(),
                Err(_) => std::mem::replace(&mut reader, Ok(Box::new(NoRows))).err().map(Err),
            })
            .map(move |batch| (file, batch))
        });
        files.flat_map(|(file, batch)| match batch {
            Ok(batch) => self.rows_of(file, &batch),
            Err(error) => vec![Err(error)],
        })
    }

    /// Counts rows and texts, by reading all of them; stops when the token is cancelled.
    ///
    /// # Errors
    /// If a file cannot be read, or [`CorpusError::Interrupted`].
    pub fn count(&self, cancel: &CancelToken) -> Result<Count> {
        let mut count = Count::default();
        for file in 0..self.files.len() {
            let mut reader = self.reader(file)?;
            while let Some(batch) = reader.next_rows()? {
                if cancel.is_cancelled() {
                    return Err(CorpusError::Interrupted);
                }
                count.rows += batch.numbers.len() as u64;
                count.text_bytes += batch.texts.text_bytes();
            }
        }
        Ok(count)
    }

    fn rows_of(&self, file: usize, batch: &RowBatch) -> Vec<Result<TextRow>> {
        let faults: HashMap<usize, &String> =
            batch.faults.iter().map(|(row, problem)| (*row, problem)).collect();
        let (text, title) = (&batch.texts.text, batch.texts.title.as_ref());
        let row = |row: usize| {
            let failed = |problem: &str| {
                let place = self.place(file, batch.numbers[row]);
                Err(CorpusError::Row { place, problem: problem.to_owned() })
            };
            match faults.get(&row) {
                Some(problem) => failed(problem),
                None if text.is_null(row) => failed("the text is null"),
                None => {
                    let title =
                        title.filter(|title| title.is_valid(row)).map(|title| title.value(row).to_owned());
                    Ok(TextRow { text: text.value(row).to_owned(), title })
                }
            }
        };
        (0..batch.numbers.len()).map(row).collect()
    }

    /// Whether it can be read again: standard input cannot.
    pub fn can_be_read_again(&self) -> bool {
        self.files.iter().all(|file| !file.is_stdin())
    }

    /// Opens the file at this place.
    pub(crate) fn reader(&self, file: usize) -> Result<Box<dyn RowReader>> {
        self.files[file].reader(&self.columns, &self.kept)
    }

    /// A row's place for messages: `faq.csv, line 7`.
    pub(crate) fn place(&self, file: usize, number: u64) -> String {
        self.files[file].place(number)
    }
}

/// The kept columns of the files so far, with those of the next: equal, or numbers of both kinds.
fn same_types(file: &InputFile, before: Vec<FieldRef>, found: Vec<FieldRef>) -> Result<Vec<FieldRef>> {
    use arrow_schema::DataType::{Float64, Int64};
    let differs = |problem: String| Err(CorpusError::file(&file.path, problem));
    if before.len() != found.len() {
        return differs(format!(
            "the files before it have {} kept columns, this one {}; name those that all have with --keep",
            before.len(),
            found.len()
        ));
    }
    let mut all = Vec::new();
    for (one, other) in before.iter().zip(&found) {
        let kind = match (one.data_type(), other.data_type()) {
            (a, b) if a == b => a.clone(),
            (Int64, Float64) | (Float64, Int64) if file.is_json() => Float64,
            (a, b) => {
                return differs(format!(
                    "its column `{}` holds {b}, and `{}` of the files before it {a}",
                    other.name(),
                    one.name()
                ));
            }
        };
        if one.name() != other.name() {
            return differs(format!(
                "its column `{}` stands where the files before it have `{}`; name the columns that all have with --keep",
                other.name(),
                one.name()
            ));
        }
        all.push(Arc::new(Field::new(one.name(), kind, true)));
    }
    Ok(all)
}
