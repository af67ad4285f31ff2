//! Vectors as clients ask for them: numbers, base64, whole numbers, bits.

use crate::fault::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use taskvec::{OutputType, Quantized, quantize};

/// The type of a vector's values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Element {
    #[default]
    Float,
    /// `round(127 x)`, between -128 and 127: for vectors of unit length.
    Int8,
    /// The same plus 128.
    Uint8,
    /// Eight signs to a byte, the first in the highest bit, less 128.
    Binary,
    /// Eight signs to a byte, the first in the highest bit.
    Ubinary,
}

/// The words for it.
pub(crate) const ELEMENTS: &[(&str, Element)] = &[
    ("float", Element::Float),
    ("int8", Element::Int8),
    ("uint8", Element::Uint8),
    ("binary", Element::Binary),
    ("ubinary", Element::Ubinary),
];

/// How a vector is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Form {
    pub(crate) element: Element,
    /// As a string of base64: of little-endian f32, or of bytes.
    pub(crate) base64: bool,
}

impl Form {
    pub(crate) const FLOAT: Form = Form { element: Element::Float, base64: false };
    pub(crate) const BASE64: Form = Form { element: Element::Float, base64: true };

    /// Appends a vector, as JSON.
    ///
    /// # Errors
    /// If it has a value that is no number: JSON has no word for that, and `null` would be taken for a vector.
    pub(crate) fn write(self, vector: &[f32], out: &mut Vec<u8>) -> Result<(), Fault> {
        if let Some(i) = vector.iter().position(|value| !value.is_finite()) {
            return Err(Fault::internal(format!("value {i} of a vector is {}", vector[i])));
        }
        match (self.element, self.base64) {
            (Element::Float, false) => write_floats(vector, out),
            (Element::Float, true) => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                write_base64(&bytes, out);
            }
            (element, base64) => {
                let values = whole(vector, element)?;
                match base64 {
                    true => write_base64(&values.iter().map(|value| *value as u8).collect::<Vec<u8>>(), out),
                    false => write_list(&values, out),
                }
            }
        }
        Ok(())
    }
}

/// Shortest decimals that are read as the same f32.
fn write_floats(vector: &[f32], out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    out.reserve(vector.len() * 13 + 2);
    out.push(b'[');
    for (i, value) in vector.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(buffer.format_finite(*value).as_bytes());
    }
    out.push(b']');
}

fn write_list(values: &[i16], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(value.to_string().as_bytes());
    }
    out.push(b']');
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// A vector's values, or eight of them together, as whole numbers.
fn whole(vector: &[f32], element: Element) -> Result<Vec<i16>, Fault> {
    let scaled = |value: &f32| (127.0 * value).round().clamp(-128.0, 127.0) as i16;
    let output_type = match element {
        Element::Int8 | Element::Float => return Ok(vector.iter().map(scaled).collect()),
        Element::Uint8 => return Ok(vector.iter().map(|value| scaled(value) + 128).collect()),
        Element::Binary => OutputType::Binary,
        Element::Ubinary => OutputType::Ubinary,
    };
    Ok(match quantize(vector, output_type, None)? {
        Quantized::Int8(values) => values.into_iter().map(i16::from).collect(),
        Quantized::Uint8(values) => values.into_iter().map(i16::from).collect(),
        Quantized::F32(_) | Quantized::F16(_) => return Err(Fault::internal("bits came as fractions")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(vector: &[f32], element: Element, base64: bool) -> serde_json::Value {
        let mut out = Vec::new();
        Form { element, base64 }.write(vector, &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn numbers_keep_their_bits() {
        let vector = [0.1f32, -1.0e-30, 3.0, f32::MIN_POSITIVE, 1.0 / 3.0, -0.0, 123_456_790.0, 1e38];
        let read: Vec<f32> = serde_json::from_value(written(&vector, Element::Float, false)).unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(&read), bits(&vector));
        let text = written(&vector, Element::Float, true);
        let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
        let read: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        assert_eq!(bits(&read), bits(&vector));
    }

    #[test]
    fn whole_numbers_and_bits() {
        let vector = [1.0, -1.0, 0.5, 0.0, -0.004, 0.004, 0.2, -0.2, 0.3];
        assert_eq!(
            written(&vector, Element::Int8, false),
            serde_json::json!([127, -127, 64, 0, -1, 1, 25, -25, 38])
        );
        assert_eq!(written(&vector, Element::Uint8, false)[1], 1);
        assert_eq!(written(&vector, Element::Ubinary, false), serde_json::json!([0b1010_0110, 0b1000_0000]));
        assert_eq!(written(&vector, Element::Binary, false), serde_json::json!([0b1010_0110 - 128, 0]));
        assert_eq!(written(&vector, Element::Ubinary, true), STANDARD.encode([0b1010_0110, 0b1000_0000]));
    }

    #[test]
    fn what_is_no_number_is_not_written() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for base64 in [false, true] {
                let mut out = Vec::new();
                let fault =
                    Form { element: Element::Float, base64 }.write(&[1.0, bad], &mut out).unwrap_err();
                assert!(fault.message.contains("value 1"), "{fault:?}");
            }
        }
    }
}
