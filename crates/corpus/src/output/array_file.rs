//! NumPy's and safetensors' files: a header, and then the values of all vectors.

use super::joining::copy;
use super::whole::Problem;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use taskvec::OutputType;

pub(super) fn write_values(file: &mut File, values: &[u8]) -> Result<(), Problem> {
    Ok(file.write_all(values)?)
}

pub(super) fn join(file: &mut File, header: Vec<u8>, parts: &[PathBuf]) -> Result<(), Problem> {
    file.write_all(&header)?;
    parts.iter().try_for_each(|part| copy(part, file))
}

/// The header of a version 1.0 .npy file: a C-ordered array `[rows, width]` of little-endian values, with the
/// fingerprint in a comment, which NumPy's reader (`ast.literal_eval`) passes over.
///
/// Format: numpy.lib.format.
pub fn npy_header(output_type: OutputType, rows: u64, width: usize, fingerprint: Option<&str>) -> Vec<u8> {
    const PREAMBLE: usize = 10; // magic, version, length
    let kind = output_type.numpy_name();
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    if let Some(fingerprint) = fingerprint {
        text += &format!(" # taskvec {fingerprint}");
    }
    let padded = (PREAMBLE + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', padded - PREAMBLE - text.len() - 1));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((text.len() as u16).to_le_bytes());
    header.extend(text.into_bytes());
    header
}

/// The header of a safetensors file with one tensor, `embeddings`, `[rows, width]`, and what `about` says as its metadata.
pub fn safetensors_header(output_type: OutputType, rows: u64, width: usize, about: &Value) -> Vec<u8> {
    let (kind, size) = (output_type.safetensors_name(), output_type.value_bytes());
    let facts = about.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let facts: Map<String, Value> = facts.map(|(key, value)| (key.clone(), text(value).into())).collect();
    let header = json!({
        "__metadata__": facts,
        "embeddings": {"dtype": kind, "shape": [rows, width], "data_offsets": [0, rows as usize * width * size]},
    });
    let mut text = header.to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.into_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_data_starts_on_a_multiple_of_64() {
        for (rows, width) in [(1, 1), (3, 384), (1_000_000, 1024), (u64::MAX, usize::MAX)] {
            for fingerprint in [None, Some("0123456789abcdef-0000q")] {
                let header = npy_header(OutputType::F32, rows, width, fingerprint);
                assert_eq!(header.len() % 64, 0);
                assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])), header.len() - 10);
                assert_eq!(header.last(), Some(&b'\n'));
            }
        }
    }
}
