//! Which files there are, and what they hold.

use super::input_file::{InputFile, InputFormat};
use super::{sniff, stream};
use crate::error::{CorpusError, Result};
use std::path::{Path, PathBuf};

/// The files that inputs stand for, in order, each once.
pub(crate) fn find<P: AsRef<Path>>(inputs: &[P], format: Option<InputFormat>) -> Result<Vec<InputFile>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for input in inputs {
        let path = input.as_ref();
        let found = match path {
            _ if path.as_os_str() == "-" => vec![path.to_owned()],
            _ if path.is_dir() => below(path)?,
            _ if path.exists() => vec![path.to_owned()],
            _ => matching(path)?,
        };
        paths.extend(found.into_iter().filter(|found| !paths.contains(found)).collect::<Vec<_>>());
    }
    if paths.is_empty() {
        return Err(CorpusError::NoInput("there is nothing to read: no input was named".to_owned()));
    }
    let stdin = paths.iter().filter(|path| path.as_os_str() == "-").count();
    if stdin == 1 && paths.len() > 1 {
        return Err(CorpusError::NoInput("standard input is read alone, without other inputs".to_owned()));
    }
    paths.into_iter().map(|path| with_format(path, format)).collect()
}

fn with_format(path: PathBuf, format: Option<InputFormat>) -> Result<InputFile> {
    let is_stdin = path.as_os_str() == "-";
    // Lines that nobody called so may plainly be something else.
    let of_ending = InputFormat::of_ending(&path).filter(|format| *format != InputFormat::Lines);
    let said = format.or(of_ending).or(is_stdin.then_some(InputFormat::Lines));
    if let Some(format) = said {
        let mut file = InputFile::new(path, format);
        if !matches!(format, InputFormat::Lines | InputFormat::Jsonl) {
            file.make_readable_again()?; // its header is read before its rows
        }
        return Ok(file);
    }
    if let Some(ending) = other_ending(&path) {
        let problem = format!(
            ".{ending} is not read; write the texts as .jsonl or .csv, or say with --input-format what the file holds"
        );
        return Err(CorpusError::file(&path, problem));
    }
    let head = stream::head(&path)?;
    let format = match sniff::what_it_plainly_is(&head) {
        None => InputFormat::Lines,
        Some(kind) => match kind.format {
            Some(format @ (InputFormat::Parquet | InputFormat::Arrow)) => format,
            _ => return Err(CorpusError::file(&path, kind)),
        },
    };
    Ok(InputFile::new(path, format))
}

/// The ending of a file that plainly holds something else than texts.
fn other_ending(path: &Path) -> Option<String> {
    const OTHERS: [&str; 15] = [
        "avro",
        "bz2",
        "docx",
        "htm",
        "html",
        "json",
        "lz4",
        "npy",
        "npz",
        "orc",
        "pdf",
        "safetensors",
        "xlsx",
        "xml",
        "zip",
    ];
    let ending = path.extension()?.to_string_lossy().to_lowercase();
    (OTHERS.contains(&ending.as_str()) || ending == "xz").then_some(ending)
}

/// The files below a folder whose endings are known, sorted.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).map_err(CorpusError::read(&next))? {
            let path = entry.map_err(CorpusError::read(&next))?.path();
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with(['.', '_']));
            if path.is_dir() && !hidden {
                open.push(path);
            } else if !hidden && InputFormat::of_ending(&path).is_some() {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        let problem = "there are no files in it whose endings are known (.txt, .jsonl, .csv, .tsv, .parquet, .arrow, each also with .gz or .zst)";
        return Err(CorpusError::file(folder, problem));
    }
    found.sort();
    Ok(found)
}

/// The files that a pattern matches, sorted.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let text = pattern.to_string_lossy();
    let missing = || CorpusError::read(pattern)(std::io::ErrorKind::NotFound.into());
    if !text.contains(['*', '?', '[']) {
        return Err(missing());
    }
    // As a shell does: a star stands for no leading dot.
    let shell_like = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths = glob::glob_with(&text, shell_like)
        .map_err(|e| CorpusError::file(pattern, format!("it is no pattern: {e}")))?;
    let found: Vec<PathBuf> = paths
        .map(|path| path.map_err(|e| CorpusError::read(e.path())(std::io::Error::from(e.error().kind()))))
        .collect::<Result<_>>()?;
    let found: Vec<PathBuf> = found.into_iter().filter(|path| path.is_file()).collect();
    if found.is_empty() { Err(CorpusError::file(pattern, "no file matches it")) } else { Ok(found) }
}
