//! Who may ask.

use crate::settings::Key;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

/// Headers that hold a key: OpenAI's and most, Azure's, Google's.
const KEY_HEADERS: [&str; 3] = ["api-key", "x-goog-api-key", "x-api-key"];

/// Whose key a request has: its number among the keys, from 1 on; 0 where none is needed. `None`: it may not ask.
pub(crate) fn key(keys: &[Key], headers: &HeaderMap, query: Option<&str>) -> Option<usize> {
    if keys.is_empty() {
        return Some(0);
    }
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| match value.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Some(key.trim()),
        _ => None,
    });
    let named = KEY_HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
    let asked =
        query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.strip_prefix("key="));
    let asked: Vec<String> =
        asked.map(|key| percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned()).collect();
    let given = bearer.into_iter().chain(named).chain(asked.iter().map(String::as_str));
    let mut found = None;
    for given in given {
        // All are compared, and each in whole, so that the time says nothing.
        for (i, key) in keys.iter().enumerate() {
            if bool::from(given.as_bytes().ct_eq(key.secret.as_bytes())) {
                found = Some(i + 1);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_wherever_clients_put_them() {
        let keys = [Key::new("one"), Key::new("two two")];
        let of = |name: &'static str, value: &str, query: Option<&str>| {
            let mut headers = HeaderMap::new();
            if !name.is_empty() {
                headers.insert(name, value.parse().unwrap());
            }
            key(&keys, &headers, query)
        };
        assert_eq!(of("authorization", "Bearer one", None), Some(1));
        assert_eq!(of("authorization", "bearer two two", None), Some(2));
        assert_eq!(of("api-key", "one", None), Some(1));
        assert_eq!(of("x-goog-api-key", "one", None), Some(1));
        assert_eq!(of("", "", Some("a=b&key=two%20two")), Some(2));
        for (name, value, query) in [
            ("", "", None),
            ("authorization", "one", None),
            ("authorization", "Basic one", None),
            ("authorization", "Bearer on", None),
            ("authorization", "Bearer oneone", None),
            ("authorization", "Bearer ", None),
            ("api-key", "One", None),
            ("", "", Some("key=")),
        ] {
            assert_eq!(of(name, value, query), None, "{name} {value} {query:?}");
        }
        assert_eq!(key(&[], &HeaderMap::new(), None), Some(0));
    }
}
