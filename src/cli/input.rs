//! Texts from arguments and files.

use super::arguments::{EmbedArguments, InputFormat};
use super::{Failure, Outcome};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// All texts of a call. Everything is read and checked before anything is computed.
pub(crate) fn texts(arguments: &EmbedArguments) -> Outcome<Vec<String>> {
    match &arguments.input {
        Some(path) => {
            let bytes = read(path)?;
            parse(&bytes, arguments.input_format.unwrap_or(InputFormat::Lines))
                .map_err(|problem| Failure::Failed(format!("{}: {problem}", shown(path))))
        }
        None if arguments.input_format.is_some() => {
            Err(Failure::Usage("--input-format says what --input holds, and there is no --input".to_owned()))
        }
        None if arguments.texts.is_empty() => Err(Failure::Usage(
            "nothing to embed: give texts, or --input FILE (- for standard input)".to_owned(),
        )),
        None => Ok(arguments.texts.clone()),
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
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

fn parse(bytes: &[u8], format: InputFormat) -> Result<Vec<String>, String> {
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

fn parse_line(line: &[u8], format: InputFormat) -> Result<String, String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text =
        std::str::from_utf8(line).map_err(|e| format!("not valid UTF-8 at byte {}", e.valid_up_to() + 1))?;
    if format == InputFormat::Lines {
        return Ok(text.to_owned());
    }
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
    match value.get("text") {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("`text` is {other}, expected a string")),
        None => Err("there is no `text`; expected an object such as {\"text\": \"…\"}".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_places() {
        let parse = |bytes: &[u8]| parse(bytes, InputFormat::Lines);
        assert_eq!(parse(b"a\n\nb\r\n").unwrap(), ["a", "", "b"]);
        assert_eq!(parse(b"\xef\xbb\xbfa\nb").unwrap(), ["a", "b"]);
        assert_eq!(parse(b"\n").unwrap_err(), "there are no texts in it");
        assert_eq!(parse(b"a\nb\xff\n").unwrap_err(), "line 2: not valid UTF-8 at byte 2");
    }

    #[test]
    fn jsonl_says_which_line_is_wrong() {
        let parse = |bytes: &[u8]| parse(bytes, InputFormat::Jsonl);
        assert_eq!(parse(b"{\"text\": \"a\", \"id\": 7}\n").unwrap(), ["a"]);
        assert!(
            parse(b"{\"text\": \"a\"}\n{\"txt\": 1}\n")
                .unwrap_err()
                .starts_with("line 2: there is no `text`")
        );
        assert!(parse(b"{\"text\": 1}").unwrap_err().starts_with("line 1: `text` is 1"));
        assert!(parse(b"{\"text\": \"a\"}\n\n{").unwrap_err().starts_with("line 2: not valid JSON"));
    }
}
