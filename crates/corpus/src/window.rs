//! Rows that are embedded, and written, together. Where a window ends depends on its rows alone, so that a job that goes
//! on, or one of several that share the work, cuts the same ones.

use crate::error::{CorpusError, Result};
use crate::input::{Corpus, RowBatch, RowReader, Texts};
use arrow_array::cast::AsArray;
use arrow_array::{Array, LargeStringArray, RecordBatch};
use arrow_schema::DataType;
use arrow_select::concat::{concat, concat_batches};
use std::collections::BTreeMap;

/// The most rows of a window.
const ROWS: usize = 8192;

/// The bytes of text, kept columns and vectors at which a window ends, though it has fewer rows.
const BYTES: usize = 8 << 20;

/// Bytes that a row takes apart from these.
const ROW_BYTES: usize = 64;

/// Some consecutive rows of a corpus.
pub(crate) struct Window {
    /// Its place among the windows.
    pub(crate) index: usize,
    /// The place of its first row in the corpus.
    pub(crate) first_row: u64,
    pub(crate) texts: Texts,
    /// The columns that are kept, `[rows]` each.
    pub(crate) kept: RecordBatch,
    /// What is wrong with rows.
    pub(crate) faults: BTreeMap<usize, String>,
    /// File and number of each row.
    pub(crate) places: Vec<(usize, u64)>,
}

impl Window {
    /// The only one of a corpus without rows.
    pub(crate) fn empty(corpus: &Corpus) -> Window {
        let texts = Texts {
            text: LargeStringArray::new_null(0),
            title: None,
            task: None,
            prompt_name: None,
            instruction: None,
        };
        let kept = RecordBatch::new_empty(corpus.kept.clone());
        Window { index: 0, first_row: 0, texts, kept, faults: BTreeMap::new(), places: Vec::new() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn text_bytes(&self) -> u64 {
        self.texts.text_bytes()
    }
}

/// The windows of a corpus, in order.
pub(crate) struct Windows<'c> {
    corpus: &'c Corpus,
    /// Bytes of a row's vector.
    vector_bytes: usize,
    /// The file that is read next, or under way.
    file: usize,
    reader: Option<Box<dyn RowReader>>,
    rest: Option<RowBatch>,
    index: usize,
    row: u64,
}

impl<'c> Windows<'c> {
    pub(crate) fn new(corpus: &'c Corpus, vector_bytes: usize) -> Windows<'c> {
        Windows { corpus, vector_bytes, file: 0, reader: None, rest: None, index: 0, row: 0 }
    }

    /// The next rows, and which file they are of.
    fn next_batch(&mut self) -> Result<Option<(usize, RowBatch)>> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some((self.file, rest)));
        }
        while self.file < self.corpus.files.len() {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => none.insert(self.corpus.reader(self.file)?),
            };
            match reader.next_rows()? {
                Some(batch) => return Ok(Some((self.file, batch))),
                None => {
                    self.reader = None;
                    self.file += 1;
                }
            }
        }
        Ok(None)
    }

    fn next_window(&mut self) -> Result<Option<Window>> {
        let (mut batches, mut places, mut faults) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut bytes = 0;
        while let Some((file, batch)) = self.next_batch()? {
            let costs = self.costs(&batch);
            let room = ROWS - places.len();
            // A row that does not fit begins the next window, unless it is alone.
            let fits = |(i, cost): (usize, &usize)| {
                bytes += cost;
                bytes > BYTES && !(i == 0 && places.is_empty())
            };
            let count = costs.iter().enumerate().position(fits).unwrap_or(costs.len()).min(room);
            let rest = (count < costs.len()).then(|| batch.slice(count, costs.len() - count));
            let batch = if rest.is_some() { batch.slice(0, count) } else { batch };
            faults.extend(batch.faults.iter().map(|(row, problem)| (places.len() + row, problem.clone())));
            places.extend(batch.numbers.iter().map(|number| (file, *number)));
            batches.push(batch);
            if rest.is_some() || places.len() == ROWS {
                self.rest = rest;
                break;
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let window = Window {
            index: self.index,
            first_row: self.row,
            texts: joined(&batches)?,
            kept: concat_batches(&self.corpus.kept, batches.iter().map(|batch| &batch.kept))
                .map_err(of_arrow)?,
            faults,
            places,
        };
        self.index += 1;
        self.row += window.rows() as u64;
        Ok(Some(window))
    }

    /// What each row adds to its window.
    fn costs(&self, batch: &RowBatch) -> Vec<usize> {
        let mut costs = vec![self.vector_bytes + ROW_BYTES; batch.numbers.len()];
        let mut add = |array: &dyn Array| {
            for (row, cost) in costs.iter_mut().enumerate() {
                *cost += length(array, row);
            }
        };
        add(&batch.texts.text);
        batch.kept.columns().iter().for_each(|column| add(column));
        costs
    }
}

impl Iterator for Windows<'_> {
    type Item = Result<Window>;

    fn next(&mut self) -> Option<Result<Window>> {
        self.next_window().transpose()
    }
}

/// Bytes of a value; of nested ones and numbers only about.
fn length(array: &dyn Array, row: usize) -> usize {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_length(row) as usize,
        DataType::LargeUtf8 => array.as_string::<i64>().value_length(row) as usize,
        DataType::Binary => array.as_binary::<i32>().value_length(row) as usize,
        DataType::LargeBinary => array.as_binary::<i64>().value_length(row) as usize,
        DataType::Utf8View => array.as_string_view().value(row).len(),
        DataType::List(_) => 8 * array.as_list::<i32>().value_length(row) as usize,
        DataType::FixedSizeList(_, size) => 8 * (*size).max(0) as usize,
        _ => 8,
    }
}

impl RowBatch {
    fn slice(&self, from: usize, count: usize) -> RowBatch {
        let part =
            |strings: &Option<LargeStringArray>| strings.as_ref().map(|strings| strings.slice(from, count));
        let Texts { text, title, task, prompt_name, instruction } = &self.texts;
        let texts = Texts {
            text: text.slice(from, count),
            title: part(title),
            task: part(task),
            prompt_name: part(prompt_name),
            instruction: part(instruction),
        };
        let inside = |(row, problem): &(usize, String)| {
            (from..from + count).contains(row).then(|| (row - from, problem.clone()))
        };
        RowBatch {
            texts,
            kept: self.kept.slice(from, count),
            faults: self.faults.iter().filter_map(inside).collect(),
            numbers: self.numbers[from..from + count].to_vec(),
        }
    }
}

fn joined(batches: &[RowBatch]) -> Result<Texts> {
    let join = |of: &dyn Fn(&Texts) -> Option<LargeStringArray>| -> Result<Option<LargeStringArray>> {
        if batches.iter().all(|batch| of(&batch.texts).is_none()) {
            return Ok(None);
        }
        // Of a file without such a column, there are none.
        let part = |batch: &RowBatch| {
            of(&batch.texts).unwrap_or_else(|| LargeStringArray::new_null(batch.numbers.len()))
        };
        let parts: Vec<LargeStringArray> = batches.iter().map(part).collect();
        let parts: Vec<&dyn Array> = parts.iter().map(|part| part as &dyn Array).collect();
        Ok(Some(concat(&parts).map_err(of_arrow)?.as_string::<i64>().clone()))
    };
    Ok(Texts {
        text: join(&|texts| Some(texts.text.clone()))?.unwrap_or_else(|| LargeStringArray::new_null(0)),
        title: join(&|texts| texts.title.clone())?,
        task: join(&|texts| texts.task.clone())?,
        prompt_name: join(&|texts| texts.prompt_name.clone())?,
        instruction: join(&|texts| texts.instruction.clone())?,
    })
}

/// Rows that do not fit into one batch of Arrow's.
fn of_arrow(error: arrow_schema::ArrowError) -> CorpusError {
    CorpusError::Options(format!("rows do not go together: {error}"))
}
