//! `taskvec rerank`

use super::arguments::RerankArguments;
use super::sink::Sink;
use super::{Outcome, input, shortened};

pub(crate) fn run(arguments: &RerankArguments) -> Outcome {
    let items = input::items(&arguments.texts, arguments.input.as_deref(), None)?;
    let documents: Vec<String> = items.into_iter().map(|item| item.text).collect();
    let reranker = arguments.model.open_reranker()?;
    let ranked = reranker.rank(&arguments.query, &documents)?;
    let mut sink = Sink::open(None)?;
    sink.write(b"     score  index  document\n")?;
    for (place, score) in ranked.into_iter().take(arguments.top.unwrap_or(usize::MAX)) {
        sink.write(format!("{score:10.4}  {place:5}  {}\n", shortened(&documents[place], 80)).as_bytes())?;
    }
    sink.finish()
}
