//! Output types against sentence-transformers' own quantisation of the same vectors, bit for bit
//! (`tests/quantization/generate.py`).

use serde_json::Value;
use taskvec::{OutputType, Quantized, Ranges, quantize};

fn expected() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/quantization/expected.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The little-endian bytes of each value, in hexadecimal.
fn vectors(json: &Value) -> Vec<Vec<f32>> {
    let number =
        |text: &Value| f32::from_bits(u32::from_str_radix(text.as_str().unwrap(), 16).unwrap().swap_bytes());
    json.as_array().unwrap().iter().map(|v| v.as_array().unwrap().iter().map(number).collect()).collect()
}

fn check(kind: &str, expected: &Value, vectors: &[Vec<f32>], ranges: Option<&Ranges>) {
    let to: OutputType = kind.parse().unwrap();
    let rows = expected.as_array().unwrap();
    assert_eq!(rows.len(), vectors.len());
    for (i, (vector, want)) in vectors.iter().zip(rows).enumerate() {
        let got: Vec<i64> = match quantize(vector, to, ranges).unwrap() {
            Quantized::Int8(values) => values.iter().map(|v| i64::from(*v)).collect(),
            Quantized::Uint8(values) => values.iter().map(|v| i64::from(*v)).collect(),
            other => panic!("{other:?}"),
        };
        let want: Vec<i64> = want.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
        assert_eq!(got, want, "{kind}, vector {i}");
    }
}

#[test]
fn eight_bit_types_are_sentence_transformers_with_given_and_with_own_ranges() {
    let expected = expected();
    let floats = vectors(&expected["vectors"]);
    let ranges = vectors(&expected["ranges"]);
    let given = Ranges { min: ranges[0].clone(), max: ranges[1].clone() };
    let own = Ranges::of(&floats).unwrap();
    for kind in ["int8", "uint8"] {
        check(kind, &expected[kind], &floats, Some(&given));
        check(kind, &expected[format!("{kind} of itself")], &floats, Some(&own));
    }
}

#[test]
fn bits_are_sentence_transformers() {
    let expected = expected();
    for kind in ["binary", "ubinary"] {
        check(kind, &expected[kind], &vectors(&expected["vectors"]), None);
    }
}

#[test]
fn half_precision_is_rounded_to_nearest() {
    let Quantized::F16(values) = quantize(&[1.0, 0.1, 65504.0, 1e-8], OutputType::F16, None).unwrap() else {
        panic!("f16 was asked for");
    };
    assert_eq!(values.iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [1.0, 0.099975586, 65504.0, 0.0]);
}
