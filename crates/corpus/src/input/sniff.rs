//! What bytes plainly are, if not one text a line.

use super::input_file::InputFormat;
use serde_json::Value;
use std::fmt;

/// What a file plainly holds that is not one text a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PlainKind {
    /// What it is.
    pub(super) name: &'static str,
    /// The format that reads it.
    pub(super) format: Option<InputFormat>,
    remedy: &'static str,
}

impl fmt::Display for PlainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it holds {}, and not one text a line; {}", self.name, self.remedy)
    }
}

/// What the first bytes of a file, or all of them, plainly are, if not one text a line.
pub(super) fn what_it_plainly_is(bytes: &[u8]) -> Option<PlainKind> {
    const OTHERWISE: &str = "say with --input-format lines if each line is a text all the same";
    const MAGIC: [(&[u8], &str, Option<InputFormat>); 8] = [
        (b"PAR1", "a Parquet table", Some(InputFormat::Parquet)),
        (b"ARROW1", "an Arrow table", Some(InputFormat::Arrow)),
        (b"\x1f\x8b", "gzip's compressed bytes", None),
        (b"\x28\xb5\x2f\xfd", "Zstandard's compressed bytes", None),
        (b"PK\x03\x04", "a ZIP archive", None),
        (b"%PDF-", "a PDF document", None),
        (b"\xff\xfe", "UTF-16", None),
        (b"\xfe\xff", "UTF-16", None),
    ];
    if let Some((_, name, format)) = MAGIC.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        let remedy = "write the texts as UTF-8, one a line, or as .jsonl";
        return Some(PlainKind { name, format: *format, remedy });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // The first bytes of a file may end within a character.
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&bytes[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next()?;
    let is_object =
        |line: &str| line.trim_start().starts_with('{') && serde_json::from_str::<Value>(line).is_ok();
    if is_object(first) && lines.clone().all(is_object) {
        return Some(PlainKind {
            name: "JSON objects",
            format: Some(InputFormat::Jsonl),
            remedy: "say --input-format jsonl to take the text under \"text\" of each, or --input-format lines",
        });
    }
    if text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok() {
        return Some(PlainKind { name: "a JSON document", format: None, remedy: OTHERWISE });
    }
    let format = Some(InputFormat::Csv);
    is_table(first, lines.next()).then_some(PlainKind {
        name: "a table with a header",
        format,
        remedy: OTHERWISE,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plainly_no_list_of_texts_is_named() {
        let kind = |bytes: &[u8]| what_it_plainly_is(bytes).map(|kind| kind.name);
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
}
