//! One JSON object a line.

use super::input_file::InputFile;
use super::json_types::Shape;
use super::lines::{Lines, text_of};
use super::rows::{BATCH_BYTES, BATCH_ROWS, RowBatch, RowReader, Texts, kept_names};
use crate::columns::{Columns, FieldPath, Keep, TextSource};
use crate::error::{CorpusError, Result};
use arrow_array::builder::LargeStringBuilder;
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use arrow_schema::{DataType, Field, FieldRef, SchemaRef};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The kept columns with the types of all their values, for which the file is read once.
pub(super) fn columns(file: &InputFile, columns: &mut Columns) -> Result<Vec<FieldRef>> {
    columns.text.get_or_insert_with(|| TextSource::usual("text"));
    if columns.id.is_none() && columns.keep == Keep::Nothing {
        return Ok(Vec::new());
    }
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    let mut lines = Lines::open(file)?;
    let mut line = Vec::new();
    while lines.next(&mut line)?.is_some() {
        // What is wrong with a row is said when it is read for its text.
        if let Ok(Value::Object(members)) = serde_json::from_slice(&line) {
            for (name, value) in &members {
                match shapes.get_mut(name) {
                    Some(shape) => shape.add(value),
                    None => shapes.entry(name.clone()).or_default().add(value),
                }
            }
        }
    }
    let known: Vec<String> = shapes.keys().cloned().collect();
    let field = |name: &String| {
        let kind = shapes.get(name).map_or(DataType::Utf8, Shape::column_type);
        Arc::new(Field::new(name, kind, true))
    };
    Ok(kept_names(columns, &known, &file.path)?.iter().map(field).collect())
}

/// Rows of JSON objects.
pub(super) struct JsonRows {
    lines: Lines,
    path: PathBuf,
    columns: Columns,
    kept: SchemaRef,
    decoder: Decoder,
    batch_rows: usize,
}

impl JsonRows {
    pub(super) fn open(file: &InputFile, columns: &Columns, kept: &SchemaRef) -> Result<JsonRows> {
        let decoder = ReaderBuilder::new(kept.clone())
            .with_batch_size(BATCH_ROWS)
            .with_coerce_primitive(true)
            .build_decoder()
            .map_err(|e| CorpusError::file(&file.path, e))?;
        let (mut columns, kept) = (columns.clone(), kept.clone());
        if columns.text.as_ref().is_some_and(|text| text.is_usual) {
            columns.title = columns.title.or_else(|| "title".parse().ok());
        }
        let (path, batch_rows) = (file.path.clone(), file.batch_rows());
        Ok(JsonRows { lines: Lines::open(file)?, path, columns, kept, decoder, batch_rows })
    }

    /// The kept values of a row; what is of several kinds in its column as JSON text.
    fn kept_of(&self, row: &Value) -> Map<String, Value> {
        let mut kept = Map::new();
        for field in self.kept.fields() {
            let value = match (row.get(field.name()), field.data_type()) {
                (None | Some(Value::Null), _) => continue,
                (Some(value @ (Value::Array(_) | Value::Object(_))), DataType::Utf8) => {
                    value.to_string().into()
                }
                (Some(value), _) => value.clone(),
            };
            kept.insert(field.name().clone(), value);
        }
        kept
    }
}

/// The builders of a batch's texts.
#[derive(Default)]
struct TextBuilders {
    text: LargeStringBuilder,
    title: LargeStringBuilder,
    task: LargeStringBuilder,
    prompt_name: LargeStringBuilder,
    instruction: LargeStringBuilder,
}

impl TextBuilders {
    /// Takes in what a row says.
    fn add(&mut self, row: &Value, columns: &Columns) -> Result<(), String> {
        let text = columns.text.as_ref().map_or(Ok(None), |source| text_from(row, source))?;
        let role = |field: &Option<FieldPath>| field.as_ref().map_or(Ok(None), |field| string(row, field));
        let (title, task) = (role(&columns.title)?, role(&columns.task)?);
        let (prompt_name, instruction) = (role(&columns.prompt_name)?, role(&columns.instruction)?);
        self.append(text.as_deref(), [title, task, prompt_name, instruction]);
        Ok(())
    }

    fn append(&mut self, text: Option<&str>, [title, task, prompt_name, instruction]: [Option<&str>; 4]) {
        self.text.append_option(text);
        self.title.append_option(title);
        self.task.append_option(task);
        self.prompt_name.append_option(prompt_name);
        self.instruction.append_option(instruction);
    }

    fn finish(mut self, columns: &Columns) -> Texts {
        Texts {
            text: self.text.finish(),
            title: columns.title.as_ref().map(|_| self.title.finish()),
            task: columns.task.as_ref().map(|_| self.task.finish()),
            prompt_name: columns.prompt_name.as_ref().map(|_| self.prompt_name.finish()),
            instruction: columns.instruction.as_ref().map(|_| self.instruction.finish()),
        }
    }
}

/// The text that a source makes of a row; `None`: null.
fn text_from(row: &Value, source: &TextSource) -> Result<Option<String>, String> {
    if let Some(field) = source.single() {
        return match value(row, field) {
            None => Err(format!(
                "there is no `{field}`; expected an object such as {{\"{}\": \"…\"}}, or say with --text where the text is",
                field.column()
            )),
            Some(_) => Ok(string(row, field)?.map(str::to_owned)),
        };
    }
    let mut values = Vec::new();
    for field in source.fields() {
        values.push(match value(row, field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        });
    }
    Ok(source.fill(|i| values[i].as_deref()))
}

/// A field that holds text, if it is there.
fn string<'r>(row: &'r Value, field: &FieldPath) -> Result<Option<&'r str>, String> {
    match value(row, field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{field}` is {}, expected a string", shortened(other))),
    }
}

/// The start of a value as JSON.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn value<'r>(row: &'r Value, field: &FieldPath) -> Option<&'r Value> {
    field.0.iter().try_fold(row, |value, name| match value {
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        _ => value.get(name),
    })
}

impl RowReader for JsonRows {
    fn next_rows(&mut self) -> Result<Option<RowBatch>> {
        let (mut texts, mut kept) = (TextBuilders::default(), Vec::new());
        let (mut numbers, mut faults) = (Vec::new(), Vec::new());
        let (mut line, mut bytes) = (Vec::new(), 0);
        while numbers.len() < self.batch_rows && bytes < BATCH_BYTES {
            let Some(number) = self.lines.next(&mut line)? else { break };
            let row = parse(&line);
            match row.and_then(|row| texts.add(&row, &self.columns).map(|()| self.kept_of(&row))) {
                Ok(values) => kept.push(values),
                Err(problem) => {
                    faults.push((numbers.len(), problem));
                    texts.append(None, [None; 4]);
                    kept.push(Map::new());
                }
            }
            numbers.push(number);
            bytes += line.len();
        }
        if numbers.is_empty() {
            return Ok(None);
        }
        let kept = self.decode(&kept)?;
        Ok(Some(RowBatch { texts: texts.finish(&self.columns), kept, faults, numbers }))
    }
}

fn parse(line: &[u8]) -> Result<Value, String> {
    match serde_json::from_str(text_of(line)?).map_err(|e| format!("not valid JSON: {e}"))? {
        row @ Value::Object(_) => Ok(row),
        other => Err(format!("expected a JSON object, found {}", shortened(&other))),
    }
}

impl JsonRows {
    fn decode(&mut self, rows: &[Map<String, Value>]) -> Result<RecordBatch> {
        let failed = |e| CorpusError::file(&self.path, e);
        if !self.kept.fields().is_empty() {
            self.decoder.serialize(rows).map_err(failed)?;
            if let Some(batch) = self.decoder.flush().map_err(failed)? {
                return Ok(batch);
            }
        }
        let count = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.kept.clone(), Vec::new(), &count).map_err(failed)
    }
}
