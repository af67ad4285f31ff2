//! The models that taskvec knows by name.
//!
//! `models.json` is gathered from their model cards and from mteb's records of them; whoever opens a
//! model gets what its own files say.

use crate::prompt::registry_family;
use serde_json::Value;

/// A published model that taskvec can run.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KnownModel {
    /// Its name on the Hugging Face Hub.
    pub name: String,
    /// What it gives: `vectors`, `scores` (a reranker), `sparse` vectors or vectors of `tokens`.
    pub gives: String,
    /// Size of a vector, for models that give those.
    pub dimensions: Option<usize>,
    /// Smaller sizes that it was trained to be cut to; some were trained for any.
    pub cut_to: Vec<usize>,
    /// The most tokens of a text; `None`: any.
    pub tokens: Option<usize>,
    /// The licence of its weights.
    pub licence: String,
    /// The family in the prompt registry whose prompts it takes.
    pub prompts: Option<String>,
}

/// All of them.
pub fn known_models() -> Vec<KnownModel> {
    // It is part of the program, and a test reads it: a mistake in it is ours.
    let list: Vec<Value> = serde_json::from_str(include_str!("models.json")).unwrap_or_default();
    list.iter().filter_map(model).collect()
}

fn model(value: &Value) -> Option<KnownModel> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let size = |value: &Value| value.as_u64().filter(|&size| size > 0).map(|size| size as usize);
    let name = text("name")?;
    let gives = text("gives").unwrap_or_else(|| "vectors".to_owned());
    Some(KnownModel {
        dimensions: value.get("dimensions").and_then(size),
        cut_to: value
            .get("cut_to")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(size)
            .collect(),
        tokens: value.get("tokens").and_then(size),
        licence: text("licence")?,
        prompts: (gives == "vectors").then(|| registry_family(&name)).flatten(),
        gives,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_complete_and_its_prompts_are_known() {
        let list: Vec<Value> = serde_json::from_str(include_str!("models.json")).unwrap();
        let models = known_models();
        assert_eq!(models.len(), list.len());
        // Trained with prompts that are in their own files, or published without any word of them.
        let without = ["arctic-embed-m-long", "voyage-4-nano"];
        for model in &models {
            assert!(model.name.contains('/') && !model.licence.is_empty());
            assert_eq!(model.dimensions.is_some(), model.gives == "vectors", "{}", model.name);
            let unknown = without.iter().any(|name| model.name.contains(name));
            assert_eq!(model.prompts.is_some(), model.gives == "vectors" && !unknown, "{}", model.name);
        }
        let mut names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), models.len(), "each once");
    }
}
