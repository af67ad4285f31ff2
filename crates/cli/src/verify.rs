//! `taskvec verify`: whether vectors may be compared.

use crate::arguments::VerifyArguments;
use crate::outcome::{Failure, Outcome};
use crate::search;
use crate::sink::Sink;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use taskvec::Fingerprint;

/// More than any header that `taskvec embed` writes.
const HEADER: u64 = 1 << 20;

pub(crate) fn run(arguments: &VerifyArguments) -> Outcome {
    let first = fingerprint_of(&arguments.file)?;
    let (name, second) = match &arguments.other {
        Some(file) => (file.display().to_string(), fingerprint_of(file)?),
        None => {
            let embedder = arguments.model.open(arguments.task.dimensions)?;
            let space = embedder.space(arguments.task.options())?;
            (embedder.model().display().to_string(), space.fingerprint())
        }
    };
    let result = first.check_comparable(&second);
    let verdict = if result.is_ok() { "may be compared" } else { "must not be compared" };
    let mut sink = Sink::open(None)?;
    sink.write(format!("{first}  {}\n{second}  {name}\n{verdict}\n", arguments.file.display()).as_bytes())?;
    sink.finish()?;
    Ok(result?)
}

/// The fingerprint in the metadata of a file, whatever its format is.
fn fingerprint_of(path: &Path) -> Outcome<Fingerprint> {
    let failed = |problem: String| Failure::Failed(format!("{}: {problem}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| failed(format!("cannot read: {e}")))?;
    let mut head = Vec::new();
    let mut reader = BufReader::new(file);
    // JSON has its head on the first line, the binary formats within a limit.
    let start = reader.fill_buf().map_err(|e| failed(format!("cannot read: {e}")))?.first().copied();
    let read = match start {
        Some(b'{') => reader.read_until(b'\n', &mut head),
        _ => reader.take(HEADER).read_to_end(&mut head),
    };
    read.map_err(|e| failed(format!("cannot read: {e}")))?;
    let of_table = || search::fingerprint_of(path);
    let found = find(&head).or_else(of_table).ok_or_else(|| {
        failed("there is no fingerprint in it; `taskvec embed --output` writes one with --format parquet, arrow, json, jsonl, npy and safetensors".to_owned())
    })?;
    found.parse().map_err(|e: taskvec::Error| failed(e.to_string()))
}

fn find(head: &[u8]) -> Option<String> {
    if head.starts_with(b"\x93NUMPY") {
        let end = head.iter().position(|byte| *byte == b'\n')?;
        let text = String::from_utf8_lossy(&head[..end]).into_owned();
        return Some(text.split_once("# taskvec ")?.1.trim().to_owned());
    }
    if head.first() == Some(&b'{') {
        // A record of its own, or the head of an object whose list of vectors follows.
        let text = String::from_utf8_lossy(head);
        let whole = match text.trim_end().strip_suffix(",\"embeddings\":[") {
            Some(open) => format!("{open}}}"),
            None => text.into_owned(),
        };
        let value: Value = serde_json::from_str(&whole).ok()?;
        return value.get("fingerprint")?.as_str().map(str::to_owned);
    }
    let (length, rest) = head.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let value: Value = serde_json::from_slice(header).ok()?;
    value.get("__metadata__")?.get("fingerprint")?.as_str().map(str::to_owned)
}
