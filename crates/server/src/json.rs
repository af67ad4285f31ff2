//! Reading JSON that clients send: text that is not valid Unicode is mended and counted, `null` is absent, and an error says which
//! value is wrong.

pub(crate) use crate::fault::kind;

use crate::fault::Fault;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What a character becomes that is none, as JSON writes it.
const REPLACEMENT: &str = "\\ufffd";

/// A body as JSON, and how many characters in it had to be replaced: bytes that are not UTF-8, and halves of surrogate pairs, as
/// JavaScript's `JSON.stringify` and Python's `json.dumps` write them.
///
/// # Errors
/// If it is no JSON.
pub(crate) fn parse(body: &[u8]) -> Result<(Value, usize), Fault> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = String::from_utf8_lossy(body);
    let replaced = match &text {
        Cow::Borrowed(_) => 0,
        Cow::Owned(text) => text.matches('\u{fffd}').count(),
    };
    let (text, mended) = mend_surrogates(&text);
    let value = serde_json::from_str(&text).map_err(|e| Fault::body(format!("the body is not JSON: {e}")))?;
    Ok((value, replaced + mended))
}

/// A body that is an object.
pub(crate) fn parse_object(body: &[u8]) -> Result<(Map<String, Value>, usize), Fault> {
    match parse(body)? {
        (Value::Object(fields), mended) => Ok((fields, mended)),
        (other, _) => Err(Fault::body(format!("the body is {}; expected an object", kind(&other)))),
    }
}

/// Escapes of one half of a surrogate pair, which stand for no character, replaced.
fn mend_surrogates(text: &str) -> (Cow<'_, str>, usize) {
    let bytes = text.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok().filter(|_| escape.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let (mut mended, mut from, mut at, mut count) = (String::new(), 0, 0, 0);
    while let Some(next) = memchr(bytes, at) {
        at = match unit(next) {
            Some(0xd800..=0xdbff) if matches!(unit(next + 6), Some(0xdc00..=0xdfff)) => next + 12,
            Some(0xd800..=0xdfff) => {
                mended.push_str(&text[from..next]);
                mended.push_str(REPLACEMENT);
                (from, count) = (next + 6, count + 1);
                next + 6
            }
            Some(_) => next + 6,
            None => next + 2, // another escape, whose second character may be a backslash
        };
    }
    if count == 0 {
        return (Cow::Borrowed(text), 0);
    }
    mended.push_str(&text[from..]);
    (Cow::Owned(mended), count)
}

/// The next backslash.
fn memchr(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|byte| *byte == b'\\').map(|i| from + i)
}

/// The fields of an object by name: one that is `null` is not there.
pub(crate) trait Fields {
    /// A field's value.
    fn field(&self, name: &str) -> Option<&Value>;

    /// A string.
    fn string(&self, name: &str) -> Result<Option<&str>, Fault> {
        self.field(name)
            .map(|value| value.as_str().ok_or_else(|| Fault::field(name, value, "a string")))
            .transpose()
    }

    /// A boolean.
    fn boolean(&self, name: &str) -> Result<Option<bool>, Fault> {
        self.field(name)
            .map(|value| value.as_bool().ok_or_else(|| Fault::field(name, value, "true or false")))
            .transpose()
    }

    /// A number above 0 without a fraction; some clients write it as `256.0`.
    fn count(&self, name: &str) -> Result<Option<usize>, Fault> {
        let count = |value: &Value| {
            let whole = value
                .as_u64()
                .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && *x > 0.0).map(|x| x as u64));
            whole.filter(|count| *count > 0).map(|count| count as usize)
        };
        self.field(name)
            .map(|value| count(value).ok_or_else(|| Fault::field(name, value, "a whole number above 0")))
            .transpose()
    }

    /// One of some words.
    fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Fault> {
        let Some(word) = self.string(name)? else { return Ok(None) };
        match words.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
                Err(Fault::invalid(name, format!("{name} is `{word}`; expected one of {}", known.join(", "))))
            }
        }
    }

    /// An object.
    fn object(&self, name: &str) -> Result<Option<&Map<String, Value>>, Fault> {
        self.field(name)
            .map(|value| value.as_object().ok_or_else(|| Fault::field(name, value, "an object")))
            .transpose()
    }

    /// A list.
    fn list(&self, name: &str) -> Result<Option<&[Value]>, Fault> {
        let list = |value: &'_ Value| -> Option<()> { value.as_array().map(|_| ()) };
        match self.field(name) {
            None => Ok(None),
            Some(value) if list(value).is_some() => Ok(value.as_array().map(Vec::as_slice)),
            Some(value) => Err(Fault::field(name, value, "a list")),
        }
    }

    /// A list of strings.
    fn strings(&self, name: &str) -> Result<Option<Vec<&str>>, Fault> {
        self.list(name)?.map(|list| strings(name, list)).transpose()
    }

    /// A field that must be there.
    fn required(&self, name: &str) -> Result<&Value, Fault> {
        self.field(name).ok_or_else(|| Fault::invalid(name, format!("{name} is missing")))
    }
}

impl Fields for Map<String, Value> {
    fn field(&self, name: &str) -> Option<&Value> {
        self.get(name).filter(|value| !value.is_null())
    }
}

/// The strings of a list.
pub(crate) fn strings<'v>(name: &str, list: &'v [Value]) -> Result<Vec<&'v str>, Fault> {
    let string = |(i, value): (usize, &'v Value)| {
        value.as_str().ok_or_else(|| Fault::field(&format!("{name}[{i}]"), value, "a string"))
    };
    list.iter().enumerate().map(string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_unicode_is_mended_and_counted() {
        let cases: [(&[u8], &str, usize); 8] = [
            (b"[\"a\"]", "a", 0),
            (b"\xef\xbb\xbf[\"a\"]", "a", 0),
            (b"[\"a\\ud800\"]", "a\u{fffd}", 1),
            (b"[\"\\udc00\\ud800b\"]", "\u{fffd}\u{fffd}b", 2),
            (b"[\"\\ud83d\\ude00\"]", "\u{1f600}", 0),
            (b"[\"\\\\ud800\"]", "\\ud800", 0),
            (b"[\"\\\\\\ud800\\n\"]", "\\\u{fffd}\n", 1),
            (b"[\"a\xff\"]", "a\u{fffd}", 1),
        ];
        for (body, text, mended) in cases {
            let (value, count) = parse(body).unwrap();
            assert_eq!(value[0], text, "{body:?}");
            assert_eq!(count, mended, "{body:?}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for body in [&b""[..], b"[", b"[\"a\nb\"]", b"[\"\\ud8\"]", b"[\"\\u\"", b"{\"a\":NaN}", b"\\ud800"] {
            assert!(parse(body).is_err(), "{body:?}");
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
