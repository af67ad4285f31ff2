//! The bytes of a file, unpacked if they are packed.

use super::input_file::InputFile;
use crate::error::{CorpusError, Result};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

const BUFFER: usize = 256 << 10;

/// Bytes that show what a file holds.
const HEAD: u64 = 64 << 10;

/// A file's bytes, without packing and byte order mark.
pub(super) fn open(file: &InputFile) -> Result<Box<dyn BufRead + Send>> {
    let raw: Box<dyn Read + Send> = match file.bytes_at() {
        None => Box::new(std::io::stdin()),
        Some(path) => Box::new(File::open(path).map_err(CorpusError::read(&file.path))?),
    };
    unpacked(raw).map_err(CorpusError::read(&file.path))
}

fn unpacked(mut raw: Box<dyn Read + Send>) -> std::io::Result<Box<dyn BufRead + Send>> {
    let start = first_bytes(&mut raw, &[GZIP, ZSTD])?;
    let packed = Packing::of(&start);
    let raw = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(raw));
    let mut plain: Box<dyn Read + Send> = match packed {
        Packing::Gzip => Box::new(MultiGzDecoder::new(raw)),
        Packing::Zstd => Box::new(zstd::Decoder::with_buffer(raw)?),
        Packing::None => Box::new(raw),
    };
    let start = first_bytes(&mut plain, &[BYTE_ORDER_MARK])?;
    let start = if start == BYTE_ORDER_MARK { Vec::new() } else { start };
    Ok(Box::new(BufReader::with_capacity(BUFFER, Cursor::new(start).chain(plain))))
}

enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(start: &[u8]) -> Packing {
        match start {
            _ if start.starts_with(GZIP) => Packing::Gzip,
            _ if start.starts_with(ZSTD) => Packing::Zstd,
            _ => Packing::None,
        }
    }
}

/// What packed bytes begin with, and the mark before text.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The first bytes, as far as they begin one of these: no more are asked for, since whoever sends them may wait for an
/// answer to a shorter line.
fn first_bytes(from: &mut dyn Read, begins: &[&[u8]]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while begins.iter().any(|begin| begin.len() > bytes.len() && begin.starts_with(&bytes)) {
        if from.take(1).read_to_end(&mut bytes)? == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// The first bytes of a file, unpacked: of a long one whole lines, if it has lines.
pub(super) fn head(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let mut head = Vec::new();
        unpacked(Box::new(File::open(path)?))?.take(HEAD).read_to_end(&mut head)?;
        if head.len() as u64 == HEAD
            && let Some(end) = head.iter().rposition(|byte| *byte == b'\n')
        {
            head.truncate(end);
        }
        Ok(head)
    };
    read().map_err(CorpusError::read(path))
}

/// A file that one can seek in: itself, or a temporary one of its unpacked bytes.
pub(super) fn seekable(file: &InputFile) -> Result<File> {
    let failed = || CorpusError::read(&file.path);
    if let Some(path) = file.bytes_at() {
        let mut plain = File::open(path).map_err(failed())?;
        let start = first_bytes(&mut plain, &[GZIP, ZSTD]).map_err(failed())?;
        if matches!(Packing::of(&start), Packing::None) {
            plain.rewind().map_err(failed())?;
            return Ok(plain);
        }
    }
    let mut copy = tempfile::tempfile().map_err(failed())?;
    std::io::copy(&mut open(file)?, &mut copy).map_err(failed())?;
    copy.rewind().map_err(failed())?;
    Ok(copy)
}
