//! What the environment says of the Hugging Face Hub, as its own client reads it.
//!
//! Source: huggingface_hub, `constants.py` and `utils/_auth.py`.

use std::path::PathBuf;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The client's own folder.
fn home() -> PathBuf {
    let cache = || match variable("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => std::env::home_dir().unwrap_or_default().join(".cache"),
    };
    variable("HF_HOME").map_or_else(|| cache().join("huggingface"), PathBuf::from)
}

/// The folder of the cache.
pub(super) fn cache() -> PathBuf {
    let named = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE"));
    named.map_or_else(|| home().join("hub"), PathBuf::from)
}

/// Whether nothing may be downloaded.
pub(super) fn is_offline() -> bool {
    ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().filter_map(variable).any(|value| is_true(&value))
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

/// Who is asking.
pub(super) fn token() -> Option<String> {
    let named = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
    named.or_else(stored_token).map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn stored_token() -> Option<String> {
    let path = variable("HF_TOKEN_PATH").map_or_else(|| home().join("token"), PathBuf::from);
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for yes in ["1", "true", "TRUE", "On", "yes"] {
            assert!(is_true(yes), "{yes}");
        }
        for no in ["0", "false", "no", "off", "2", "maybe"] {
            assert!(!is_true(no), "{no}");
        }
    }
}
