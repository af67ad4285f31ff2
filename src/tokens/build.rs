//! A tokenizer as transformers builds it: tokenizer.json, and what stands beside it.

use super::added::{NamedTokens, TokenFiles};
use super::class::Class;
use super::file::TokenizerFile;
use super::rebuild::{self, Surroundings};
use super::rules::CutAt;
use crate::error::ModelResult as Result;
use crate::source::Json;
use serde_json::Value;
use std::path::Path;

/// What stands beside a tokenizer.json. Files that are not there have no keys.
pub(crate) struct Beside<'a> {
    /// config.json
    pub(crate) config: &'a Json,
    /// tokenizer_config.json
    pub(crate) settings: &'a Json,
    /// special_tokens_map.json
    pub(crate) special_tokens_map: &'a Json,
    /// added_tokens.json
    pub(crate) added_tokens: &'a Json,
    /// What sentence_bert_config.json gives to the tokenizer (`processor_kwargs`), before all of these.
    pub(crate) arguments: &'a Json,
}

/// What was made of it.
pub(super) struct Built {
    /// tokenizer_config.json, with the arguments.
    pub(super) settings: Json,
    pub(super) arguments: Json,
    pub(super) named: NamedTokens,
    /// What the class puts around texts; `None`: what tokenizer.json says.
    pub(super) texts: Option<Surroundings>,
    pub(super) cut: CutAt,
    /// Whether a special token in a text is text like any other.
    pub(super) splits_special: bool,
    /// Whether the model is told which of two texts a token belongs to.
    pub(super) gives_types: bool,
}

/// Changes the file into what transformers makes of it. `direction`: of tokenizer.json's own truncation.
pub(super) fn build(
    path: &Path,
    beside: &Beside<'_>,
    direction: Option<&str>,
    file: &mut TokenizerFile<'_>,
) -> Result<Built> {
    let Beside { config, settings, special_tokens_map, added_tokens, arguments } = *beside;
    let class = Class::of(config, settings, || file.is_byte_level())?;
    let settings = settings.with(arguments);
    if settings.get("model_specific_special_tokens").is_some() {
        let supported = "tokens under extra_special_tokens";
        return Err(settings.unsupported("model_specific_special_tokens", "some", supported));
    }
    let files = TokenFiles { settings: &settings, special_tokens_map, added_tokens };
    let named = NamedTokens::read(class, &files, file)?;
    let texts = rebuild::rebuild(class, path, &settings, &named, file)?;
    named.add_to(class, file);
    let side = settings.text("truncation_side")?.or(direction).unwrap_or("right");
    let cut = match side {
        "right" => CutAt::End,
        "left" => CutAt::PromptToo,
        other => return Err(settings.unsupported("truncation_side", other, "left, right")),
    };
    let inputs = settings.list("model_input_names")?;
    let has_types = |names: &[Value]| names.iter().any(|name| name == "token_type_ids");
    let splits_special = settings.flag_or("split_special_tokens", false)?;
    let gives_types = inputs.map_or_else(|| class.gives_types(), has_types);
    let arguments = arguments.with(arguments);
    Ok(Built { settings, arguments, named, texts, cut, splits_special, gives_types })
}
