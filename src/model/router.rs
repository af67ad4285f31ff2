//! Models of two ways: queries are looked up in a table of weights, documents go through a network (OpenSearch's
//! inference-free sparse models).
//!
//! Source: sentence-transformers 6.2, `base/modules/router.py`, `sparse_encoder/modules/sparse_static_embedding.py`.

use super::weights::Weights;
use crate::error::ModelResult as Result;
use crate::source::{Json, ModelFiles};
use crate::tokens::{Beside, TextTokenizer, TokenizerRules};
use serde_json::Value;

/// The two ways of a Router module.
pub(super) struct Routes {
    /// The folder of the queries' table.
    pub(super) queries: String,
    /// Whether texts of no task are queries.
    pub(super) queries_by_default: bool,
    /// The dotted class and the folder of each module that a document goes through.
    pub(super) documents: Vec<(String, String)>,
}

impl Routes {
    /// Reads router_config.json in the module's folder.
    pub(super) fn read(files: &ModelFiles, folder: &str) -> Result<Routes> {
        let json = files.json(&files.join(folder, "router_config.json")?)?;
        let missing = |key: &str| json.error(format!("`{key}` is missing"));
        let types = json.object("types")?.ok_or_else(|| missing("types"))?;
        let structure = json.object("structure")?.ok_or_else(|| missing("structure"))?;
        let parameters = json.object("parameters")?.unwrap_or_else(|| Json::empty(json.path.clone()));
        if let Some(mappings) = parameters.object("route_mappings")?
            && mappings.value.as_object().is_some_and(|mappings| !mappings.is_empty())
        {
            return Err(parameters.unsupported("route_mappings", mappings.value.to_string(), "none"));
        }
        parameters.heed(["allow_empty_key"]);
        let route = |name: &str| -> Result<Vec<(String, String)>> {
            let modules = structure
                .list(name)?
                .ok_or_else(|| structure.error(format!("there is no route `{name}`")))?;
            let module = |module: &Value| {
                let module = module.as_str()?;
                let class = types.value.get(module)?.as_str()?;
                let path = match (folder.is_empty(), module.is_empty()) {
                    (true, _) => module.to_owned(),
                    (_, true) => folder.to_owned(),
                    _ => format!("{folder}/{module}"),
                };
                Some((class.to_owned(), path))
            };
            let modules: Option<Vec<_>> = modules.iter().map(module).collect();
            modules.ok_or_else(|| {
                json.error(format!("the route `{name}` has a module that `types` does not have"))
            })
        };
        let of_queries = route("query")?;
        let queries = match &of_queries[..] {
            [(class, folder)] if class.ends_with(".SparseStaticEmbedding") || class.ends_with(".IDF") => {
                folder.clone()
            }
            others => {
                let found: Vec<&str> = others.iter().map(|(class, _)| &**class).collect();
                let supported = "a SparseStaticEmbedding by itself";
                return Err(json.unsupported("route of queries", found.join(", "), supported));
            }
        };
        let queries_by_default = match parameters.text("default_route")? {
            None | Some("document") => false,
            Some("query") => true,
            Some(other) => return Err(parameters.unsupported("default_route", other, "document, query")),
        };
        Ok(Routes { queries, queries_by_default, documents: route("document")? })
    }
}

/// The table of a model's queries.
pub(crate) struct StaticQueries {
    folder: String,
    /// What each entry of the vocabulary weighs if a query has it: `[vocabulary]`.
    pub(crate) weights: Vec<f32>,
    /// Whether texts of no task are queries.
    pub(crate) by_default: bool,
    /// The most tokens of a query.
    pub(crate) max_tokens: usize,
}

impl StaticQueries {
    pub(super) fn read(
        files: &ModelFiles,
        folder: &str,
        by_default: bool,
        vocabulary: usize,
    ) -> Result<StaticQueries> {
        let weights = Weights::open(files, folder)?;
        let because = "the vocabulary of the documents' model";
        let weights = weights.tensor("weight", &[vocabulary], because)?.to_vec()?;
        let settings = files.json_or_empty(&files.join(folder, "tokenizer_config.json")?)?;
        // Tokenizers without a limit say 1e30.
        let limit = settings.number_or("model_max_length", 1e30)?;
        let max_tokens =
            if (1.0..1e9).contains(&limit) { limit as usize } else { super::settings::MOST_TOKENS };
        Ok(StaticQueries { folder: folder.to_owned(), weights, by_default, max_tokens })
    }

    /// The queries' own tokenizer, which puts nothing around a text.
    pub(super) fn tokenizer(&self, files: &ModelFiles, config: &Json) -> Result<TextTokenizer> {
        let inside = |name: &str| files.join(&self.folder, name);
        let (settings, special, added) = (
            files.json_or_empty(&inside("tokenizer_config.json")?)?,
            files.json_or_empty(&inside("special_tokens_map.json")?)?,
            files.json_or_empty(&inside("added_tokens.json")?)?,
        );
        let arguments = Json::empty(settings.path.clone());
        let beside = Beside {
            config,
            settings: &settings,
            special_tokens_map: &special,
            added_tokens: &added,
            arguments: &arguments,
        };
        let rules = TokenizerRules { cuts: true, ..TokenizerRules::default() };
        let name = inside("tokenizer.json")?;
        let tokenizer = files.tokenizer_json(&name)?;
        TextTokenizer::new(files.path(&name), &tokenizer, Some(&beside), rules, self.weights.len())
    }

    /// All that decides what a query becomes.
    pub(super) fn description(&self) -> String {
        let weights: Vec<u8> = self.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        format!("queries {} {} {}", blake3::hash(&weights), self.by_default, self.max_tokens)
    }
}
