//! The precision of weights and matrix products.

use crate::names::named;

/// The precision of weights and matrix products. Sums, softmax, norms and pooling are f32 in any case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Weights are rounded to bf16, which is half the memory and what many models' files have: a GPU
    /// then gives the vector of f32. On the CPU and the reference what weights are multiplied with is rounded
    /// too: up to twice the speed of f32 where the CPU multiplies bf16 faster (Zen 4 and 5, AArch64 with BF16), else
    /// f32's speed from half the memory.
    Bf16,
    /// Weights and what lies between steps are f16: half the memory, and matrix units where a GPU has them.
    /// On GPUs whose shaders have f16, and for models whose activations f16 has numbers for: not
    /// for T5 and Gemma.
    F16,
    /// Weights are rounded to 8 bits with a scale for each output, and what they are multiplied with to 8
    /// bits with a scale for each token: a quarter of the memory, and up to four times the speed where the
    /// CPU has VNNI, dotprod or I8MM. Layers behind the pooling stay in f32. On the CPU and the reference.
    Int8,
    /// f16 on a GPU for which that is possible, else f32; the device's name says which. Vectors made so have a
    /// fingerprint of their own ([`Embedder::space`](crate::Embedder::space)).
    Auto,
}

named!(Precision, "precision", {
    F32 => "f32",
    Bf16 => "bf16",
    F16 => "f16",
    Int8 => "int8",
    Auto => "auto",
});
