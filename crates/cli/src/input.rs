//! Texts from arguments and files, in memory.

use crate::arguments::InputArguments;
use crate::outcome::{Failure, Outcome};
use std::io::Read;
use std::path::{Path, PathBuf};
use taskvec_corpus::{Columns, Corpus, InputFormat, TextRow};

/// All texts of a call. Everything is read and checked before anything is computed.
pub(crate) fn items(texts: &[String], input: &InputArguments) -> Outcome<Vec<TextRow>> {
    let is_dash = texts == ["-"];
    match &input.input[..] {
        [] if is_dash => all(&input.corpus(&[PathBuf::from("-")])?, Path::new("-")),
        [] if input.input_format.is_some() => {
            Err(Failure::Usage("--input-format says what --input holds, and there is no --input".to_owned()))
        }
        [] if input.text_column.is_some() || input.title_column.is_some() => Err(Failure::Usage(
            "--text and --title-column name columns of --input, and there is no --input".to_owned(),
        )),
        [] if texts.is_empty() => Err(Failure::Usage(
            "nothing to embed: give texts, or --input FILE (- for standard input)".to_owned(),
        )),
        [] => Ok(texts.iter().map(|text| TextRow { text: text.clone(), title: None }).collect()),
        inputs @ [first, ..] => all(&input.corpus(inputs)?, first),
    }
}

/// Standard input, whose lines are to be answered as they come.
pub(crate) fn conversation(texts: &[String], input: &InputArguments) -> Outcome<Corpus> {
    let stdin = [PathBuf::from("-")];
    match (&input.input[..], texts) {
        ([], [text]) if text == "-" => {}
        ([path], []) if *path == stdin[0] => {}
        _ => {
            let problem = "--flush answers lines of standard input: give - for the texts, or --input -";
            return Err(Failure::Usage(problem.to_owned()));
        }
    }
    if !matches!(input.input_format, None | Some(InputFormat::Lines | InputFormat::Jsonl)) {
        return Err(Failure::Usage("--flush reads lines, or --input-format jsonl".to_owned()));
    }
    Ok(input.corpus(&stdin)?.one_by_one())
}

/// The texts of a file, whose ending says what it holds.
pub(crate) fn from_file(path: &Path) -> Outcome<Vec<TextRow>> {
    all(&Corpus::open(&[path], None, Columns::default())?, path)
}

fn all(corpus: &Corpus, first: &Path) -> Outcome<Vec<TextRow>> {
    let rows: Vec<TextRow> = corpus.texts().collect::<Result<_, _>>()?;
    match &rows[..] {
        [] => Err(Failure::Failed(format!("{}: there are no texts in it", shown(first)))),
        _ => Ok(rows),
    }
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
