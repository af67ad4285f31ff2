//! sentence_bert_config.json: what sentence-transformers does with the transformer and its tokenizer.
//!
//! Source: sentence-transformers 6.2, `base/modules/transformer.py`, `load_config` and `__init__`.

use crate::error::ModelResult as Result;
use crate::source::{Json, ModelFiles};
use crate::tokens::{ChatSpec, MessageFormat, chat_template_in};
use serde_json::{Map, Value};

/// What the transformer is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TransformerTask {
    /// Its hidden states.
    Features,
    /// The logits of its language-model head.
    FillMask,
    /// Scores of pairs.
    Classification,
    /// The logits of the next token.
    NextToken,
}

/// The settings, checked.
pub(super) struct TransformerSettings {
    /// The file; `None`: there is none.
    pub(super) json: Option<Json>,
    /// `None`: the file does not say.
    pub(super) task: Option<TransformerTask>,
    /// The hidden states of this layer are the result (0: the embeddings; negative: counted from the end), and not the
    /// last ones.
    pub(super) hidden_layer: Option<i64>,
    /// `max_seq_length`
    pub(super) max_tokens: Option<usize>,
    /// The most tokens of a text, before all other limits.
    pub(super) call_tokens: Option<usize>,
    /// Texts that are too long are cut.
    pub(super) cuts: bool,
    /// Special tokens are put around a text.
    pub(super) special_tokens: bool,
    pub(super) lowercase: bool,
    /// Texts are messages of a chat: `None`: it does not say so.
    message: Option<Option<MessageFormat>>,
    template_arguments: Map<String, Value>,
    /// Comes before tokenizer_config.json.
    pub(super) tokenizer_arguments: Json,
    config_arguments: Json,
}

/// The file's names: older models name it after their architecture.
pub(super) const NAMES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// How tensors are held and computed, which is this engine's own affair, and where files are found.
const HARMLESS_MODEL_ARGUMENTS: [&str; 15] = [
    "torch_dtype",
    "dtype",
    "attn_implementation",
    "device_map",
    "low_cpu_mem_usage",
    "add_pooling_layer",
    "use_safetensors",
    "trust_remote_code",
    "revision",
    "code_revision",
    "token",
    "cache_dir",
    "local_files_only",
    "subfolder",
    "use_memory_efficient_attention",
];

impl TransformerSettings {
    /// Reads the first of the files that is there.
    pub(super) fn read(files: &ModelFiles, folder: &str) -> Result<TransformerSettings> {
        let mut found = None;
        for name in NAMES {
            found = files.optional_json(&files.join(folder, name)?)?;
            if found.as_ref().is_some_and(|json| json.value.as_object().is_none_or(|keys| !keys.is_empty())) {
                break;
            }
        }
        let none = Json::empty(files.path(NAMES[0]));
        let json = found.as_ref().unwrap_or(&none);
        let task = match json.text("transformer_task")? {
            None => None,
            Some("feature-extraction") => Some(TransformerTask::Features),
            Some("fill-mask") => Some(TransformerTask::FillMask),
            Some("sequence-classification") => Some(TransformerTask::Classification),
            Some("text-generation") => Some(TransformerTask::NextToken),
            Some(other) => {
                let supported = "feature-extraction, fill-mask, sequence-classification, text-generation";
                return Err(json.unsupported("transformer_task", other, supported));
            }
        };
        let (hidden_layer, message) = modality(json, task)?;
        check_model_arguments(json)?;
        let call = Call::read(json)?;
        let arguments = |new: &str, old: &str| -> Result<Json> {
            let given = json.object(old)?.or(json.object(new)?);
            Ok(given.unwrap_or_else(|| Json::empty(json.path.clone())))
        };
        Ok(TransformerSettings {
            task,
            hidden_layer,
            max_tokens: json.optional_size("max_seq_length")?,
            call_tokens: call.max_tokens,
            cuts: call.cuts,
            special_tokens: call.special_tokens,
            lowercase: json.flag_or("do_lower_case", false)?,
            message,
            template_arguments: call.template,
            tokenizer_arguments: arguments("processor_kwargs", "tokenizer_args")?,
            config_arguments: arguments("config_kwargs", "config_args")?,
            json: found,
        })
    }

    /// config.json with what comes before it. transformers heeds arguments for what a configuration has; what it has by
    /// default is not known here, so that an argument must be for a key of the file.
    pub(super) fn config_with_arguments(&self, config: &Json) -> Result<Json> {
        let arguments = &self.config_arguments;
        let mut keys = arguments.value.as_object().into_iter().flatten().map(|(key, _)| key);
        match keys.find(|key| config.value.get(key.as_str()).is_none()) {
            None => Ok(config.with(arguments)),
            Some(key) => {
                let supported = "keys that config.json has";
                Err(arguments.unsupported("argument of the configuration", key.as_str(), supported))
            }
        }
    }

    /// The chat template that texts go through: where this file says so, and in a folder without modules.json
    /// (`declared`: it has one) wherever there is a template.
    pub(super) fn chat(
        &self,
        files: &ModelFiles,
        folder: &str,
        tokenizer: &Json,
        declared: bool,
        of_pairs: bool,
    ) -> Result<Option<ChatSpec>> {
        if self.message.is_none()
            && (declared || self.json.as_ref().is_some_and(|json| json.get("modality_config").is_some()))
        {
            return Ok(None);
        }
        let name = files.join(folder, "chat_template.jinja")?;
        let argument = chat_template_in(&self.tokenizer_arguments)?;
        let (path, template) = match argument {
            Some(template) => (self.tokenizer_arguments.path.clone(), Some(template)),
            None if files.has(&name) => (files.path(&name), Some(files.text(&name)?)),
            None => (tokenizer.path.clone(), chat_template_in(tokenizer)?),
        };
        match (template, self.message) {
            (Some(template), message) => Ok(Some(ChatSpec {
                path,
                template,
                format: message.flatten(),
                arguments: self.template_arguments.clone(),
                of_pairs,
            })),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let problem = "`modality_config` says that texts are messages of a chat, but there is no chat template: none in chat_template.jinja, none in tokenizer_config.json";
                Err(self.json.as_ref().unwrap_or(tokenizer).error(problem))
            }
        }
    }
}

/// `modality_config`: which hidden states are taken, and whether texts are messages, in which format.
#[allow(clippy::type_complexity)]
fn modality(
    json: &Json,
    task: Option<TransformerTask>,
) -> Result<(Option<i64>, Option<Option<MessageFormat>>)> {
    let Some(modalities) = json.object("modality_config")? else {
        return Ok((None, None));
    };
    let output = json.text("module_output_name")?.unwrap_or("token_embeddings");
    let outputs = match task {
        Some(TransformerTask::Classification) => ["scores", "scores"],
        Some(TransformerTask::FillMask) => ["token_embeddings", "logits"],
        Some(TransformerTask::NextToken) => ["causal_logits", "causal_logits"],
        _ => ["token_embeddings", "token_embeddings"],
    };
    if !outputs.contains(&output) {
        return Err(json.unsupported("module_output_name", output, outputs[0]));
    }
    let (message, text) = (modalities.object("message")?, modalities.object("text")?);
    let is_message = message.is_some();
    let Some(entry) = message.or(text) else {
        return Err(json.unsupported("modality_config", "neither `text` nor `message`", "text, message"));
    };
    match entry.text("method")? {
        Some("forward") => {}
        other => return Err(entry.unsupported("method", other.unwrap_or("none"), "forward")),
    }
    let hidden_layer = match entry.get("method_output_name") {
        Some(Value::String(name)) if name == "last_hidden_state" || name == "logits" => None,
        Some(Value::Array(path)) => match &path[..] {
            [name] if name == "last_hidden_state" || name == "logits" => None,
            [name, layer] if name == "hidden_states" && layer.is_i64() => layer.as_i64(),
            _ => return Err(method_output(&entry)),
        },
        _ => return Err(method_output(&entry)),
    };
    let format = match (is_message, entry.text("format")?) {
        (false, _) => None,
        (true, None | Some("auto")) => Some(None),
        (true, Some("flat")) => Some(Some(MessageFormat::Flat)),
        (true, Some("structured")) => Some(Some(MessageFormat::Structured)),
        (true, Some(other)) => {
            return Err(entry.unsupported("message format", other, "auto, flat, structured"));
        }
    };
    Ok((hidden_layer, format))
}

fn method_output(entry: &Json) -> crate::error::ModelError {
    let found = entry.get("method_output_name").map_or("none".to_owned(), Value::to_string);
    entry.unsupported("method_output_name", found, "last_hidden_state, logits, [hidden_states, LAYER]")
}

fn check_model_arguments(json: &Json) -> Result<()> {
    for name in ["model_args", "model_kwargs"] {
        let Some(arguments) = json.object(name)? else { continue };
        for key in arguments.value.as_object().into_iter().flatten().map(|(key, _)| key) {
            arguments.get(key);
            if !HARMLESS_MODEL_ARGUMENTS.contains(&key.as_str()) {
                let supported = HARMLESS_MODEL_ARGUMENTS.join(", ");
                return Err(json.unsupported("argument of the model", key.as_str(), supported));
            }
        }
    }
    Ok(())
}

/// `processing_kwargs`: how the tokenizer is called.
struct Call {
    max_tokens: Option<usize>,
    cuts: bool,
    special_tokens: bool,
    template: Map<String, Value>,
}

impl Call {
    fn read(json: &Json) -> Result<Call> {
        let mut call = Call { max_tokens: None, cuts: true, special_tokens: true, template: Map::new() };
        let Some(processing) = json.object("processing_kwargs")? else {
            return Ok(call);
        };
        for part in ["text", "common"] {
            if let Some(arguments) = processing.object(part)? {
                call.add(&arguments)?;
            }
        }
        if let Some(template) = processing.object("chat_template")? {
            for (key, value) in template.value.as_object().into_iter().flatten() {
                template.get(key);
                match key.as_str() {
                    "max_length" | "truncation" | "padding" => call.add_one(&template, key)?,
                    _ => drop(call.template.insert(key.clone(), value.clone())),
                }
            }
        }
        Ok(call)
    }

    fn add(&mut self, arguments: &Json) -> Result<()> {
        arguments
            .value
            .as_object()
            .into_iter()
            .flatten()
            .try_for_each(|(key, _)| self.add_one(arguments, key))
    }

    fn add_one(&mut self, arguments: &Json, key: &str) -> Result<()> {
        let value = arguments.get(key);
        match (key, value) {
            ("max_length", _) => self.max_tokens = arguments.optional_size(key)?,
            ("truncation", Some(Value::Bool(cuts))) => self.cuts = *cuts,
            ("truncation", Some(Value::String(way))) => match way.as_str() {
                "longest_first" => self.cuts = true,
                "do_not_truncate" => self.cuts = false,
                other => {
                    return Err(arguments.unsupported(
                        "truncation",
                        other,
                        "true, false, longest_first, do_not_truncate",
                    ));
                }
            },
            ("add_special_tokens", _) => self.special_tokens = arguments.flag_or(key, true)?,
            // A batch here has no padding, and the rest is what a call gives beside the ids.
            (
                "padding"
                | "pad_to_multiple_of"
                | "padding_side"
                | "return_tensors"
                | "return_attention_mask"
                | "return_token_type_ids"
                | "return_length"
                | "return_special_tokens_mask"
                | "return_offsets_mapping"
                | "verbose",
                _,
            ) => {}
            _ => {
                let supported = "max_length, truncation, add_special_tokens, padding";
                return Err(arguments.unsupported("argument of the tokenizer", key, supported));
            }
        }
        Ok(())
    }
}
