//! Conditions on kept columns: which rows may be found.

use super::file::VectorFile;
use super::stored::Source;
use crate::error::{CorpusError, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A condition on a kept column, such as `year>=2020` or `language=en`. Columns of numbers are compared as numbers,
/// others as text; a null fulfils none.
///
/// ```
/// let recent: taskvec_corpus::Condition = "year>=2020".parse().unwrap();
/// assert_eq!(recent.to_string(), "year>=2020");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    pub(super) column: String,
    operator: Operator,
    value: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Operator {
    /// Longer ones before those that they begin with.
    const ALL: [(&'static str, Operator); 7] = [
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];

    fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Equal => order.is_eq(),
            Operator::Unequal => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::AtMost => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::AtLeast => order.is_ge(),
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    /// `COLUMN=VALUE`, with `!=`, `<`, `<=`, `>` or `>=` likewise.
    fn from_str(text: &str) -> Result<Condition, String> {
        let place = text.find(['=', '!', '<', '>']).filter(|place| *place > 0);
        let found = place.and_then(|place| {
            let (column, rest) = text.split_at(place);
            let (name, operator) = Operator::ALL.into_iter().find(|(name, _)| rest.starts_with(name))?;
            let value = rest[name.len()..].trim().to_owned();
            Some(Condition { column: column.trim().to_owned(), operator, value })
        });
        found.ok_or_else(|| {
            format!("`{text}` is no condition; expected one such as year>=2020 or language=en")
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = |(_, operator): &&(&str, Operator)| {
            *operator == self.operator && self.operator != Operator::Equal
        };
        let name = Operator::ALL.iter().find(written).map_or("=", |(name, _)| name);
        write!(f, "{}{name}{}", self.column, self.value)
    }
}

/// Which rows of a file fulfil a condition, `[rows]`.
pub(super) fn rows(file: &VectorFile, condition: &Condition) -> Result<Vec<bool>> {
    let mut all = Vec::with_capacity(file.rows as usize);
    for column in columns(file, &condition.column)? {
        evaluate(&column, condition, &mut all)
            .map_err(|problem| CorpusError::file(&file.layout.path, problem))?;
    }
    Ok(all)
}

fn evaluate(column: &ArrayRef, condition: &Condition, all: &mut Vec<bool>) -> Result<(), String> {
    let Condition { column: name, operator, value } = condition;
    if column.data_type().is_numeric() {
        let wanted: f64 = value
            .parse()
            .map_err(|_| format!("its column `{name}` holds numbers, and `{value}` is none; see --where"))?;
        let numbers = cast(column, &DataType::Float64).map_err(|e| e.to_string())?;
        let numbers = numbers.as_primitive::<Float64Type>();
        let holds = |number: Option<f64>| {
            number.and_then(|n| n.partial_cmp(&wanted)).is_some_and(|o| operator.holds(o))
        };
        all.extend(numbers.iter().map(holds));
        return Ok(());
    }
    let texts = cast(column, &DataType::LargeUtf8).map_err(|_| {
        format!("its column `{name}` holds {}, which is neither numbers nor text", column.data_type())
    })?;
    let holds = |text: Option<&str>| text.is_some_and(|text| operator.holds(text.cmp(value.as_str())));
    all.extend(texts.as_string::<i64>().iter().map(holds));
    Ok(())
}

/// A column, batch after batch.
fn columns(file: &VectorFile, name: &str) -> Result<Vec<ArrayRef>> {
    let path = &file.layout.path;
    let place = file.schema.index_of(name).map_err(|_| CorpusError::NoColumn {
        path: path.to_owned(),
        column: name.to_owned(),
        known: file.schema.fields().iter().map(|field| field.name().clone()).collect(),
    })?;
    match &file.source {
        Source::Arrow(source) => Ok(source.batches.iter().map(|batch| batch.column(place).clone()).collect()),
        Source::Parquet(source) => {
            let failed = |e: parquet::errors::ParquetError| CorpusError::file(path, e);
            let builder = ParquetRecordBatchReaderBuilder::try_new(source.bytes.clone()).map_err(failed)?;
            let mask = ProjectionMask::roots(builder.parquet_schema(), [place]);
            let batches = builder.with_projection(mask).with_batch_size(8192).build().map_err(failed)?;
            let column =
                |batch: Result<arrow_array::RecordBatch, _>| batch.map(|batch| batch.column(0).clone());
            batches
                .map(column)
                .collect::<Result<_, arrow_schema::ArrowError>>()
                .map_err(|e| CorpusError::file(path, e))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn numbers_are_compared_as_numbers_and_nulls_fulfil_nothing() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(9), Some(10), None]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("9"), Some("10"), None]));
        for (condition, of_numbers, of_texts) in [
            ("c<10", [true, false, false], [false, false, false]),
            ("c<=10", [true, true, false], [false, true, false]),
            ("c>9", [false, true, false], [false, false, false]),
            ("c >= 9", [true, true, false], [true, false, false]),
            ("c=10", [false, true, false], [false, true, false]),
            ("c!=10", [true, false, false], [true, false, false]),
        ] {
            let condition: Condition = condition.parse().unwrap();
            for (column, want) in [(&numbers, of_numbers), (&texts, of_texts)] {
                let mut found = Vec::new();
                evaluate(column, &condition, &mut found).unwrap();
                assert_eq!(found, want, "{condition} {}", column.data_type());
            }
        }
        let mut found = Vec::new();
        assert!(evaluate(&numbers, &"c=x".parse().unwrap(), &mut found).unwrap_err().contains("`x`"));
        for wrong in ["", "c", "=5", "c~5"] {
            assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
        }
    }
}
