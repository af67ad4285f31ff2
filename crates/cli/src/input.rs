//! Texts from arguments and files.

use crate::arguments::InputFormat;
use crate::outcome::{Failure, Outcome};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// A text, and its title if it has one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) text: String,
    pub(crate) title: Option<String>,
}

/// All texts of a call. Everything is read and checked before anything is computed.
pub(crate) fn items(
    texts: &[String],
    input: Option<&Path>,
    format: Option<InputFormat>,
) -> Outcome<Vec<Item>> {
    match input {
        Some(path) => from_file(path, format.unwrap_or(InputFormat::Lines)),
        None if format.is_some() && texts != ["-"] => {
            Err(Failure::Usage("--input-format says what --input holds, and there is no --input".to_owned()))
        }
        None if texts.is_empty() => Err(Failure::Usage(
            "nothing to embed: give texts, or --input FILE (- for standard input)".to_owned(),
        )),
        None if texts == ["-"] => from_file(Path::new("-"), format.unwrap_or(InputFormat::Lines)),
        None => Ok(texts.iter().map(|text| Item { text: text.clone(), title: None }).collect()),
    }
}

/// The texts of a file.
pub(crate) fn from_file(path: &Path, format: InputFormat) -> Outcome<Vec<Item>> {
    let bytes = read(path)?;
    parse(&bytes, format).map_err(|problem| Failure::Failed(format!("{}: {problem}", shown(path))))
}

/// The bytes of a file, or of standard input.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let result = if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    result.map_err(|e| Failure::Failed(format!("{}: cannot read: {e}", shown(path))))?;
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

fn parse(bytes: &[u8], format: InputFormat) -> Result<Vec<Item>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes); // byte order mark
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Err("there are no texts in it".to_owned());
    }
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .map(|(i, line)| parse_line(line, format).map_err(|problem| format!("line {}: {problem}", i + 1)))
        .collect()
}

fn parse_line(line: &[u8], format: InputFormat) -> Result<Item, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text =
        std::str::from_utf8(line).map_err(|e| format!("not valid UTF-8 at byte {}", e.valid_up_to() + 1))?;
    if format == InputFormat::Lines {
        return Ok(Item { text: text.to_owned(), title: None });
    }
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
    let string = |key: &str| match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("`{key}` is {other}, expected a string")),
    };
    let expected = "there is no `text`; expected an object such as {\"text\": \"…\", \"title\": \"…\"}";
    Ok(Item { text: string("text")?.ok_or(expected)?, title: string("title")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8], format: InputFormat) -> Result<Vec<String>, String> {
        Ok(parse(bytes, format)?.into_iter().map(|item| item.text).collect())
    }

    #[test]
    fn lines_keep_their_places() {
        let parse = |bytes: &[u8]| texts(bytes, InputFormat::Lines);
        assert_eq!(parse(b"a\n\nb\r\n").unwrap(), ["a", "", "b"]);
        assert_eq!(parse(b"\xef\xbb\xbfa\nb").unwrap(), ["a", "b"]);
        assert_eq!(parse(b"\n").unwrap_err(), "there are no texts in it");
        assert_eq!(parse(b"a\nb\xff\n").unwrap_err(), "line 2: not valid UTF-8 at byte 2");
    }

    #[test]
    fn jsonl_has_texts_and_titles_and_says_what_is_wrong_where() {
        let items = parse(
            b"{\"text\": \"a\", \"title\": \"T\"}\n{\"text\": \"b\", \"title\": null}",
            InputFormat::Jsonl,
        );
        let item =
            |text: &str, title: Option<&str>| Item { text: text.into(), title: title.map(str::to_owned) };
        assert_eq!(items.unwrap(), [item("a", Some("T")), item("b", None)]);
        let wrong = |bytes: &[u8]| parse(bytes, InputFormat::Jsonl).unwrap_err();
        assert!(wrong(b"{\"text\": \"a\"}\n{}").starts_with("line 2: there is no `text`"));
        assert!(wrong(b"{\"text\": 1}").contains("`text` is 1, expected a string"));
        assert!(wrong(b"{\"text\": \"a\", \"title\": 1}").contains("`title` is 1"));
        assert!(wrong(b"[").contains("not valid JSON"));
    }
}
