//! `taskvec map`

use crate::arguments::{MapArguments, Placing};
use crate::outcome::{Failure, Outcome};
use crate::sink::Sink;
use crate::text::{model_name, shortened};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use serde_json::Value;
use std::path::Path;
use taskvec_corpus::{Index, Sample};
use taskvec_map::{Groups, Map, Method, Placement, Vectors, clusters};

/// Characters of a cluster's name.
const NAME: usize = 60;

/// So many texts take t-SNE longer than some seconds.
const LONG: usize = 4000;

/// Columns that are not the user's.
const OWN: [&str; 4] = ["index", "tokens", "truncated", "fingerprint"];

/// The picture's format, by the ending of its file.
enum Picture {
    Html,
    Svg,
}

pub(crate) fn run(arguments: &MapArguments) -> Outcome {
    let picture = picture(&arguments.output)?;
    let index = Index::open(&arguments.files)?.only(&arguments.conditions)?;
    let sample = index.sample(arguments.rows)?;
    let columns = index.columns(&sample.hits)?;
    let texts = texts(arguments, &columns, &sample)?;
    let labels =
        arguments.label.as_deref().map(|name| strings(column(&columns, name, "--label")?)).transpose()?;
    let vectors =
        Vectors::new(sample.values, index.dimensions()).map_err(|e| Failure::Failed(e.to_string()))?;
    let groups = match labels {
        Some(labels) => Groups::of_labels(&labels),
        None => {
            let found = clusters(&vectors, usize::from(arguments.clusters));
            let names = found.typical.iter().map(|row| shortened(&texts[*row], NAME)).collect();
            Groups::of_clusters(&found.of_rows, names)
        }
    };
    let method = match arguments.method {
        Placing::Tsne => {
            if texts.len() > LONG {
                eprintln!("placing {} texts…", texts.len());
            }
            Method::Tsne
        }
        Placing::Pca => Method::Pca,
    };
    let first = || index.files()[0].file_name().unwrap_or_default().to_string_lossy().into_owned();
    let map = Map {
        title: arguments.title.clone().unwrap_or_else(first),
        about: about(index.about(), (texts.len() as u64) < index.rows()),
        placement: Placement::of(&vectors, method),
        groups,
        texts,
    };
    let drawn = match picture {
        Picture::Html => map.html(),
        Picture::Svg => map.svg(),
    };
    let mut sink = Sink::open(Some(&arguments.output))?;
    sink.write(drawn.as_bytes())?;
    sink.finish()?;
    eprintln!("{} of {} texts are on the map", map.texts.len(), index.rows());
    Ok(())
}

fn picture(output: &Path) -> Outcome<Picture> {
    match output.extension().and_then(|ending| ending.to_str()) {
        Some("html" | "htm") => Ok(Picture::Html),
        Some("svg") => Ok(Picture::Svg),
        _ => Err(Failure::Usage(format!(
            "--output {}: expected a file that ends in .html or .svg",
            output.display()
        ))),
    }
}

/// How the vectors were made, in a line.
fn about(about: &Value, is_sample: bool) -> String {
    let mut parts = Vec::new();
    parts.extend(about["model"].as_str().map(|model| model_name(model).to_owned()));
    parts.extend(about["task"].as_str().map(str::to_owned));
    parts.extend(is_sample.then(|| "a sample".to_owned()));
    parts.join(", ")
}

/// What is shown of each text.
fn texts(arguments: &MapArguments, columns: &RecordBatch, sample: &Sample) -> Outcome<Vec<String>> {
    let shown = match &arguments.text {
        Some(name) => Some(strings(column(columns, name, "--text")?)?),
        None => usual_texts(columns, arguments.label.as_deref())?,
    };
    Ok(match shown {
        Some(shown) => shown.into_iter().map(Option::unwrap_or_default).collect(),
        // Nothing was kept: their places in the files.
        None => sample.hits.iter().map(|hit| format!("row {}", hit.row)).collect(),
    })
}

/// The kept column `text`, else the one with the longest texts.
fn usual_texts(columns: &RecordBatch, label: Option<&str>) -> Outcome<Option<Vec<Option<String>>>> {
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let mut longest: Option<(usize, Vec<Option<String>>)> = None;
    for (field, column) in columns.schema_ref().fields().iter().zip(columns.columns()) {
        let name = field.name().as_str();
        if name == "text" {
            return strings(column).map(Some);
        }
        if !is_text(field.data_type()) || OWN.contains(&name) || Some(name) == label {
            continue;
        }
        let texts = strings(column)?;
        let length = texts.iter().flatten().map(String::len).sum();
        if longest.as_ref().is_none_or(|(most, _)| length > *most) {
            longest = Some((length, texts));
        }
    }
    Ok(longest.map(|(_, texts)| texts))
}

fn column<'c>(columns: &'c RecordBatch, name: &str, flag: &str) -> Outcome<&'c ArrayRef> {
    columns.column_by_name(name).ok_or_else(|| {
        let known: Vec<&str> = columns.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        Failure::Usage(format!(
            "{flag} {name}: there is no such column beside the vectors; there are: {}. Columns are kept by `taskvec embed --keep`",
            known.join(", ")
        ))
    })
}

/// The values of a column as they are shown.
fn strings(column: &ArrayRef) -> Outcome<Vec<Option<String>>> {
    let failed = |e: arrow_schema::ArrowError| Failure::Failed(e.to_string());
    let format = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &format).map_err(failed)?;
    Ok((0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string())).collect())
}
