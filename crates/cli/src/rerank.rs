//! `taskvec rerank`

use crate::arguments::RerankArguments;
use crate::input;
use crate::outcome::{Failure, Outcome};
use crate::sink::Sink;
use crate::text::shortened;
use serde_json::json;
use taskvec::{CancelToken, EmbedOptions, Output};

pub(crate) fn run(arguments: &RerankArguments) -> Outcome {
    let items = input::items(&arguments.texts, &arguments.input)?;
    if let Some(place) =
        items.iter().position(|item| item.title.as_ref().is_some_and(|title| !title.is_empty()))
    {
        return Err(Failure::Failed(format!(
            "document {place} has a title, and rerankers have no place for one; put it into the text"
        )));
    }
    let documents: Vec<String> = items.into_iter().map(|item| item.text).collect();
    let reranker = arguments.model.open_reranker()?;
    let mut how = EmbedOptions::new();
    if let Some(instruction) = &arguments.instruction {
        how = how.instruction(instruction);
    }
    if let Some(name) = &arguments.prompt_name {
        how = how.prompt_name(name);
    }
    let scores = reranker.score_with(&arguments.query, &documents, how, &CancelToken::new())?;
    let mut ranked: Vec<(usize, Output<f32>)> = scores.into_iter().enumerate().collect();
    ranked.sort_by(|(_, a), (_, b)| b.value.total_cmp(&a.value));
    let cut = ranked.iter().filter(|(_, score)| score.truncated()).count();
    if cut > 0 {
        let limit = reranker.max_tokens();
        eprintln!("taskvec: warning: {cut} of the pairs were cut to the limit of {limit} tokens");
    }
    ranked.truncate(arguments.top.unwrap_or(usize::MAX));
    let mut sink = Sink::open(None)?;
    if arguments.json {
        let record = |(index, score): &(usize, Output<f32>)| {
            let truncated = score.truncated();
            json!({"index": index, "score": score.value, "tokens": score.tokens, "truncated": truncated})
        };
        let records: Vec<_> = ranked.iter().map(record).collect();
        sink.write(format!("{}\n", json!(records)).as_bytes())?;
        return sink.finish();
    }
    sink.write(b"     score  index  document\n")?;
    for (place, score) in ranked {
        let (score, document) = (score.value, shortened(&documents[place], 80));
        sink.write(format!("{score:10.4}  {place:5}  {document}\n").as_bytes())?;
    }
    sink.finish()
}
