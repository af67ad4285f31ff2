//! `taskvec search`

use crate::arguments::{By, ModelArguments, SearchArguments};
use crate::input;
use crate::outcome::{Failure, Outcome};
use crate::sink::Sink;
use crate::text::shortened;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use taskvec::{EmbedOptions, Embedder, Request, SparseVector, Task};
use taskvec_corpus::{Hit, Index};

/// Characters of a value in the table.
const WIDTH: usize = 60;

pub(crate) fn run(arguments: &SearchArguments) -> Outcome {
    let index = Index::open(&arguments.files)?;
    let about = index.about();
    let queries: Vec<String> = match (&arguments.query, &arguments.queries) {
        (Some(query), _) => vec![query.clone()],
        (None, Some(file)) => input::from_file(file)?.into_iter().map(|row| row.text).collect(),
        (None, None) => Vec::new(),
    };
    let mut sink = Sink::open(None)?;
    let embedder = model_of(about, &arguments.model).open(arguments.task.dimensions)?;
    let options = Arc::new(options(arguments, about));
    let by = by(arguments.by, &index)?;
    let space = match index.has_dense() {
        true => embedder.space_of::<Vec<f32>>(options.clone())?,
        false => embedder.space_of::<SparseVector>(options.clone())?,
    };
    let fingerprint = space.fingerprint();
    index.check_comparable(&fingerprint).map_err(|error| mixed(&error.to_string(), about, &embedder))?;
    let index = index.by(embedder.similarity_function()).only(&arguments.conditions)?;
    let found = match by {
        By::Dense => {
            index.search_all(&embedded::<Vec<f32>>(&embedder, &queries, &options)?, arguments.top)?
        }
        By::Sparse => index.search_sparse(&embedded(&embedder, &queries, &options)?, arguments.top)?,
        By::Hybrid => index.search_hybrid(&embedded(&embedder, &queries, &options)?, arguments.top)?,
    };
    for (place, (query, hits)) in queries.iter().zip(&found).enumerate() {
        let columns = shown(&index, hits, &arguments.show)?;
        let text = match arguments.jsonl {
            true => lines(place, query, &index, hits, &columns)?,
            false => table((queries.len() > 1).then_some(query), hits, &columns)?,
        };
        sink.write(text.as_bytes())?;
    }
    sink.finish()
}

/// Which vectors a search goes by: what is asked for, if the files have it, else all that they have.
fn by(asked: Option<By>, index: &Index) -> Outcome<By> {
    match (asked, index.has_dense(), index.has_sparse()) {
        (None | Some(By::Hybrid), true, true) => Ok(By::Hybrid),
        (None | Some(By::Dense), true, _) => Ok(By::Dense),
        (None | Some(By::Sparse), _, true) => Ok(By::Sparse),
        (_, true, _) => Err(Failure::Usage(
            "--by: the files have no sparse vectors; `taskvec embed --give both` writes them, for models that have both"
                .to_owned(),
        )),
        _ => Err(Failure::Usage("--by: the files have sparse vectors only".to_owned())),
    }
}

/// What a model gives for queries.
fn embedded<T: taskvec::Value>(
    embedder: &Embedder,
    queries: &[String],
    options: &Arc<EmbedOptions>,
) -> Outcome<Vec<T>> {
    let requests = queries.iter().map(|query| Request::new(query.as_str()).options(options.clone()));
    let outputs: Vec<taskvec::Output<T>> = embedder.embed_requests(requests)?;
    Ok(outputs.into_iter().map(|output| output.value).collect())
}

/// The model that the files were made with, where the arguments do not say another.
fn model_of(about: &Value, arguments: &ModelArguments) -> ModelArguments {
    let precision = about["precision"].as_str().and_then(|name| name.parse().ok());
    let model = about["model"].as_str().filter(|model| !model.starts_with('<')).map(str::to_owned);
    arguments.or(model, precision)
}

/// What queries are for: what the arguments say, or what goes with what the vectors are for.
fn options(arguments: &SearchArguments, about: &Value) -> EmbedOptions {
    let mut options = arguments.task.options();
    if arguments.task.dimensions.is_none()
        && about["give"] != "sparse"
        && let Some(dimensions) = about["dimensions"].as_u64()
    {
        options = options.dimensions(dimensions as usize);
    }
    if arguments.task.says_a_prompt() {
        return options;
    }
    let task = about["task"].as_str().and_then(|name| name.parse::<Task>().ok());
    match task {
        Some(Task::RetrievalDocument) => options.task(Task::RetrievalQuery),
        // What is symmetric, and queries among queries.
        Some(task) => options.task(task),
        None => options,
    }
}

fn mixed(problem: &str, about: &Value, embedder: &Embedder) -> Failure {
    let made_by = about["model"].as_str().unwrap_or("another model");
    Failure::Failed(format!(
        "{problem}; the vectors were made by {made_by} in {}, and the query is by {} in {}: name that model with --model \
         and --precision, or embed the texts again with this one",
        about["precision"].as_str().unwrap_or("an unknown precision"),
        embedder.model().display(),
        embedder.precision(),
    ))
}

/// The columns of hits that are asked for, or that were kept.
fn shown(index: &Index, hits: &[Hit], wanted: &[String]) -> Outcome<RecordBatch> {
    let columns = index.columns(hits)?;
    let schema = columns.schema();
    let known: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    if let Some(missing) = wanted.iter().find(|name| !known.contains(name)) {
        let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        return Err(Failure::Usage(format!(
            "--show {missing}: there is no such column beside the vectors; there are: {}",
            known.join(", ")
        )));
    }
    const OWN: [&str; 3] = ["tokens", "truncated", "fingerprint"];
    let kept = known.iter().filter(|name| !OWN.contains(&name.as_str())).map(|name| name.as_str());
    let names: Vec<&str> = match wanted {
        [] => kept.collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let places: Vec<usize> = names.iter().filter_map(|name| schema.index_of(name).ok()).collect();
    columns.project(&places).map_err(|e| Failure::Failed(e.to_string()))
}

/// One JSON object a hit, with the columns as they are.
fn lines(place: usize, query: &str, index: &Index, hits: &[Hit], columns: &RecordBatch) -> Outcome<String> {
    let failed = |e: arrow_schema::ArrowError| Failure::Failed(e.to_string());
    let mut written = Vec::new();
    let mut writer = arrow_json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow_json::writer::LineDelimited>(&mut written);
    writer.write(columns).map_err(failed)?;
    writer.finish().map_err(failed)?;
    let rows = written.split(|byte| *byte == b'\n');
    let mut text = String::new();
    for (rank, (hit, row)) in hits.iter().zip(rows).enumerate() {
        let columns: Map<String, Value> = serde_json::from_slice(row).unwrap_or_default();
        let line = json!({
            "query": query, "query_index": place, "rank": rank + 1, "score": hit.score,
            "file": index.files()[hit.file], "row": hit.row, "columns": columns,
        });
        text += &format!("{line}\n");
    }
    Ok(text)
}

fn table(query: Option<&String>, hits: &[Hit], columns: &RecordBatch) -> Outcome<String> {
    let failed = |e: arrow_schema::ArrowError| Failure::Failed(e.to_string());
    let format = FormatOptions::default();
    let formatters: Vec<ArrayFormatter<'_>> = columns
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &format))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let header: Vec<String> = columns.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut rows = vec![header];
    for row in 0..hits.len() {
        let value = |(i, formatter): (usize, &ArrayFormatter<'_>)| match columns.column(i).is_null(row) {
            true => String::new(),
            false => shortened(&formatter.value(row).to_string(), WIDTH),
        };
        rows.push(formatters.iter().enumerate().map(value).collect());
    }
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.num_columns()).map(width).collect();
    let mut text = query.map_or(String::new(), |query| format!("{}\n", shortened(query, 2 * WIDTH)));
    for (i, row) in rows.iter().enumerate() {
        let score = if i == 0 { "score".to_owned() } else { format!("{:.4}", hits[i - 1].score) };
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("  {cell:width$}"));
        text += format!("{score:>7}{}", cells.collect::<String>()).trim_end();
        text.push('\n');
    }
    if query.is_some() {
        text.push('\n');
    }
    Ok(text)
}

/// The fingerprint that a file of vectors has in its metadata.
pub(crate) fn fingerprint_of(path: &Path) -> Option<String> {
    let index = Index::open(&[path]).ok()?;
    index.about()["fingerprint"].as_str().map(str::to_owned)
}
