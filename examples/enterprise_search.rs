//! One model, four searches over a company's own data, told apart by the task alone: documents like a
//! document, questions like a question, code for a description, rows of a table for a question.
//!
//! `cargo run --release --example enterprise_search -- path/to/model`. With a model that was trained
//! with task prompts (E5, EmbeddingGemma, Qwen3-Embedding, nomic-embed-text, …) it prints the best hits
//! with the task's prompts, and then without any. The built-in model, which runs without an
//! argument, was trained without prompts: there is one list, and it says so.

use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use taskvec::{EmbedOptions, Embedder, Embedding, Request, Similarity, Task};

/// A text to be found, with its title if it has one.
type Entry = (Option<String>, String);

/// One search: what is asked, over what, and for what both sides are embedded.
struct Scenario {
    name: &'static str,
    query: &'static str,
    query_task: Task,
    data: Vec<Entry>,
    data_task: Task,
}

fn scenarios() -> Result<Vec<Scenario>, Box<dyn std::error::Error>> {
    Ok(vec![
        Scenario {
            name: "document to document: which rules belong together?",
            query: "Lost devices: whoever loses a telephone or laptop tells the security team within the hour.",
            query_task: Task::SemanticSimilarity,
            data: jsonl("documents.jsonl")?,
            data_task: Task::SemanticSimilarity,
        },
        Scenario {
            name: "query to FAQ: has this been asked before?",
            query: "my notebook was taken from the train",
            query_task: Task::QuestionAnswering,
            data: jsonl("faq.jsonl")?,
            data_task: Task::RetrievalDocument,
        },
        Scenario {
            name: "natural language to code: where is that done?",
            query: "try again with growing pauses when the network fails",
            query_task: Task::CodeRetrievalQuery,
            data: jsonl("functions.jsonl")?,
            data_task: Task::RetrievalDocument,
        },
        Scenario {
            name: "question to structured rows: which order is meant?",
            query: "Which delivery to France came back?",
            query_task: Task::QuestionAnswering,
            data: csv_rows("orders.csv")?,
            data_task: Task::RetrievalDocument,
        },
    ])
}

fn data_file(name: &str) -> std::io::Result<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name))
}

fn jsonl(name: &str) -> Result<Vec<Entry>, Box<dyn std::error::Error>> {
    let entry = |line: &str| -> Result<Entry, Box<dyn std::error::Error>> {
        let value: Value = serde_json::from_str(line)?;
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Ok((text("title"), text("text").ok_or("an entry without text")?))
    };
    data_file(name)?.lines().map(entry).collect()
}

/// Each row as `column: value, …`: a model that reads sentences makes more of names than of commas.
fn csv_rows(name: &str) -> Result<Vec<Entry>, Box<dyn std::error::Error>> {
    let text = data_file(name)?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().ok_or("an empty table")?.split(',').collect();
    let row = |line: &str| {
        let fields = header.iter().zip(line.split(','));
        (None, fields.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", "))
    };
    Ok(lines.map(row).collect())
}

/// The entries' places, best first, with their similarity to the query.
fn search(
    embedder: &Embedder,
    scenario: &Scenario,
    with_tasks: bool,
) -> taskvec::Result<(Vec<(usize, f32)>, Embedding)> {
    let options = |task: Task| match with_tasks {
        true => EmbedOptions::new().task(task),
        false => EmbedOptions::new().prompt(""),
    };
    let query = embedder.embed(scenario.query, options(scenario.query_task))?;
    let data_options = options(scenario.data_task);
    // Titles go where the model's document prompt has a place for them, and into the text elsewhere.
    let has_place = embedder.prompt(data_options.clone().title("")).is_ok();
    let texts: Vec<String> = scenario
        .data
        .iter()
        .map(|(title, text)| match title {
            Some(title) if !has_place => format!("{title}: {text}"),
            _ => text.clone(),
        })
        .collect();
    let data_options = Arc::new(data_options);
    let request = |((title, _), text): (&Entry, &String)| -> Request<'static> {
        let request = Request::new(text.clone()).options(data_options.clone());
        match title {
            Some(title) if has_place => request.title(title.clone()),
            _ => request,
        }
    };
    let requests = scenario.data.iter().zip(&texts).map(request);
    let mut hits = Vec::new();
    for (place, document) in embedder.embed_requests(requests)?.iter().enumerate() {
        hits.push((place, query.similarity(document, Similarity::Cosine)?));
    }
    hits.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Ok((hits, query))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let embedder = match std::env::args().nth(1) {
        Some(folder) => Embedder::open(folder)?,
        None => Embedder::builtin()?,
    };
    let has_prompts = embedder.tasks().iter().any(|task| !task.prompt.text.is_empty());
    if !has_prompts {
        println!(
            "This model was trained without task prompts: give a folder of one that was to see what they do."
        );
    }
    for scenario in scenarios()? {
        println!("\n{}\n  {}", scenario.name, scenario.query);
        for &with_tasks in if has_prompts { &[true, false][..] } else { &[false] } {
            let (hits, query) = search(&embedder, &scenario, with_tasks)?;
            let prompt = &query.prompt;
            println!("  {} {:?}", if with_tasks { "with the task's prompt" } else { "without" }, prompt.text);
            if let Some(note) = &prompt.note {
                println!("    note: {note}");
            }
            for (place, similarity) in hits.into_iter().take(3) {
                let (title, text) = &scenario.data[place];
                let text: String =
                    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(70).collect();
                println!(
                    "    {similarity:.3}  {}{text}",
                    title.as_ref().map_or(String::new(), |title| format!("[{title}] "))
                );
            }
        }
    }
    Ok(())
}
