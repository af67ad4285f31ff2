//! `taskvec serve`

use crate::arguments::{ModelArguments, ServeArguments, TokenIds, TooLong};
use crate::outcome::{Failure, Outcome};
use std::sync::Arc;
use std::time::Duration;
use taskvec_server::{Key, Listen, ServedModel, Server, Settings};

/// The built-in model's name.
const BUILTIN: &str = "all-MiniLM-L6-v2";

/// The variable that holds keys, with commas between.
const KEYS: &str = "TASKVEC_API_KEY";

pub(crate) fn run(arguments: &ServeArguments) -> Outcome {
    let server = Server::new(models(arguments)?, settings(arguments)?).map_err(failed)?;
    #[cfg(unix)]
    let listen = match &arguments.unix {
        Some(path) => Listen::Unix(path.clone()),
        None => Listen::Tcp(arguments.host.clone(), arguments.port),
    };
    #[cfg(not(unix))]
    let listen = Listen::Tcp(arguments.host.clone(), arguments.port);
    server.run(&listen, |address| eprintln!("taskvec: listening on {address}"), told_to_end()).map_err(failed)
}

fn failed(error: taskvec_server::ServerError) -> Failure {
    Failure::Failed(error.to_string())
}

/// What each model is called, and how it is opened.
fn models(arguments: &ServeArguments) -> Outcome<Vec<ServedModel>> {
    let open = |name: &str, model: Option<String>| {
        let model = ModelArguments { model, how: arguments.how.clone() };
        let open = move || model.open_any().map_err(|failure| failure.message());
        ServedModel { name: name.to_owned(), aliases: Vec::new(), open: Arc::new(open) }
    };
    let mut models: Vec<ServedModel> = match arguments.models.is_empty() {
        true => vec![open(BUILTIN, None)],
        false => arguments.models.iter().map(|model| open(&shown(model), Some(model.clone()))).collect(),
    };
    for alias in &arguments.alias {
        let split = alias.split_once('=').filter(|(name, model)| !name.is_empty() && !model.is_empty());
        let (name, model) =
            split.ok_or_else(|| Failure::Usage(format!("--alias {alias} is not NAME=MODEL")))?;
        let known: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
        let Some(served) =
            models.iter_mut().find(|served| served.name == model || shown(model) == served.name)
        else {
            return Err(Failure::Usage(format!("--alias {alias}: served are {}", known.join(", "))));
        };
        served.aliases.push(name.to_owned());
    }
    Ok(models)
}

/// What a model is called: of a folder its last part, of the hub's the name without a revision.
fn shown(model: &str) -> String {
    let path = std::path::Path::new(model);
    if path.exists() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        return name.unwrap_or_else(|| model.to_owned());
    }
    model.split('@').next().unwrap_or(model).to_owned()
}

/// The keys of the command, of the environment and of a file.
fn keys(arguments: &ServeArguments) -> Outcome<Vec<Key>> {
    let of_environment = std::env::var(KEYS).unwrap_or_default();
    let of_environment = of_environment.split(',').filter(|key| !key.is_empty());
    let mut keys: Vec<Key> =
        arguments.api_key.iter().map(String::as_str).chain(of_environment).map(Key::new).collect();
    let Some(path) = &arguments.api_keys else { return Ok(keys) };
    let text =
        std::fs::read_to_string(path).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
    let before = keys.len();
    for (i, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let Some(secret) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        let wrong = || {
            Failure::Usage(format!(
                "{}, line {}: expected a key, and behind it nothing or the tokens a minute that it may have",
                path.display(),
                i + 1
            ))
        };
        let key = match words.next() {
            None => Key::new(secret),
            Some(tokens) => {
                let tokens = tokens.parse::<u64>().ok().filter(|tokens| *tokens > 0).ok_or_else(wrong)?;
                Key::new(secret).tokens_per_minute(tokens)
            }
        };
        if words.next().is_some() {
            return Err(wrong());
        }
        keys.push(key);
    }
    // An empty file must not open the server to everybody.
    if keys.len() == before {
        return Err(Failure::Usage(format!("{} has no key", path.display())));
    }
    Ok(keys)
}

fn settings(arguments: &ServeArguments) -> Outcome<Settings> {
    let settings = Settings::default()
        .keys(keys(arguments)?)
        .tokens_per_minute(arguments.tokens_per_minute)
        .lazy(arguments.lazy)
        .max_memory(arguments.max_memory.map(|megabytes| megabytes.saturating_mul(1_000_000)))
        .cache(arguments.cache)
        .truncate(match arguments.too_long {
            TooLong::Vendor => None,
            TooLong::Cut => Some(true),
            TooLong::Refuse => Some(false),
        })
        .token_ids(match arguments.token_ids {
            TokenIds::Refuse => taskvec_server::TokenIds::Refuse,
            TokenIds::Model => taskvec_server::TokenIds::Model,
        })
        .strict(arguments.strict)
        .cors(arguments.cors)
        .log(arguments.log)
        .longest_wait(Duration::from_secs(arguments.longest_wait))
        .largest_body(arguments.largest_body)
        .connections(arguments.connections)
        .grace(Duration::from_secs(arguments.grace));
    #[cfg(feature = "tls")]
    if let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) {
        return Ok(settings.tls(certificate, key));
    }
    Ok(settings)
}

/// Ctrl-C, or the signal by which systems end services.
async fn told_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await; // without signals it ends when it is killed
}
