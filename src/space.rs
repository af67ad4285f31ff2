//! Which vectors may be compared: a fingerprint of all that a vector depends on.

use crate::engine::Engine;
use crate::error::{Error, RequestError, Result};
use crate::model::{Model, Tensor};
use crate::prompt::{Prompt, PromptSource};
use crate::source::ModelFiles;
use crate::task::Task;
use crate::vector::Finish;
use blake3::Hasher;
use rayon::prelude::*;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// What all vectors of an opened model share. Its hash is worked out when it is first asked for: it
/// reads all weights.
pub(crate) struct SpaceRecipe {
    model: Arc<Model>,
    /// What else decides what a text becomes, but for tokenizer.json.
    description: String,
    /// tokenizer.json, whose vocabulary is too long to be held apart.
    files: ModelFiles,
    hash: OnceLock<[u8; 8]>,
}

/// Bytes that are hashed at once.
const CHUNK: usize = 1 << 20;

/// Changes with every change of what is hashed, or how.
const VERSION: &str = "taskvec space 2";

impl SpaceRecipe {
    /// Of the opened model, not of its files: a key that took no effect changes nothing, and one that did changes it
    /// wherever it stands.
    pub(crate) fn new(files: &ModelFiles, engine: &Engine) -> SpaceRecipe {
        let (precision, tokenizer) = (engine.options.precision.name(), engine.tokenizer.description());
        let of_queries = engine.query_tokenizer.as_ref().map(|it| it.description()).unwrap_or_default();
        let description = format!("{VERSION} {precision} {} {tokenizer}{of_queries}", engine.max_tokens);
        SpaceRecipe { model: engine.model.clone(), description, files: files.clone(), hash: OnceLock::new() }
    }

    fn hash(&self) -> [u8; 8] {
        *self.hash.get_or_init(|| {
            let of_tensor = |tensor: &Tensor| {
                let mut hasher = Hasher::new();
                hasher.update(format!("{:?} {:?}", tensor.element_type(), tensor.shape()).as_bytes());
                // In chunks, so that the largest tensor does not keep the other threads waiting.
                let chunks: Vec<blake3::Hash> = tensor.stored().par_chunks(CHUNK).map(blake3::hash).collect();
                chunks.iter().for_each(|hash| {
                    hasher.update(hash.as_bytes());
                });
                hasher.finalize()
            };
            let tensors: Vec<blake3::Hash> = self.model.tensors().into_par_iter().map(of_tensor).collect();
            let tokenizer = self.model.tokenizer_file(&self.files).and_then(|name| self.files.bytes(&name));
            let mut hasher = Hasher::new();
            for part in [self.description.as_bytes(), self.model.description().as_bytes()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            if let Ok(tokenizer) = tokenizer {
                hasher.update(blake3::hash(&tokenizer).as_bytes());
            }
            tensors.iter().for_each(|hash| {
                hasher.update(hash.as_bytes());
            });
            short(&hasher)
        })
    }
}

fn short(hasher: &Hasher) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    bytes
}

/// The space that a vector lies in: the model, how its vectors are cut, and what they are for.
///
/// Vectors can be compared if they come from the same weights, tokenizer and modules, have the same
/// size, and were made with the same prompt, or one as a query and the other as a document. Where no task
/// was said, the caller is taken to know.
#[derive(Clone)]
pub struct Space {
    recipe: Arc<SpaceRecipe>,
    prompt: Arc<Prompt>,
    task: Option<Task>,
    finish: Finish,
}

impl Space {
    pub(crate) fn new(
        recipe: Arc<SpaceRecipe>,
        prompt: Arc<Prompt>,
        task: Option<Task>,
        finish: Finish,
    ) -> Space {
        Space { recipe, prompt, task, finish }
    }

    /// Values of its vectors.
    pub fn dimensions(&self) -> usize {
        self.finish.size()
    }

    /// Whether its vectors have unit length, so that their dot product is the cosine.
    pub fn unit_length(&self) -> bool {
        self.finish.unit_length
    }

    /// The fingerprint, which can be written beside vectors. The first call reads all weights of the
    /// model.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = Hasher::new();
        hasher.update(&self.recipe.hash());
        let Finish { dimensions, whole, layer_norm, unit_length, cut_last } = self.finish;
        hasher.update(format!("{dimensions} {layer_norm} {unit_length} {cut_last:?}").as_bytes());
        if whole {
            hasher.update(b" whole");
        }
        let space = short(&hasher);
        let mut hasher = Hasher::new();
        for part in
            [&self.prompt.text, &self.prompt.suffix, self.prompt.adapter.as_deref().unwrap_or_default()]
        {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&[u8::from(self.prompt.pooled)]);
        let [a, b, ..] = short(&hasher);
        Fingerprint {
            space: u64::from_be_bytes(space),
            prompt: u16::from_be_bytes([a, b]),
            side: self.side(),
        }
    }

    /// Checks that vectors of the two spaces may be compared.
    ///
    /// # Errors
    /// [`RequestError::MixedSpaces`], with the reason.
    pub fn check_comparable(&self, other: &Space) -> Result<()> {
        let same_model = Arc::ptr_eq(&self.recipe, &other.recipe) && self.finish == other.finish;
        let same_prompt = self.prompt.text == other.prompt.text
            && self.prompt.suffix == other.prompt.suffix
            && self.prompt.adapter == other.prompt.adapter
            && self.prompt.pooled == other.prompt.pooled;
        if same_model && (same_prompt || self.side().meets(other.side())) {
            return Ok(()); // without reading the weights
        }
        self.fingerprint().check_comparable(&other.fingerprint())
    }

    /// By the task, or by the name of the model's prompt where that is the name of a task.
    fn side(&self) -> Side {
        let named = match &self.prompt.source {
            PromptSource::Model { name } | PromptSource::ModelDefault { name } => name.parse().ok(),
            _ => None,
        };
        Side::of(self.task.or(named))
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Space { recipe, prompt, task, finish } = self;
        let name = recipe.model.prompts.model();
        f.debug_struct("Space")
            .field("model", &name)
            .field("prompt", &prompt.text)
            .field("task", task)
            .field("dimensions", &finish.size())
            .finish_non_exhaustive()
    }
}

/// What a vector is to be compared with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Side {
    Query,
    Document,
    /// Others of its task.
    Symmetric,
    /// Nothing was said: the caller knows.
    Unsaid,
}

impl Side {
    fn of(task: Option<Task>) -> Side {
        match task {
            Some(task) if task.is_query() => Side::Query,
            Some(Task::RetrievalDocument) => Side::Document,
            Some(_) => Side::Symmetric,
            None => Side::Unsaid,
        }
    }

    fn letter(self) -> char {
        match self {
            Side::Query => 'q',
            Side::Document => 'd',
            Side::Symmetric => 's',
            Side::Unsaid => 'u',
        }
    }

    /// Whether vectors of the two sides are made to be compared, though their prompts differ.
    fn meets(self, other: Side) -> bool {
        use Side::{Document, Query, Unsaid};
        matches!((self, other), (Query, Document) | (Document, Query) | (Unsaid, _) | (_, Unsaid))
    }
}

/// A short hash of all that a vector depends on, such as `3f2a9c1b07de55aa-91c2q`: before the dash the
/// space (weights, tokenizer, modules, precision, size and length of vectors), after it the prompt, and whether it
/// is for a query (`q`), a document (`d`), another task (`s`) or none that was said (`u`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint {
    space: u64,
    prompt: u16,
    side: Side,
}

impl Fingerprint {
    /// Checks that vectors with the two fingerprints may be compared.
    ///
    /// # Errors
    /// [`RequestError::MixedSpaces`], with the reason.
    pub fn check_comparable(&self, other: &Fingerprint) -> Result<()> {
        let mixed = |because: &'static str| {
            Err(RequestError::MixedSpaces { first: self.to_string(), second: other.to_string(), because }
                .into())
        };
        if self.space != other.space {
            return mixed(
                "they come from other weights, another tokenizer, other modules or another precision, or are of another size",
            );
        }
        if self.prompt == other.prompt || self.side.meets(other.side) {
            return Ok(());
        }
        mixed("they were made with other prompts, for tasks whose vectors are not made to be compared")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:04x}{}", self.space, self.prompt, self.side.letter())
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fingerprint> {
        let parse = || {
            let (space, rest) = text.split_once('-')?;
            let side = match rest.chars().last()? {
                'q' => Side::Query,
                'd' => Side::Document,
                's' => Side::Symmetric,
                'u' => Side::Unsaid,
                _ => return None,
            };
            let prompt = rest.get(..rest.len() - 1)?;
            let sizes = space.len() == 16 && prompt.len() == 4;
            let space = u64::from_str_radix(space, 16).ok().filter(|_| sizes)?;
            Some(Fingerprint { space, prompt: u16::from_str_radix(prompt, 16).ok()?, side })
        };
        parse().ok_or_else(|| {
            let expected = "16 hexadecimal digits, a dash, 4 more and one of q, d, s, u".to_owned();
            RequestError::InvalidOption { option: "fingerprint", found: format!("`{text}`"), expected }.into()
        })
    }
}

crate::names::serialized_as_name!(Fingerprint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_back_and_anything_else_refused() {
        let fingerprint = Fingerprint { space: 0x0123_4567_89ab_cdef, prompt: 0x00ff, side: Side::Query };
        assert_eq!(fingerprint.to_string(), "0123456789abcdef-00ffq");
        assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
        for wrong in
            ["", "-", "0123456789abcdef-00ff", "0123-00ffq", "0123456789abcdeg-00ffq", "0123456789abcdef-é"]
        {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn queries_meet_documents_and_like_meets_like() {
        let of = |space, prompt, side| Fingerprint { space, prompt, side };
        let query = of(1, 1, Side::Query);
        assert!(query.check_comparable(&of(1, 2, Side::Document)).is_ok());
        assert!(query.check_comparable(&query).is_ok());
        assert!(query.check_comparable(&of(1, 1, Side::Symmetric)).is_ok());
        let error = query.check_comparable(&of(1, 2, Side::Symmetric)).unwrap_err().to_string();
        assert!(error.contains("prompts"), "{error}");
        let error = query.check_comparable(&of(2, 1, Side::Query)).unwrap_err().to_string();
        assert!(error.contains("weights"), "{error}");
    }
}
