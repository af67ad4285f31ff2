//! `taskvec models`

use crate::arguments::ModelsArguments;
use crate::outcome::Outcome;
use crate::sink::Sink;
use serde_json::{Value, json};
use taskvec::{CachedModel, KnownModel, cached_models, known_models};

pub(crate) fn run(arguments: &ModelsArguments) -> Outcome {
    let cached = cached_models();
    let in_cache = |name: &str| cached.iter().find(|model| model.id == name);
    let wanted = |name: &str| {
        let named =
            arguments.part.as_ref().is_none_or(|part| name.to_lowercase().contains(&part.to_lowercase()));
        named && (!arguments.cached || in_cache(name).is_some())
    };
    let known = known_models();
    let mut sink = Sink::open(None)?;
    if arguments.json {
        let list = list(&known, &cached, &wanted);
        sink.write(format!("{list}\n").as_bytes())?;
        return sink.finish();
    }
    sink.write(
        format!("{:62}  gives    size   tokens  licence          cached   prompts\n", "model").as_bytes(),
    )?;
    for model in known.iter().filter(|model| wanted(&model.name)) {
        sink.write(row(model, in_cache(&model.name)).as_bytes())?;
    }
    let is_known = |id: &str| known.iter().any(|model| model.name == id);
    for model in cached.iter().filter(|model| !is_known(&model.id) && wanted(&model.id)) {
        sink.write(format!("{:62}  {:47}{:>6}\n", model.id, "", size(model)).as_bytes())?;
    }
    sink.finish()
}

/// Each model as an object; `bytes` is there for those in the cache.
fn list(known: &[KnownModel], cached: &[CachedModel], wanted: &dyn Fn(&str) -> bool) -> Value {
    let bytes = |name: &str| cached.iter().find(|model| model.id == name).map(|model| model.bytes);
    let models = known.iter().filter(|model| wanted(&model.name)).map(|model| {
        json!({
            "name": model.name,
            "gives": model.gives,
            "dimensions": model.dimensions,
            "cut_to": model.cut_to,
            "tokens": model.tokens,
            "licence": model.licence,
            "prompts": model.prompts,
            "bytes": bytes(&model.name),
        })
    });
    let is_known = |id: &str| known.iter().any(|model| model.name == id);
    let others = cached.iter().filter(|model| !is_known(&model.id) && wanted(&model.id));
    models.chain(others.map(|model| json!({"name": model.id, "bytes": model.bytes}))).collect()
}

fn row(model: &KnownModel, cached: Option<&CachedModel>) -> String {
    let number =
        |number: Option<usize>, none: &str| number.map_or_else(|| none.to_owned(), |n| n.to_string());
    let cut = match model.cut_to.as_slice() {
        [] => String::new(),
        sizes => {
            format!("; may be cut to {}", sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    format!(
        "{:62}  {:7}  {:>4}  {:>7}  {:15}  {:>6}   {}{cut}\n",
        model.name,
        model.gives,
        number(model.dimensions, "-"),
        number(model.tokens, "any"),
        model.licence,
        cached.map_or_else(|| "-".to_owned(), size),
        model.prompts.as_deref().unwrap_or("its own, if any"),
    )
}

fn size(model: &CachedModel) -> String {
    format!("{:.0} MB", model.bytes as f64 / 1e6)
}
