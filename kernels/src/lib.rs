//! CPU kernels for transformer inference: what taskvec runs on.
//!
//! No model, no I/O and no threads of its own: each function works on slices that the caller splits as it
//! likes. Each kernel is written once and compiled for every instruction set, save the innermost
//! GEMM tile, which is written by hand for each; [`Isa`] says which of them this CPU can run.
//!
//! | file | operation |
//! |---|---|
//! | `gemm/` | `x · Wᵀ` with packed weights and a fused epilogue; the SIMD tiles |
//! | `attention/` | softmax attention of one head in f32 or bf16, tiled, with an online softmax |
//! | `norm.rs` | LayerNorm, RMSNorm |
//! | `activation.rs` | SiLU, ReLU and the table of activations; `rare_activation.rs`: those of few models |
//! | `gelu.rs` | GELU (erf and tanh) |
//! | `math.rs` | exp, 2^x, tanh |
//! | `vector/` | the registers that all of these are written in |
//! | `rotary.rs` | rotary position embedding |
//! | `table.rs` | rows of embedding tables |
//! | `dot.rs` | dot products and Hamming distances of stored vectors: an exact search |
//! | `kernel/`, `storage.rs` | what an instruction set's registers bring; how numbers are stored |
//! | `team.rs` | threads that share one piece of work after the other |
//!
//! Each row of a result depends on the same row of the input alone, and is computed by the same
//! operations in the same order wherever it stands in a matrix: a text's vector has the same bits
//! whatever shares its batch.

// What a function asks of its caller is under "Panics", and checked with `assert` or `expect`.
#![warn(clippy::unwrap_used)]

mod activation;
mod aligned;
mod attention;
mod dispatch;
mod dot;
mod gelu;
mod gemm;
mod isa;
mod kernel;
mod math;
mod matrix;
mod memory;
mod norm;
mod rare_activation;
mod rotary;
mod storage;
mod table;
mod team;
mod vector;

pub use activation::{Activation, activate};
pub use aligned::AlignedBuffer;
pub use attention::{Attention, AttentionScratch, KeyValuePanels, PairBias, QUERY_BLOCK, attention};
pub use dot::{dots, dots_of_bytes, dots_of_halves, dots_of_unaligned, hamming_distances};
pub use gemm::{
    Epilogue, GemmScratch, PackedWeights, encode_row, gemm, gemm_of_encoded, multiply_in_registers,
    pack_panel, pack_panel_of_halves, packed_len, read_memory,
};
pub use isa::Isa;
pub use matrix::{Matrix, MatrixMut};
pub use memory::WeightMemory;
pub use norm::{layer_norm, rms_norm};
pub use rare_activation::RareActivation;
pub use rotary::rotate_half;
pub use storage::Storage;
pub use table::{prefetch, widen_halves};
pub use team::Team;
