//! Part 4 of 5 of the weights of all-MiniLM-L6-v2: a registry takes no package of 45 MB. The parts are joined when
//! `taskvec-minilm` is built.

/// The bytes of this part.
pub const BYTES: &[u8] = include_bytes!("../part.bin");
