//! Vectors in fewer bytes, as sentence-transformers' `quantize_embeddings` makes them
//! (`util/quantization.py`, 5.7 and later).

use super::similarity::Similarity;
use crate::error::{RequestError, RequestResult, Result};
use crate::names::named;
use half::f16;

/// The type of a vector's values on output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum OutputType {
    /// Single precision: what the model computes.
    #[default]
    F32,
    /// Half precision, rounded to nearest.
    F16,
    /// 256 steps between the smallest and the largest value of each dimension, -128 to 127.
    Int8,
    /// The same, 0 to 255.
    Uint8,
    /// One bit a dimension, set where the value is above 0; eight to a byte, highest first; each byte
    /// less 128.
    Binary,
    /// The same bits as plain bytes.
    Ubinary,
}

impl OutputType {
    /// Bytes of a value.
    pub fn value_bytes(self) -> usize {
        match self {
            OutputType::F32 => 4,
            OutputType::F16 => 2,
            OutputType::Int8 | OutputType::Uint8 | OutputType::Binary | OutputType::Ubinary => 1,
        }
    }

    /// Values of a vector of this many dimensions: eight bits to a byte where they are bits.
    pub fn values(self, dimensions: usize) -> usize {
        match self {
            OutputType::Binary | OutputType::Ubinary => dimensions.div_ceil(8),
            _ => dimensions,
        }
    }

    /// Its name in NumPy's files: `<f4`, `<f2`, `|i1`, `|u1`.
    pub fn numpy_name(self) -> &'static str {
        match self {
            OutputType::F32 => "<f4",
            OutputType::F16 => "<f2",
            OutputType::Int8 | OutputType::Binary => "|i1",
            OutputType::Uint8 | OutputType::Ubinary => "|u1",
        }
    }

    /// Its name in safetensors files: `F32`, `F16`, `I8`, `U8`.
    pub fn safetensors_name(self) -> &'static str {
        match self {
            OutputType::F32 => "F32",
            OutputType::F16 => "F16",
            OutputType::Int8 | OutputType::Binary => "I8",
            OutputType::Uint8 | OutputType::Ubinary => "U8",
        }
    }

    /// Whether it needs [`Ranges`].
    pub fn needs_ranges(self) -> bool {
        matches!(self, OutputType::Int8 | OutputType::Uint8)
    }
}

named!(OutputType, "output type", {
    F32 => "f32",
    F16 => "f16",
    Int8 => "int8",
    Uint8 => "uint8",
    Binary => "binary",
    Ubinary => "ubinary",
});

/// The values of one vector in an [`OutputType`].
#[derive(Clone, PartialEq, Debug)]
pub enum Quantized {
    /// `[dimensions]`
    F32(Vec<f32>),
    /// `[dimensions]`
    F16(Vec<f16>),
    /// `[dimensions]`, or `[dimensions / 8]` rounded up for [`OutputType::Binary`]
    Int8(Vec<i8>),
    /// `[dimensions]`, or `[dimensions / 8]` rounded up for [`OutputType::Ubinary`]
    Uint8(Vec<u8>),
}

impl Quantized {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Quantized::F32(values) => values.len(),
            Quantized::F16(values) => values.len(),
            Quantized::Int8(values) => values.len(),
            Quantized::Uint8(values) => values.len(),
        }
    }

    /// How alike two vectors of one type are by their values, such as the cosine of 8-bit steps. Vectors of bits are
    /// compared with [`hamming`](crate::hamming).
    ///
    /// ```
    /// use taskvec::{OutputType, Ranges, Similarity, quantize};
    ///
    /// # fn main() -> taskvec::Result<()> {
    /// let (a, b) = ([0.1, -0.4, 0.9], [0.2, -0.3, 0.8]);
    /// let ranges = Ranges::of(&[[-1.0; 3], [1.0; 3]])?;
    /// let [a, b] = [a, b].map(|vector| quantize(&vector, OutputType::Int8, Some(&ranges)));
    /// assert!(a?.similarity(&b?, Similarity::Cosine)? > 0.97);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If they are of different types or sizes.
    pub fn similarity(&self, other: &Quantized, by: Similarity) -> Result<f32> {
        let same_type = std::mem::discriminant(self) == std::mem::discriminant(other);
        if same_type && self.len() == other.len() {
            return Ok(by.of(&self.to_f32(), &other.to_f32()));
        }
        let described = |values: &Quantized| format!("{} of {}", values.len(), values.type_name());
        Err(RequestError::InvalidOption {
            option: "the other vector",
            found: described(other),
            expected: described(self),
        }
        .into())
    }

    /// The values as f32: of 8 bits the steps themselves, not what they stand for.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Quantized::F32(values) => values.clone(),
            Quantized::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
            Quantized::Int8(values) => values.iter().map(|&value| value.into()).collect(),
            Quantized::Uint8(values) => values.iter().map(|&value| value.into()).collect(),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Quantized::F32(_) => "f32",
            Quantized::F16(_) => "f16",
            Quantized::Int8(_) => "int8",
            Quantized::Uint8(_) => "uint8",
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values' bytes, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Quantized::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Quantized::F16(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Quantized::Int8(values) => bytemuck::cast_slice(values).to_vec(),
            Quantized::Uint8(values) => values.clone(),
        }
    }

    /// The values as numbers in JSON: the shortest that read back to the same.
    pub fn to_json(&self) -> String {
        let values: Vec<String> = match self {
            Quantized::F32(values) => values.iter().map(|v| format!("{v:?}")).collect(),
            Quantized::F16(values) => values.iter().map(|v| format!("{v:?}")).collect(),
            Quantized::Int8(values) => values.iter().map(i8::to_string).collect(),
            Quantized::Uint8(values) => values.iter().map(u8::to_string).collect(),
        };
        format!("[{}]", values.join(","))
    }
}

/// The smallest and the largest value of each dimension, which 8-bit steps lie between. The same ranges
/// must be used for all vectors that are to be compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Ranges {
    /// `[dimensions]`
    pub min: Vec<f32>,
    /// `[dimensions]`
    pub max: Vec<f32>,
}

impl Ranges {
    /// The ranges of a sample of vectors; a hundred or more are wanted for useful ones.
    ///
    /// # Errors
    /// If there are fewer than two vectors, or they differ in length.
    pub fn of<V: AsRef<[f32]>>(vectors: &[V]) -> Result<Ranges> {
        let [first, _, ..] = vectors else {
            return Err(RequestError::InvalidOption {
                option: "ranges",
                found: format!("a sample of {} vectors", vectors.len()),
                expected: "ranges, or a sample of at least two vectors (better a hundred)".to_owned(),
            }
            .into());
        };
        let mut ranges = Ranges { min: first.as_ref().to_vec(), max: first.as_ref().to_vec() };
        for vector in vectors {
            ranges.check(vector.as_ref().len())?;
            for (i, value) in vector.as_ref().iter().enumerate() {
                ranges.min[i] = ranges.min[i].min(*value);
                ranges.max[i] = ranges.max[i].max(*value);
            }
        }
        Ok(ranges)
    }

    /// Reads ranges from JSON: `{"min": […], "max": […]}`, or `[[…], […]]` as
    /// sentence-transformers' `ranges`.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn from_json(json: &str) -> Result<Ranges> {
        let wrong = |found: String| RequestError::InvalidOption {
            option: "ranges",
            found,
            expected: "{\"min\": […], \"max\": […]} or [[…], […]], each with one number a dimension"
                .to_owned(),
        };
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|e| wrong(format!("not JSON: {e}")))?;
        let list = |key: &str, place: usize| -> Option<Vec<f32>> {
            let list = value.get(key).or_else(|| value.get(place))?.as_array()?;
            list.iter().map(|number| number.as_f64().map(|number| number as f32)).collect()
        };
        match (list("min", 0).or_else(|| list("least", 0)), list("max", 1).or_else(|| list("largest", 1))) {
            (Some(min), Some(max)) if min.len() == max.len() && !min.is_empty() => Ok(Ranges { min, max }),
            _ => Err(wrong("something else".to_owned()).into()),
        }
    }

    /// The ranges as JSON, which [`Ranges::from_json`] reads.
    pub fn to_json(&self) -> String {
        let list = |values: &[f32]| Quantized::F32(values.to_vec()).to_json();
        format!("{{\"min\":{},\"max\":{}}}", list(&self.min), list(&self.max))
    }

    fn check(&self, dimensions: usize) -> RequestResult<()> {
        if self.min.len() == dimensions && self.max.len() == dimensions {
            return Ok(());
        }
        Err(RequestError::InvalidOption {
            option: "ranges",
            found: format!("{} dimensions", self.min.len()),
            expected: format!("{dimensions}, the size of the vectors"),
        })
    }

    /// The step of each value of `vector`, 0 to 255.
    fn steps<'a>(&'a self, vector: &'a [f32]) -> impl Iterator<Item = u8> + 'a {
        let bounds = self.min.iter().zip(&self.max);
        vector.iter().zip(bounds).map(|(value, (min, max))| {
            let step = (max - min) / 255.0;
            let step = if step == 0.0 { 1.0 } else { step };
            ((value - min) / step).floor().clamp(0.0, 255.0) as u8
        })
    }
}

/// One vector in another type.
///
/// # Errors
/// If the type needs ranges, and none are given or they are of another size.
pub fn quantize(vector: &[f32], to: OutputType, ranges: Option<&Ranges>) -> Result<Quantized> {
    let ranges = || -> RequestResult<&Ranges> {
        match ranges {
            Some(ranges) => ranges.check(vector.len()).map(|()| ranges),
            None => Err(RequestError::InvalidOption {
                option: "ranges",
                found: "none".to_owned(),
                expected: format!("ranges for {to}: Ranges::of a sample of vectors, or a file of them"),
            }),
        }
    };
    Ok(match to {
        OutputType::F32 => Quantized::F32(vector.to_vec()),
        OutputType::F16 => Quantized::F16(vector.iter().map(|v| f16::from_f32(*v)).collect()),
        OutputType::Uint8 => Quantized::Uint8(ranges()?.steps(vector).collect()),
        OutputType::Int8 => Quantized::Int8(ranges()?.steps(vector).map(less_128).collect()),
        OutputType::Ubinary => Quantized::Uint8(bits(vector).collect()),
        OutputType::Binary => Quantized::Int8(bits(vector).map(less_128).collect()),
    })
}

fn less_128(value: u8) -> i8 {
    (value ^ 0x80).cast_signed()
}

/// Eight dimensions a byte, the first in the highest bit.
fn bits(vector: &[f32]) -> impl Iterator<Item = u8> + '_ {
    vector.chunks(8).map(|values| {
        values.iter().enumerate().fold(0, |byte, (i, value)| byte | (u8::from(*value > 0.0) << (7 - i)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that was run with sentence-transformers.
    #[test]
    fn bits_are_packed_highest_first() {
        let vector = [0.5, -0.1, 0.0, 0.2, -0.3, 0.9, 0.1, -2.0, 0.4, -0.4];
        assert_eq!(quantize(&vector, OutputType::Ubinary, None).unwrap(), Quantized::Uint8(vec![150, 128]));
        assert_eq!(quantize(&vector, OutputType::Binary, None).unwrap(), Quantized::Int8(vec![22, 0]));
    }

    /// In f32 the largest value itself may fall into the last step but one.
    #[test]
    fn steps_are_taken_in_f32() {
        let ranges = Ranges { min: vec![-1.0; 3], max: vec![1.0; 3] };
        let steps = quantize(&[-1.0, 0.0, 1.0], OutputType::Uint8, Some(&ranges)).unwrap();
        assert_eq!(steps, Quantized::Uint8(vec![0, 127, 254]));
        let beyond = quantize(&[-9.0, 9.0, f32::MAX], OutputType::Int8, Some(&ranges)).unwrap();
        assert_eq!(beyond, Quantized::Int8(vec![-128, 127, 127]));
    }

    #[test]
    fn ranges_are_asked_for_and_checked() {
        assert!(quantize(&[1.0], OutputType::Int8, None).unwrap_err().to_string().contains("ranges"));
        let ranges = Ranges::of(&[vec![0.0, 2.0], vec![1.0, -2.0]]).unwrap();
        assert_eq!(ranges, Ranges { min: vec![0.0, -2.0], max: vec![1.0, 2.0] });
        assert_eq!(Ranges::from_json(&ranges.to_json()).unwrap(), ranges);
        assert_eq!(Ranges::from_json("[[0, -2], [1, 2]]").unwrap(), ranges);
        assert!(quantize(&[1.0], OutputType::Int8, Some(&ranges)).is_err());
        assert!(Ranges::of(&[vec![0.0]]).is_err());
        for wrong in ["", "[[1],[1,2]]", "{}", "[[\"a\"],[1]]"] {
            assert!(Ranges::from_json(wrong).is_err(), "{wrong}");
        }
    }
}
