//! Which tokenizer class transformers makes of a folder.
//!
//! transformers 5 takes a tokenizer.json as it stands for its general class only. The classes of its families take
//! the vocabulary and the merges from it, and have normalizers, words and special tokens of their own: see
//! [`rebuild`](super::rebuild). Source: `tokenization_auto.py`, `AutoTokenizer.from_pretrained`, of transformers 5.24.

use crate::error::ModelResult as Result;
use crate::source::Json;

/// A tokenizer class of transformers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// `TokenizersBackend`: tokenizer.json as it stands.
    General,
    Albert,
    Bert,
    Camembert,
    DistilBert,
    Gemma,
    Gpt2,
    Llama,
    MpNet,
    Qwen2,
    Roberta,
    T5,
    XlmRoberta,
}

/// Class names, without the `Fast` that older files have at their end.
const NAMES: [(&str, Class); 24] = [
    ("TokenizersBackend", Class::General),
    ("PreTrainedTokenizer", Class::General),
    ("PreTrainedTokenizerBase", Class::General),
    ("PythonBackend", Class::General),
    ("BloomTokenizer", Class::General),
    ("AlbertTokenizer", Class::Albert),
    ("BertTokenizer", Class::Bert),
    ("ElectraTokenizer", Class::Bert),
    ("MobileBertTokenizer", Class::Bert),
    ("RetriBertTokenizer", Class::Bert),
    ("SqueezeBertTokenizer", Class::Bert),
    ("CamembertTokenizer", Class::Camembert),
    ("DistilBertTokenizer", Class::DistilBert),
    ("GemmaTokenizer", Class::Gemma),
    ("GPT2Tokenizer", Class::Gpt2),
    ("LlamaTokenizer", Class::Llama),
    ("MPNetTokenizer", Class::MpNet),
    ("Qwen2Tokenizer", Class::Qwen2),
    ("RobertaTokenizer", Class::Roberta),
    ("BartTokenizer", Class::Roberta),
    ("LEDTokenizer", Class::Roberta),
    ("LongformerTokenizer", Class::Roberta),
    ("T5Tokenizer", Class::T5),
    ("XLMRobertaTokenizer", Class::XlmRoberta),
];

/// Other classes that transformers has, with ways of their own.
const FOREIGN: [&str; 50] = [
    "BarthezTokenizer",
    "BartphoTokenizer",
    "BertGenerationTokenizer",
    "BertJapaneseTokenizer",
    "BertweetTokenizer",
    "BigBirdTokenizer",
    "BlenderbotTokenizer",
    "ByT5Tokenizer",
    "CLIPTokenizer",
    "CTRLTokenizer",
    "CanineTokenizer",
    "CodeGenTokenizer",
    "CodeLlamaTokenizer",
    "CohereTokenizer",
    "ConvBertTokenizer",
    "CpmTokenizer",
    "DebertaTokenizer",
    "DebertaV2Tokenizer",
    "EsmTokenizer",
    "FNetTokenizer",
    "FlaubertTokenizer",
    "FunnelTokenizer",
    "GPTNeoXTokenizer",
    "GPTSw3Tokenizer",
    "HerbertTokenizer",
    "LayoutLMv2Tokenizer",
    "LayoutLMv3Tokenizer",
    "LayoutXLMTokenizer",
    "LukeTokenizer",
    "LxmertTokenizer",
    "M2M100Tokenizer",
    "MBart50Tokenizer",
    "MBartTokenizer",
    "MarkupLMTokenizer",
    "MistralCommonBackend",
    "NllbTokenizer",
    "OpenAIGPTTokenizer",
    "PegasusTokenizer",
    "PhobertTokenizer",
    "Qwen3_5Tokenizer",
    "ReformerTokenizer",
    "RemBertTokenizer",
    "RoCBertTokenizer",
    "RoFormerTokenizer",
    "SeamlessM4TTokenizer",
    "SplinterTokenizer",
    "WhisperTokenizer",
    "XGLMTokenizer",
    "XLMTokenizer",
    "XLNetTokenizer",
];

/// Families whose files name a wrong class so often that transformers takes its own.
const OWN_CLASS: [&str; 2] = ["modernbert", "qwen2"];

impl Class {
    /// The class for a model: `config` is config.json, `settings` tokenizer_config.json; `byte_level` whether
    /// tokenizer.json works on bytes.
    pub(super) fn of(config: &Json, settings: &Json, byte_level: impl Fn() -> bool) -> Result<Class> {
        let model_type = config.text("model_type")?.unwrap_or_default();
        config.heed(["tokenizer_class"]); // the other file's comes before it
        let named = match settings.text("tokenizer_class")? {
            Some(name) => Some((name, settings)),
            None => config.text("tokenizer_class")?.map(|name| (name, config)),
        };
        let registered = registered(model_type);
        let Some((name, named_in)) = named else {
            return Ok(registered.unwrap_or(Class::General));
        };
        let without_fast = name.strip_suffix("Fast").unwrap_or(name);
        if without_fast == "LlamaTokenizer" && !OWN_CLASS.contains(&model_type) && byte_level() {
            return Ok(Class::General); // Llama 3 names the class of Llama 2
        }
        match registered {
            // A family without a class of its own ignores what its files name.
            Some(Class::General) => Ok(Class::General),
            Some(own) if OWN_CLASS.contains(&model_type) => Ok(own),
            _ => Class::named(without_fast, named_in),
        }
    }

    fn named(name: &str, json: &Json) -> Result<Class> {
        if FOREIGN.contains(&name) {
            let supported = NAMES.map(|(name, _)| name).join(", ");
            return Err(json.unsupported("tokenizer_class", name, supported));
        }
        // transformers takes its general class for a name that it does not know.
        Ok(NAMES.into_iter().find(|(known, _)| *known == name).map_or(Class::General, |(_, class)| class))
    }

    /// Whether the class tells a model which of two texts a token belongs to, where tokenizer_config.json has no
    /// `model_input_names`.
    pub(super) fn gives_types(self) -> bool {
        self == Class::Bert
    }
}

/// The class that transformers has for a family: TOKENIZER_MAPPING_NAMES.
fn registered(model_type: &str) -> Option<Class> {
    Some(match model_type {
        "albert" => Class::Albert,
        "bert" | "distilbert" | "nomic_bert" => Class::Bert,
        "gemma3_text" => Class::Gemma,
        "gte" | "jina_embeddings_v3" | "xlm-roberta" => Class::XlmRoberta,
        "mistral" | "modernbert" => Class::General,
        "mpnet" => Class::MpNet,
        "qwen2" | "qwen3" => Class::Qwen2,
        "roberta" => Class::Roberta,
        "t5" => Class::T5,
        _ => return None,
    })
}
