//! Rows of columns that are typed: which of them are wanted, and what they say.

use super::rows::{RowBatch, Texts, kept_names};
use crate::columns::{Columns, FieldPath, TextSource};
use crate::error::{CorpusError, Result};
use arrow_array::builder::LargeStringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, LargeStringArray, RecordBatch, RecordBatchOptions};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use std::path::Path;
use std::sync::Arc;

/// The kept columns with their types. Settles which column is the text, if that is not said, and checks that the
/// columns of all roles are there.
pub(super) fn kept_fields(path: &Path, schema: &Schema, columns: &mut Columns) -> Result<Vec<FieldRef>> {
    let known: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let source = match &columns.text {
        Some(source) => source.clone(),
        None => {
            let which = || CorpusError::WhichText { path: path.to_owned(), known: known.clone() };
            TextSource::usual(&usual_text(schema).ok_or_else(which)?)
        }
    };
    for field in source.fields() {
        check(path, schema, field, source.single().is_some())?;
    }
    columns.text = Some(source);
    for field in
        [&columns.title, &columns.task, &columns.prompt_name, &columns.instruction].into_iter().flatten()
    {
        check(path, schema, field, true)?;
    }
    let kept = kept_names(columns, &known, path)?;
    let field = |name: &String| schema.field_with_name(name).ok();
    Ok(kept
        .iter()
        .filter_map(field)
        .map(|f| Arc::new(Field::new(f.name(), f.data_type().clone(), true)))
        .collect())
}

/// The column `text`, or the only one that holds text.
fn usual_text(schema: &Schema) -> Option<String> {
    let of_text: Vec<&String> =
        schema.fields().iter().filter(|f| is_text(f.data_type())).map(|f| f.name()).collect();
    match &of_text[..] {
        [only] => Some((*only).clone()),
        several => several.iter().find(|name| *name == &"text").map(|name| (*name).clone()),
    }
}

/// Whether values of the type are text, or bytes that may be.
fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Checks that a field is there, and that it holds text.
fn check(path: &Path, schema: &Schema, field: &FieldPath, text: bool) -> Result<()> {
    let missing = |known: Vec<String>| CorpusError::NoColumn {
        path: path.to_owned(),
        column: field.to_string(),
        known,
    };
    let names = |fields: &arrow_schema::Fields| fields.iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    let mut fields = schema.fields();
    let mut kind: Option<&DataType> = None;
    for name in &field.0 {
        if let Some(DataType::Struct(inner)) = kind {
            fields = inner;
        } else if kind.is_some() {
            return Err(missing(names(schema.fields())));
        }
        let found = fields.iter().find(|f| f.name() == name).ok_or_else(|| missing(names(fields)))?;
        kind = Some(found.data_type());
    }
    match kind {
        Some(kind) if text && !is_text(kind) => {
            Err(CorpusError::file(path, format!("its column `{field}` holds {kind}, and text is needed")))
        }
        Some(kind) if !arrow_cast::can_cast_types(kind, &DataType::LargeUtf8) => Err(CorpusError::file(
            path,
            format!("its column `{field}` holds {kind}, which cannot be written into a text"),
        )),
        _ => Ok(()),
    }
}

/// The places of the columns that are read: those of roles, and those that are kept.
pub(super) fn wanted(schema: &Schema, columns: &Columns, kept: &Schema) -> Vec<usize> {
    let roles = [&columns.title, &columns.task, &columns.prompt_name, &columns.instruction];
    let of_text = columns.text.iter().flat_map(TextSource::fields);
    let mut names: Vec<&str> = roles.into_iter().flatten().chain(of_text).map(FieldPath::column).collect();
    names.extend(kept.fields().iter().map(|field| field.name().as_str()));
    let is_wanted = |(i, field): (usize, &FieldRef)| names.contains(&field.name().as_str()).then_some(i);
    schema.fields().iter().enumerate().filter_map(is_wanted).collect()
}

/// What a batch of columns says.
pub(super) fn rows_of(
    path: &Path,
    batch: &RecordBatch,
    columns: &Columns,
    kept: &SchemaRef,
    numbers: Vec<u64>,
    mut faults: Vec<(usize, String)>,
) -> Result<RowBatch> {
    let text = match &columns.text {
        Some(source) => text_of(path, batch, source, &mut faults)?,
        None => LargeStringArray::new_null(batch.num_rows()),
    };
    let mut role = |field: &Option<FieldPath>| match field {
        Some(field) => strings(path, batch, field, &mut faults).map(Some),
        None => Ok(None),
    };
    let texts = Texts {
        text,
        title: role(&columns.title)?,
        task: role(&columns.task)?,
        prompt_name: role(&columns.prompt_name)?,
        instruction: role(&columns.instruction)?,
    };
    let mut arrays = Vec::new();
    for field in kept.fields() {
        let array = batch.column_by_name(field.name()).ok_or_else(|| gone(path, field.name()))?;
        arrays.push(match array.data_type() == field.data_type() {
            true => array.clone(),
            false => {
                let strict = CastOptions { safe: false, ..CastOptions::default() };
                cast_with_options(array, field.data_type(), &strict)
                    .map_err(|e| CorpusError::file(path, e))?
            }
        });
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let kept = RecordBatch::try_new_with_options(kept.clone(), arrays, &rows)
        .map_err(|e| CorpusError::file(path, e))?;
    Ok(RowBatch { texts, kept, faults, numbers })
}

fn gone(path: &Path, column: &str) -> CorpusError {
    CorpusError::file(path, format!("its column `{column}` is gone; was the file changed meanwhile?"))
}

/// The texts that a source makes of rows.
fn text_of(
    path: &Path,
    batch: &RecordBatch,
    source: &TextSource,
    faults: &mut Vec<(usize, String)>,
) -> Result<LargeStringArray> {
    if let Some(field) = source.single() {
        return strings(path, batch, field, faults);
    }
    let fields: Vec<LargeStringArray> =
        source.fields().map(|field| strings(path, batch, field, faults)).collect::<Result<_>>()?;
    let mut texts = LargeStringBuilder::new();
    for row in 0..batch.num_rows() {
        texts.append_option(source.fill(|i| fields[i].is_valid(row).then(|| fields[i].value(row))));
    }
    Ok(texts.finish())
}

/// A field's values as text. Bytes that are no text are faults.
fn strings(
    path: &Path,
    batch: &RecordBatch,
    field: &FieldPath,
    faults: &mut Vec<(usize, String)>,
) -> Result<LargeStringArray> {
    let array = values(batch, field).ok_or_else(|| gone(path, &field.to_string()))?;
    // A value that cannot be text becomes null.
    let texts = cast_with_options(&array, &DataType::LargeUtf8, &CastOptions::default())
        .map_err(|e| CorpusError::file(path, e))?;
    let is_fault = |row: &usize| array.is_valid(*row) && texts.is_null(*row);
    if texts.null_count() > array.null_count() {
        let found = (0..texts.len()).filter(is_fault);
        faults.extend(found.map(|row| (row, format!("`{field}` is not valid UTF-8"))));
    }
    Ok(texts.as_string::<i64>().clone())
}

/// A field's values: a column, or what its structs have under a name.
fn values(batch: &RecordBatch, field: &FieldPath) -> Option<ArrayRef> {
    let (first, rest) = field.0.split_first()?;
    let mut array = batch.column_by_name(first)?.clone();
    for name in rest {
        let structs = array.as_struct_opt()?;
        let inner = structs.column_by_name(name)?;
        let absent: BooleanArray = (0..structs.len()).map(|row| Some(structs.is_null(row))).collect();
        array = arrow_select::nullif::nullif(inner, &absent).ok()?;
    }
    Some(array)
}
