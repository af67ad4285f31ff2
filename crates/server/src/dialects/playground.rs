//! Our own words: what a model sees of a text, and what the page needs to know.

use super::openai;
use super::request::Call;
use crate::answer::Answer;
use crate::call::embedder;
use crate::fault::Fault;
use crate::json::Fields;
use crate::served_model::Purpose;
use serde_json::{Value, json};
use taskvec::{EmbedOptions, Task};

/// `/playground.json`: models that give vectors, and all tasks.
pub(super) fn facts(call: &Call<'_>) -> Answer {
    // One that was never open may be either: its name is offered, and a request says what it is.
    let embeds =
        |known: Option<crate::slot::Known>| known.is_none_or(|known| known.purpose == Purpose::Embed);
    let models: Vec<&str> =
        call.models.known().filter(|(_, known)| embeds(*known)).map(|(name, _)| name).collect();
    let tasks: Vec<&str> = Task::ALL.iter().map(|task| task.name()).collect();
    Answer::json(&json!({"models": models, "tasks": tasks}))
}

/// `/explain`: prompt and tokens of a text, and which of them are pooled.
pub(super) async fn explain(call: &Call<'_>) -> Result<Answer, Fault> {
    let (fields, _) = call.fields()?;
    let text = fields.required("text")?;
    let text = text.as_str().ok_or_else(|| Fault::field("text", text, "a string"))?;
    let (open, of_name) = call.models.find(fields.string("model")?, Purpose::Embed).await?;
    let mut options = EmbedOptions::new();
    if let Some(name) = fields.string("prompt_name")? {
        options = options.prompt_name(name);
    } else if let Some(instruction) = fields.string("instruction")? {
        options = options.instruction(instruction);
    } else {
        options = match openai::task(&fields, &["task"])?.or(of_name) {
            Some(task) => options.task(task),
            None => options.prompt(""),
        };
    }
    let explanation = embedder(&open)?.explain(text, options)?;
    let prompt = &explanation.prompt;
    let token = |token: &taskvec::ExplainedToken| json!({"id": token.id, "piece": token.piece, "pooled": token.pooled});
    Ok(Answer::json(&json!({
        "assembled": explanation.assembled, "prompt": prompt.text, "suffix": prompt.suffix,
        "source": prompt.source.to_string(), "note": prompt.note.as_ref().map(ToString::to_string),
        "tokens": explanation.tokens.iter().map(token).collect::<Vec<Value>>(),
        "untruncated_tokens": explanation.untruncated_tokens,
    })))
}
