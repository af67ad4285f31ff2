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
        Some(path) => from_file(path, format),
        None if format.is_some() && texts != ["-"] => {
            Err(Failure::Usage("--input-format says what --input holds, and there is no --input".to_owned()))
        }
        None if texts.is_empty() => Err(Failure::Usage(
            "nothing to embed: give texts, or --input FILE (- for standard input)".to_owned(),
        )),
        None if texts == ["-"] => from_file(Path::new("-"), format),
        None => Ok(texts.iter().map(|text| Item { text: text.clone(), title: None }).collect()),
    }
}

/// The texts of a file. Without a format, its ending says what it holds, and lines must not be something else.
pub(crate) fn from_file(path: &Path, format: Option<InputFormat>) -> Outcome<Vec<Item>> {
    let of_ending = if format.is_none() { format_of_ending(path)? } else { None };
    let bytes = read(path)?;
    let failed = |problem: String| Failure::Failed(format!("{}: {problem}", shown(path)));
    if let (None, None, Some(kind)) = (format, of_ending, kind_of(&bytes)) {
        return Err(failed(format!("it holds {}, and not one text a line; {}", kind.name, kind.remedy)));
    }
    parse(&bytes, format.or(of_ending).unwrap_or(InputFormat::Lines)).map_err(failed)
}

/// What the ending of a file says that it holds; `None`: nothing.
fn format_of_ending(path: &Path) -> Outcome<Option<InputFormat>> {
    const OTHERS: [&str; 24] = [
        "arrow",
        "avro",
        "bz2",
        "csv",
        "docx",
        "feather",
        "gz",
        "htm",
        "html",
        "ipc",
        "json",
        "lz4",
        "npy",
        "npz",
        "orc",
        "parquet",
        "pdf",
        "safetensors",
        "tsv",
        "xlsx",
        "xml",
        "xz",
        "zip",
        "zst",
    ];
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("jsonl" | "ndjson") => Ok(Some(InputFormat::Jsonl)),
        Some(ending) if OTHERS.contains(&ending) => Err(Failure::Usage(format!(
            "{}: .{ending} is read neither as lines nor as JSON objects; write the texts as .jsonl, \
             or say with --input-format what the file holds",
            shown(path)
        ))),
        _ => Ok(None),
    }
}

/// What a file plainly holds that is not one text a line.
struct Kind {
    name: &'static str,
    remedy: &'static str,
}

fn kind_of(bytes: &[u8]) -> Option<Kind> {
    const OTHERWISE: &str = "say with --input-format lines if each line is a text all the same";
    const MAGIC: [(&[u8], &str); 8] = [
        (b"PAR1", "a Parquet table"),
        (b"ARROW1", "an Arrow table"),
        (b"\x1f\x8b", "gzip's compressed bytes"),
        (b"\x28\xb5\x2f\xfd", "Zstandard's compressed bytes"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"%PDF-", "a PDF document"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ];
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(Kind { name, remedy: "write the texts as UTF-8, one a line, or as .jsonl" });
    }
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).ok()?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next()?;
    let is_object =
        |line: &str| line.trim_start().starts_with('{') && serde_json::from_str::<Value>(line).is_ok();
    if is_object(first) && lines.clone().all(is_object) {
        return Some(Kind {
            name: "JSON objects",
            remedy: "say --input-format jsonl to take the text under \"text\" of each, or --input-format lines",
        });
    }
    if text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok() {
        return Some(Kind { name: "a JSON document", remedy: OTHERWISE });
    }
    is_table(first, lines.next()).then_some(Kind { name: "a table with a header", remedy: OTHERWISE })
}

/// Whether these are the first lines of comma- or tab-separated values with names of columns that texts have.
fn is_table(header: &str, row: Option<&str>) -> bool {
    const USUAL: [&str; 12] = [
        "id", "_id", "text", "title", "content", "body", "sentence", "document", "query", "question",
        "passage", "label",
    ];
    [',', '\t', ';'].into_iter().any(|separator| {
        let names: Vec<String> =
            header.split(separator).map(|name| name.trim().trim_matches('"').to_lowercase()).collect();
        let is_name =
            |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let has_fields = |row: &str| row.matches(separator).count() + 1 >= names.len();
        names.len() > 1
            && names.iter().all(is_name)
            && names.iter().any(|name| USUAL.contains(&name.as_str()))
            && row.is_some_and(has_fields)
    })
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
    fn what_is_plainly_no_list_of_texts_is_named() {
        let kind = |bytes: &[u8]| kind_of(bytes).map(|kind| kind.name);
        let others: [(&[u8], &str); 8] = [
            (b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n", "JSON objects"),
            (b"\xef\xbb\xbf{\"text\": 1}", "JSON objects"),
            (b"[\n\"a\",\n\"b\"\n]\n", "a JSON document"),
            (b"{\n  \"texts\": []\n}", "a JSON document"),
            (b"id,text\n1,one\n2,\"two, three\"\n", "a table with a header"),
            (b"\"id\"\t\"Text\"\n1\tone\n", "a table with a header"),
            (b"PAR1\x15\x04", "a Parquet table"),
            (b"\x1f\x8b\x08", "gzip's compressed bytes"),
        ];
        for (bytes, name) in others {
            assert_eq!(kind(bytes), Some(name), "{bytes:?}");
        }
        let texts: [&[u8]; 7] = [
            b"",
            b"a\nb",
            b"{a} set\n[b] list",
            b"{\"a\": 1}\nand text",
            b"Text, with a comma\nand another, here",
            b"text\nid",
            b"red,green\nblue,yellow",
        ];
        for bytes in texts {
            assert_eq!(kind(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn endings_say_what_a_file_holds() {
        let of = |name: &str| format_of_ending(Path::new(name));
        assert!(matches!(of("a.jsonl"), Ok(Some(InputFormat::Jsonl))));
        assert!(matches!(of("a.NDJSON"), Ok(Some(InputFormat::Jsonl))));
        assert!(matches!((of("a.txt"), of("a"), of("-")), (Ok(None), Ok(None), Ok(None))));
        for name in ["rows.csv", "rows.Parquet", "all.json", "texts.jsonl.gz"] {
            let Err(Failure::Usage(problem)) = of(name) else { panic!("{name} is taken") };
            assert!(problem.contains("--input-format") && problem.contains(name), "{problem}");
        }
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
