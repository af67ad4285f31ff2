//! How weights and the rows they are multiplied with are stored.

/// How weights, and the rows they are multiplied with, are stored. Values smaller than 32 bits share
/// lanes, as many as fit, in the order of the depth.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Storage {
    /// Single precision.
    #[default]
    F32,
    /// Weights in half precision (binary16), two to a lane, which are widened as they are multiplied. Rows of x
    /// stay f32: wherever the weights are such numbers, products have the bits of [`Storage::F32`].
    F16Weights,
    /// The same with weights that are the upper halves of single-precision numbers.
    Bf16Weights,
    /// The upper half of a single-precision number, two to a lane. Sums are f32.
    Bf16,
    /// The same numbers on both sides, for CPUs that multiply them no faster than f32: weights are widened as they are
    /// multiplied, as those of [`Storage::Bf16Weights`], and rows are f32 that were rounded to bf16.
    Bf16Widened,
    /// 8-bit integers, four to a lane. Sums are 32-bit integers and exact.
    ///
    /// A weight is `scale · w` with w in -127..=127 and a scale of its own for each output; a value of a
    /// row of x is `scale · (q - zero)` with q and zero in 0..=255 and a scale and zero for each row,
    /// chosen so that the row's smallest and largest value (and 0) are reached.
    Int8,
}

impl Storage {
    /// The longest row that [`Storage::Int8`] takes: its sums stay within 32 bits.
    pub const INT8_INPUTS: usize = (i32::MAX / (255 * 127)) as usize;

    /// How the rows of x are stored that are multiplied with weights of this storage.
    pub fn of_rows(self) -> Storage {
        match self {
            Storage::F16Weights | Storage::Bf16Weights | Storage::Bf16Widened => Storage::F32,
            other => other,
        }
    }

    /// Values that share a lane of 32 bits.
    pub(crate) fn values_of_a_lane(self) -> usize {
        match self {
            Storage::F32 => 1,
            Storage::F16Weights | Storage::Bf16Weights | Storage::Bf16 | Storage::Bf16Widened => 2,
            Storage::Int8 => 4,
        }
    }

    /// Whether rows of x are multiplied just as they are.
    pub(crate) fn takes_rows_as_they_are(self) -> bool {
        matches!(self, Storage::F32 | Storage::F16Weights | Storage::Bf16Weights)
    }

    /// Whether weights are kept in 16 bits each, `[inputs, outputs]`, and widened as they are multiplied.
    pub(crate) fn widens(self) -> bool {
        matches!(self, Storage::F16Weights | Storage::Bf16Weights | Storage::Bf16Widened)
    }

    /// Lanes of 32 bits that a row of `inputs` values takes.
    pub(crate) fn lanes(self, inputs: usize) -> usize {
        inputs.div_ceil(self.values_of_a_lane())
    }

    /// The same, with the lanes behind the values that say what they mean: for rows of x the scale and
    /// zero, for weights the scale and the sum of the weights.
    pub fn stored_lanes(self, inputs: usize) -> usize {
        self.lanes(inputs) + if self == Storage::Int8 { 2 } else { 0 }
    }
}
