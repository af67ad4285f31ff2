//! From what a dialect has read to what its answer needs: the one way in which all dialects reach a model.

use crate::caller::Caller;
use crate::fault::{Fault, FaultKind};
use crate::loaded::Loaded;
use crate::models::Models;
use crate::numbers::Form;
use crate::schedule::{Content, Done, Finished, Item, Value, Work};
use crate::served_model::Purpose;
use crate::slot::Open;
use std::sync::Arc;
use std::time::Duration;
use taskvec::{EmbedOptions, Embedder, Task, Truncation};

/// What happens to texts that are longer than the model takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TooLong {
    CutEnd,
    CutStart,
    Refuse,
    /// The mean of the vectors of as many windows as it takes.
    Windows,
}

impl TooLong {
    /// As most dialects say it: whether to cut.
    pub(crate) fn cut(cut: bool) -> TooLong {
        if cut { TooLong::CutEnd } else { TooLong::Refuse }
    }
}

/// What is asked of texts.
#[derive(Clone, Default, Debug)]
pub(crate) struct Asked {
    pub(crate) task: Option<Task>,
    pub(crate) prompt_name: Option<String>,
    pub(crate) prompt: Option<String>,
    pub(crate) instruction: Option<String>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) normalize: Option<bool>,
    pub(crate) too_long: Option<TooLong>,
}

impl Asked {
    fn options(&self, of_name: Option<Task>) -> Arc<EmbedOptions> {
        let mut options = EmbedOptions::new();
        let says_nothing = self.task.is_none()
            && self.prompt_name.is_none()
            && self.prompt.is_none()
            && self.instruction.is_none();
        if let Some(task) = self.task.or(of_name.filter(|_| says_nothing)) {
            options = options.task(task);
        }
        if let Some(name) = &self.prompt_name {
            options = options.prompt_name(name);
        }
        if let Some(prompt) = &self.prompt {
            options = options.prompt(prompt);
        }
        if let Some(instruction) = &self.instruction {
            options = options.instruction(instruction);
        }
        if let Some(dimensions) = self.dimensions {
            options = options.dimensions(dimensions);
        }
        if let Some(normalize) = self.normalize {
            options = options.normalize(normalize);
        }
        let truncation = match self.too_long {
            Some(TooLong::Refuse) => Truncation::Error,
            Some(TooLong::CutStart) => Truncation::Start,
            Some(TooLong::CutEnd) => Truncation::End,
            Some(TooLong::Windows) => Truncation::Windows { overlap: 0 },
            None => return Arc::new(options),
        };
        Arc::new(options.truncation(truncation))
    }
}

/// A text of a request.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) content: Content,
    pub(crate) title: Option<String>,
    pub(crate) asked: Arc<Asked>,
}

impl Text {
    pub(crate) fn new(text: &str, asked: &Arc<Asked>) -> Text {
        Text { content: Content::Text(text.to_owned()), title: None, asked: asked.clone() }
    }
}

/// Texts as the pieces of one, which the model reads as a whole: late chunking. Between two there is a space, of the first one.
pub(crate) fn joined(pieces: &[&str], asked: &Arc<Asked>) -> Text {
    let (mut text, mut ends) = (String::new(), Vec::new());
    for (i, piece) in pieces.iter().enumerate() {
        text.push_str(piece);
        if i + 1 < pieces.len() {
            text.push(' ');
            ends.push(text.len());
        }
    }
    Text { content: Content::Pieces(text, ends), title: None, asked: asked.clone() }
}

/// What a model gives for texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Give {
    Dense,
    Sparse,
    Tokens,
    /// Of each piece, of texts that say where theirs end.
    Pieces,
}

/// What texts came to, all of them.
pub(crate) struct Embedded {
    pub(crate) done: Vec<Done>,
    pub(crate) facts: Facts,
}

/// What an answer's headers say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) texts: usize,
    pub(crate) tokens: usize,
    /// Texts of which a part was cut off.
    pub(crate) truncated: usize,
    /// Characters that had to be replaced.
    pub(crate) mended: usize,
    pub(crate) waited: Duration,
    pub(crate) computed: Duration,
}

impl Embedded {
    /// Appends the vector of a text.
    pub(crate) fn write(&self, text: usize, form: Form, out: &mut Vec<u8>) -> Result<(), Fault> {
        form.write(self.vector(text)?, out)
    }

    /// The vectors of a text's pieces, or its one.
    pub(crate) fn vectors(&self, text: usize) -> Result<Vec<&[f32]>, Fault> {
        match self.done.get(text).map(|done| &done.value) {
            Some(Value::Pieces(pieces)) => Ok(pieces.iter().map(|piece| &*piece.vector).collect()),
            _ => Ok(vec![self.vector(text)?]),
        }
    }

    /// The vector of a text.
    pub(crate) fn vector(&self, text: usize) -> Result<&[f32], Fault> {
        match self.done.get(text).map(|done| &done.value) {
            Some(Value::Dense(vector)) => Ok(vector),
            _ => Err(Fault::internal(format!("text {text} has no vector"))),
        }
    }
}

/// Embeds texts.
pub(crate) async fn embed(
    models: &Models,
    caller: Caller,
    model: Option<&str>,
    give: Give,
    texts: Vec<Text>,
) -> Result<Embedded, Fault> {
    if texts.is_empty() {
        return Err(Fault::new(FaultKind::Empty, "there is no text: give at least one"));
    }
    let (open, of_name) = models.find(model, Purpose::Embed).await?;
    check(embedder(&open)?, &texts)?;
    // Texts of one request mostly share what is asked of them, and then share its options too.
    let mut last: Option<(Arc<Asked>, Arc<EmbedOptions>)> = None;
    let items = texts
        .into_iter()
        .map(|Text { content, title, asked }| {
            let options = match &last {
                Some((same, options)) if Arc::ptr_eq(same, &asked) => options.clone(),
                _ => asked.options(of_name),
            };
            last = Some((asked, options.clone()));
            Item { content, title, options }
        })
        .collect();
    let mut items: Vec<Item> = items;
    if give == Give::Dense
        && items.len() == 1
        && let Some(item) = items.pop()
    {
        let result = open.recent.vector(&open.schedule, caller, item).await.and_then(counted);
        let (done, facts) = result.inspect_err(|fault| models.failed(&open, fault))?;
        return Ok(Embedded { done, facts });
    }
    let work = match give {
        Give::Dense => Work::Dense(items),
        Give::Sparse => Work::Sparse(items),
        Give::Tokens => Work::Tokens(items),
        Give::Pieces => Work::Pieces(items),
    };
    let (done, facts) = run(models, &open, caller, work).await?;
    Ok(Embedded { done, facts })
}

/// Between 0 and 1, as rerank's dialects have their scores.
pub(crate) fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(logit)).exp())) as f32
}

/// How relevant documents are for a query, in their order: numbers without bounds.
pub(crate) async fn score(
    models: &Models,
    caller: Caller,
    model: Option<&str>,
    (query, documents): (String, Vec<String>),
    asked: &Asked,
) -> Result<(Vec<f32>, Facts), Fault> {
    if documents.is_empty() {
        return Err(Fault::new(FaultKind::Empty, "there is no document: give at least one"));
    }
    let (open, _) = models.find(model, Purpose::Rank).await?;
    let (done, facts) =
        run(models, &open, caller, Work::Scores { query, documents, options: asked.options(None) }).await?;
    let score = |done: Done| match done.value {
        Value::Score(score) if score.is_finite() => Ok(score),
        _ => Err(Fault::internal("a document has no score")),
    };
    Ok((done.into_iter().map(score).collect::<Result<_, Fault>>()?, facts))
}

/// The embedding model that is open.
pub(crate) fn embedder(open: &Open) -> Result<&Embedder, Fault> {
    match &*open.loaded {
        Loaded::Embedder(embedder) => Ok(embedder),
        Loaded::Reranker(_) => Err(Fault::internal("a reranker was taken for an embedding model")),
    }
}

/// What can be told before a text is queued.
fn check(embedder: &Embedder, texts: &[Text]) -> Result<(), Fault> {
    let most = embedder.dimensions();
    for text in texts {
        if let Some(dimensions) = text.asked.dimensions.filter(|dimensions| *dimensions > most) {
            let message = format!("dimensions is {dimensions}; the model's vectors have {most} values");
            return Err(Fault::invalid("dimensions", message));
        }
    }
    Ok(())
}

async fn run(
    models: &Models,
    open: &Arc<Open>,
    caller: Caller,
    work: Work,
) -> Result<(Vec<Done>, Facts), Fault> {
    let pending = open.schedule.submit(work, caller.key, caller.deadline)?;
    let result = pending.wait(caller.deadline).await.and_then(counted);
    result.inspect_err(|fault| models.failed(open, fault))
}

/// All results, or the fault of the first text that has one.
fn counted(finished: Finished) -> Result<(Vec<Done>, Facts), Fault> {
    let done = finished.results.into_iter().collect::<Result<Vec<Done>, Fault>>()?;
    let facts = Facts {
        texts: done.len(),
        tokens: done.iter().map(|done| done.tokens).sum(),
        truncated: done.iter().filter(|done| done.untruncated_tokens > done.tokens).count(),
        mended: 0,
        waited: finished.waited,
        computed: finished.computed,
    };
    Ok((done, facts))
}
