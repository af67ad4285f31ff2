//! The added tokens of a tokenizer: those of tokenizer.json, and those that the files beside it name.
//!
//! Sources: transformers 5.24, `tokenization_utils_base.py`, `_from_pretrained`, and
//! `tokenization_utils_tokenizers.py`, `TokenizersBackend.__init__`.

use super::class::Class;
use super::file::TokenizerFile;
use crate::error::{ModelError, ModelResult as Result};
use crate::source::Json;
use serde_json::{Map, Value, json};

/// An added token: found in a text before anything else is done with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AddedToken {
    pub(super) content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    pub(super) special: bool,
}

impl AddedToken {
    fn special(content: &str) -> AddedToken {
        AddedToken { special: true, normalized: false, ..AddedToken::plain(content) }
    }

    fn plain(content: &str) -> AddedToken {
        AddedToken {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: true,
            special: false,
        }
    }

    /// A token as an object, as it is in all of these files; what it does not say has the library's defaults.
    fn read(value: &Value) -> Option<AddedToken> {
        let content = value.get("content")?.as_str()?;
        let flag = |key: &str| value.get(key).and_then(Value::as_bool);
        let special = flag("special").unwrap_or(false);
        Some(AddedToken {
            single_word: flag("single_word").unwrap_or(false),
            lstrip: flag("lstrip").unwrap_or(false),
            rstrip: flag("rstrip").unwrap_or(false),
            normalized: flag("normalized").unwrap_or(!special),
            special,
            ..AddedToken::plain(content)
        })
    }

    fn to_json(&self, id: u64) -> Value {
        json!({"id": id, "content": self.content, "single_word": self.single_word, "lstrip": self.lstrip,
            "rstrip": self.rstrip, "normalized": self.normalized, "special": self.special})
    }
}

/// The files beside tokenizer.json that name tokens. Those that are not there have no keys.
pub(crate) struct TokenFiles<'a> {
    /// tokenizer_config.json
    pub(crate) settings: &'a Json,
    /// special_tokens_map.json
    pub(crate) special_tokens_map: &'a Json,
    /// added_tokens.json
    pub(crate) added_tokens: &'a Json,
}

/// What a class calls its tokens, in the order in which it adds them.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The tokens that have a role: `cls_token` and the like.
pub(super) struct NamedTokens {
    tokens: Vec<(String, AddedToken)>,
    /// `extra_special_tokens` and what they were called before.
    extra: Vec<AddedToken>,
    /// By id: `added_tokens_decoder` or the older files.
    by_id: Vec<(u64, AddedToken)>,
}

impl NamedTokens {
    /// The text of the token with this role.
    pub(super) fn get(&self, role: &str) -> Option<&str> {
        self.tokens.iter().find(|(name, _)| name == role).map(|(_, token)| token.content.as_str())
    }

    /// The tokens by their roles.
    pub(super) fn roles(&self) -> impl Iterator<Item = (String, String)> {
        self.tokens.iter().map(|(role, token)| (role.clone(), token.content.clone()))
    }

    /// Reads the files.
    pub(super) fn read(
        class: Class,
        files: &TokenFiles<'_>,
        tokenizer: &TokenizerFile<'_>,
    ) -> Result<NamedTokens> {
        let settings = files.settings;
        let mut roles: Map<String, Value> = Map::new();
        let is_role = |key: &str, value: &Value| {
            NAMED.contains(&key) || (key.ends_with("_token") && (value.is_string() || value.is_object()))
        };
        let mut take = |json: &Json| {
            for (key, value) in json.value.as_object().into_iter().flatten() {
                if is_role(key, value) {
                    json.get(key); // so that it counts as read
                    roles.insert(key.clone(), value.clone());
                }
            }
        };
        take(settings);
        let has_decoder = settings.get("added_tokens_decoder").is_some();
        if !has_decoder {
            take(files.special_tokens_map);
        }
        let extra = extra_tokens(files, has_decoder)?;
        if let Some(Value::Object(named)) = &extra.named {
            roles.extend(named.clone());
        }
        let special: Vec<&str> = roles
            .values()
            .filter_map(text_of)
            .chain(extra.list.iter().map(|token| token.content.as_str()))
            .collect();
        let by_id = match settings.get("added_tokens_decoder") {
            Some(decoder) => read_decoder(settings, decoder)?,
            None => older_tokens(files.added_tokens, tokenizer, &special)?,
        };
        let mut tokens = Vec::new();
        let named = NAMED.map(str::to_owned).into_iter();
        let others = roles.keys().filter(|key| !NAMED.contains(&key.as_str())).cloned();
        for role in named.chain(others) {
            let token = match roles.get(&role) {
                Some(Value::Null) => None,
                Some(Value::String(text)) => {
                    let known = by_id.iter().find(|(_, token)| token.content == *text);
                    Some(known.map_or_else(|| class.token(&role, text), |(_, token)| token.clone()))
                }
                Some(value) => Some(AddedToken::read(value).ok_or_else(|| {
                    settings.error(format!(
                        "`{role}` is {value}, expected a token: a string, or an object with `content`"
                    ))
                })?),
                None => class.default_token(&role).map(|text| class.token(&role, text)),
            };
            tokens.extend(token.map(|token| (role, token)));
        }
        let extra = match class {
            _ if extra.said => extra.list,
            Class::T5 => (0..100).map(|i| AddedToken::special(&format!("<extra_id_{i}>"))).collect(),
            Class::Camembert => ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"].map(AddedToken::special).into(),
            _ => Vec::new(),
        };
        Ok(NamedTokens { tokens, extra, by_id })
    }

    /// Adds them to tokenizer.json's own, or for a class that does not take these puts them in their place.
    pub(super) fn add_to(&self, class: Class, tokenizer: &mut TokenizerFile<'_>) {
        let own = if class == Class::General { tokenizer_tokens(tokenizer) } else { Vec::new() };
        let mut all = own.clone();
        let mut put =
            |token: &AddedToken| match all.iter_mut().find(|(_, known)| known.content == token.content) {
                Some((_, known)) => *known = token.clone(),
                None => all.push((u64::MAX, token.clone())),
            };
        self.by_id
            .iter()
            .filter(|(_, token)| !own.iter().any(|(_, known)| known == token))
            .for_each(|(_, token)| put(token));
        let missing: Vec<AddedToken> = {
            let known = |token: &AddedToken| {
                own.iter().chain(&self.by_id).any(|(_, known)| known.content == token.content)
            };
            let named = self.tokens.iter().map(|(_, token)| AddedToken { special: true, ..token.clone() });
            named.chain(self.extra.iter().cloned()).filter(|token| !known(token)).collect()
        };
        missing.iter().for_each(&mut put);
        if class == Class::Qwen2 {
            let named = self.tokens.iter().map(|(_, token)| token).chain(&self.extra);
            named.map(|token| AddedToken::special(&token.content)).for_each(|token| put(&token));
        }
        all.retain(|(_, token)| !token.content.is_empty());
        if all == own {
            return;
        }
        // Their ids are those of the vocabulary; what it does not have goes behind its end.
        let mut next = tokenizer.vocabulary.count();
        next = own.iter().map(|(id, _)| id + 1).max().map_or(next, |end| next.max(end));
        let claimed = |content: &str| {
            let files = own.iter().chain(&self.by_id);
            files.clone().find(|(_, token)| token.content == content).map(|(id, _)| *id)
        };
        let mut written: Vec<(u64, Value)> = Vec::with_capacity(all.len());
        for (_, token) in &all {
            let in_vocabulary = |id: &u64| tokenizer.vocabulary.max_id().is_some_and(|max| *id <= max);
            let id = claimed(&token.content)
                .filter(in_vocabulary)
                .or_else(|| tokenizer.vocabulary.id_of(&token.content));
            let id = id
                .or_else(|| own.iter().find(|(_, known)| known.content == token.content).map(|(id, _)| *id));
            let id = id.unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            written.push((id, token.to_json(id)));
        }
        written.sort_by_key(|(id, _)| *id);
        let list = written.into_iter().map(|(_, token)| token).collect();
        tokenizer.set("added_tokens", Value::Array(list));
    }
}

fn text_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// `extra_special_tokens`.
struct Extra {
    said: bool,
    list: Vec<AddedToken>,
    /// A dictionary of roles and tokens, where it is that.
    named: Option<Value>,
}

fn extra_tokens(files: &TokenFiles<'_>, has_decoder: bool) -> Result<Extra> {
    let settings = files.settings;
    let not_empty = |value: &&Value| *value != &json!([]) && *value != &json!({});
    let of_settings = settings.get("extra_special_tokens").filter(not_empty);
    let of_settings = of_settings.or_else(|| settings.get("additional_special_tokens"));
    let map = files.special_tokens_map;
    let of_map = if has_decoder { None } else { map.get("extra_special_tokens") };
    let older = if has_decoder { None } else { map.get("additional_special_tokens") };
    let mut extra = Extra { said: false, list: Vec::new(), named: None };
    for (json, value) in
        [(settings, of_settings), (map, of_map), (map, older.filter(|_| of_settings.is_none()))]
    {
        match value {
            None => {}
            Some(Value::Array(list)) => {
                extra.said = true;
                for value in list {
                    let token = value.as_str().map(AddedToken::special).or_else(|| AddedToken::read(value));
                    let token = token.ok_or_else(|| not_tokens(json, value))?;
                    if !extra.list.iter().any(|known| known.content == token.content) {
                        extra.list.push(token);
                    }
                }
            }
            Some(value @ Value::Object(_)) => extra.named = Some(value.clone()),
            Some(other) => return Err(not_tokens(json, other)),
        }
    }
    Ok(extra)
}

fn not_tokens(json: &Json, found: &Value) -> ModelError {
    json.error(format!(
        "`extra_special_tokens` has {found}, expected tokens: strings, or objects with `content`"
    ))
}

/// `added_tokens_decoder`: tokens by their ids, ascending.
fn read_decoder(settings: &Json, decoder: &Value) -> Result<Vec<(u64, AddedToken)>> {
    let entry = |(id, value): (&String, &Value)| {
        let read = id.parse().ok().zip(AddedToken::read(value));
        read.ok_or_else(|| {
            settings.error(format!("`added_tokens_decoder` has {id}: {value}, expected a token by its id"))
        })
    };
    let mut tokens: Vec<(u64, AddedToken)> =
        decoder.as_object().into_iter().flatten().map(entry).collect::<Result<_>>()?;
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens)
}

/// added_tokens.json, then tokenizer.json's tokens, by their ids.
fn older_tokens(
    added: &Json,
    tokenizer: &TokenizerFile<'_>,
    special: &[&str],
) -> Result<Vec<(u64, AddedToken)>> {
    let mut tokens = std::collections::BTreeMap::new();
    for (content, id) in added.value.as_object().into_iter().flatten() {
        let Some(number) = id.as_u64() else {
            return Err(added.error(format!("`{content}` is {id}, expected a token id")));
        };
        let is_special = special.contains(&content.as_str());
        let token = if is_special { AddedToken::special(content) } else { AddedToken::plain(content) };
        tokens.insert(number, token);
    }
    tokens.extend(tokenizer_tokens(tokenizer));
    Ok(tokens.into_iter().collect())
}

fn tokenizer_tokens(tokenizer: &TokenizerFile<'_>) -> Vec<(u64, AddedToken)> {
    let list = tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|token| Some((token.get("id")?.as_u64()?, AddedToken::read(token)?))).collect()
}

impl Class {
    /// A token that is given by its text only.
    fn token(self, role: &str, text: &str) -> AddedToken {
        match (self, role) {
            (Class::MpNet, "mask_token") => AddedToken { lstrip: true, ..AddedToken::plain(text) },
            (
                Class::MpNet,
                "bos_token" | "eos_token" | "sep_token" | "cls_token" | "unk_token" | "pad_token",
            ) => AddedToken::plain(text),
            (Class::Camembert, "mask_token") => AddedToken { lstrip: true, ..AddedToken::special(text) },
            _ => AddedToken::special(text),
        }
    }

    /// The token that has a role where the files do not say.
    fn default_token(self, role: &str) -> Option<&'static str> {
        let tokens: [Option<&'static str>; 7] = match self {
            Class::General => [None; 7],
            Class::Bert | Class::DistilBert => {
                [None, None, Some("[UNK]"), Some("[SEP]"), Some("[PAD]"), Some("[CLS]"), Some("[MASK]")]
            }
            Class::Roberta | Class::XlmRoberta | Class::Camembert => {
                ["<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"].map(Some)
            }
            Class::MpNet => ["<s>", "</s>", "[UNK]", "</s>", "<pad>", "<s>", "<mask>"].map(Some),
            Class::Albert => ["[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]"].map(Some),
            Class::T5 => [None, Some("</s>"), Some("<unk>"), None, Some("<pad>"), None, None],
            Class::Gemma => {
                [Some("<bos>"), Some("<eos>"), Some("<unk>"), None, Some("<pad>"), None, Some("<mask>")]
            }
            Class::Qwen2 => {
                [None, Some("<|endoftext|>"), Some("<|endoftext|>"), None, Some("<|endoftext|>"), None, None]
            }
            Class::Llama => [Some("<s>"), Some("</s>"), Some("<unk>"), None, None, None, None],
            Class::Gpt2 => {
                [Some("<|endoftext|>"), Some("<|endoftext|>"), Some("<|endoftext|>"), None, None, None, None]
            }
        };
        NAMED.iter().position(|name| *name == role).and_then(|place| tokens[place])
    }
}
