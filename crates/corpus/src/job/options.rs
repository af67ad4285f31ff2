//! What a job's options come to: how each row is embedded, and what the output says of its vectors.

use super::settings::{Give, Job, OnError};
use crate::columns::Keep;
use crate::error::{CorpusError, Result};
use crate::output::record::{self, Shape};
use crate::output::{About, Heading};
use crate::window::Window;
use crate::workspace::Manifest;
use arrow_array::{Array, LargeStringArray};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use taskvec::{EmbedOptions, Space, SparseVector, Task};

/// Task, name of the prompt, and instruction of a row.
type Said = [Option<String>; 3];

/// How rows are embedded: as the job's options say, or as columns say.
pub(super) struct RowOptions {
    pub(super) base: Arc<EmbedOptions>,
    /// Whether columns say.
    pub(super) vary: bool,
    ready: Mutex<HashMap<Said, Result<Arc<EmbedOptions>, String>>>,
}

impl RowOptions {
    /// The options of a row, or what is wrong with what its columns say.
    pub(super) fn of(&self, window: &Window, row: usize) -> Result<Arc<EmbedOptions>, String> {
        if !self.vary {
            return Ok(self.base.clone());
        }
        let texts = &window.texts;
        let said = [&texts.task, &texts.prompt_name, &texts.instruction]
            .map(|column| column.as_ref().and_then(|strings| string(strings, row)).map(str::to_owned));
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.entry(said.clone()).or_insert_with(|| with(&self.base, said)).clone()
    }
}

/// A row's string, if it has one that is not empty.
pub(super) fn string(strings: &LargeStringArray, row: usize) -> Option<&str> {
    strings.is_valid(row).then(|| strings.value(row)).filter(|text| !text.is_empty())
}

fn with(base: &EmbedOptions, [task, prompt_name, instruction]: Said) -> Result<Arc<EmbedOptions>, String> {
    let mut options = base.clone();
    if let Some(task) = task {
        options = options.task(task.parse::<Task>().map_err(|e| e.to_string())?);
    }
    if let Some(name) = prompt_name {
        options = options.prompt_name(name);
    }
    if let Some(instruction) = instruction {
        options = options.instruction(instruction);
    }
    Ok(Arc::new(options))
}

impl Job<'_> {
    pub(super) fn row_options(&self) -> RowOptions {
        let columns = &self.corpus.columns;
        let vary =
            [&columns.task, &columns.prompt_name, &columns.instruction].into_iter().any(Option::is_some);
        RowOptions { base: self.options.clone(), vary, ready: Mutex::default() }
    }

    /// The space of vectors with these options; of both kinds the dense one's.
    pub(super) fn space(&self, options: Arc<EmbedOptions>) -> Result<Space> {
        Ok(match self.give {
            Give::Sparse => self.embedder.space_of::<SparseVector>(options)?,
            Give::Dense | Give::Both => self.embedder.space_of::<Vec<f32>>(options)?,
        })
    }

    /// What the output says of its vectors, and its columns.
    pub(super) fn about(&self, row: &RowOptions) -> Result<About> {
        let (embedder, output) = (self.embedder, &self.output);
        let space = self.space(self.options.clone())?;
        let prompt = embedder.prompt(self.options.clone())?;
        let dimensions = space.dimensions();
        let width = if self.give == Give::Sparse { 0 } else { output.output_type.values(dimensions) };
        let ranges = output.ranges.as_ref().filter(|_| output.output_type.needs_ranges());
        // As text: numbers of JSON do not come back as the same f32.
        let ranges = ranges.map(taskvec::Ranges::to_json);
        let same = !row.vary; // what columns say is not one thing
        let json = json!({
            "model": embedder.model(),
            "give": self.give.name(),
            "dimensions": dimensions,
            "type": output.output_type.name(),
            "task": same.then(|| self.options.asked_task().map(|task| task.name())).flatten(),
            "prompt": same.then_some(&prompt.text),
            "suffix": same.then_some(&prompt.suffix),
            "adapter": same.then_some(&prompt.adapter),
            "prompt_source": same.then(|| prompt.source.to_string()),
            "note": same.then(|| prompt.note.as_ref().map(ToString::to_string)).flatten(),
            "fingerprint": same.then(|| space.fingerprint().to_string()),
            "id": self.corpus.columns.id,
            "precision": embedder.precision().name(),
            "unit_length": space.unit_length(),
            "ranges": ranges,
        });
        let fingerprint =
            json["fingerprint"].as_str().map(|text| ("fingerprint".to_owned(), text.to_owned()));
        let metadata = [("taskvec".to_owned(), json.to_string())].into_iter().chain(fingerprint).collect();
        let shape = self.shape(row, width);
        let schema = record::schema(&self.corpus.kept, shape, metadata).map_err(CorpusError::Options)?;
        let rows_beside = output.format.is_array() && record::has_others(&schema);
        let heading =
            Heading { format: output.format, output_type: output.output_type, width, json, rows_beside };
        Ok(About { heading, schema, shape })
    }

    fn shape(&self, row: &RowOptions, width: usize) -> Shape {
        Shape {
            output_type: self.output.output_type,
            width,
            base64: self.output.base64,
            dense: self.give != Give::Sparse,
            sparse: self.give != Give::Dense,
            nullable: self.on_error == OnError::Null,
            pieces: self.chunks.is_some(),
            fingerprints: row.vary || self.output.format == crate::output::Format::Jsonl,
        }
    }

    /// All that the output depends on.
    pub(super) fn manifest(&self, about: &About) -> Result<Manifest> {
        let mut inputs = Vec::new();
        for file in &self.corpus.files {
            inputs.push(match file.is_stdin() {
                true => json!({"path": "-"}),
                false => {
                    let found = file.identity()?;
                    // JSON's numbers are too small for nanoseconds since 1970.
                    let modified = found.modified.to_string();
                    json!({"path": file.path, "bytes": found.bytes, "modified": modified, "head": found.head})
                }
            });
        }
        let (columns, output) = (&self.corpus.columns, &self.output);
        let keep = match &columns.keep {
            Keep::Nothing => Value::Null,
            Keep::All => "all".into(),
            Keep::Named(names) => names.join(", ").into(),
        };
        let text = |value: &Option<crate::columns::FieldPath>| value.as_ref().map(ToString::to_string);
        let options = json!({
            "format": output.format.name(),
            "type": output.output_type.name(),
            "give": self.give.name(),
            "base64": output.base64,
            "text": columns.text.as_ref().map(ToString::to_string),
            "title": text(&columns.title),
            "id": columns.id,
            "keep": keep,
            "task column": text(&columns.task),
            "prompt name column": text(&columns.prompt_name),
            "instruction column": text(&columns.instruction),
            "on error": self.on_error.name(),
            "chunk": self.chunks.map(|chunks| chunks.tokens),
            "overlap": self.chunks.map(|chunks| chunks.overlap),
            "shares": output.shard.map_or(1, |(_, of)| of),
            "options": format!("{:?}", self.options),
        });
        let options = options.as_object().cloned().unwrap_or_else(Map::new);
        Ok(Manifest { inputs, options, about: about.heading.json.clone() })
    }
}
