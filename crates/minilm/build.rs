//! Joins the parts of the weights to one file, as the engine maps it: the table of words alone is larger than a
//! registry's packages may be, so shards of whole tensors would not do.

use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;

/// Bytes of model.safetensors.
const SIZE: u64 = 45_141_904;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = std::env::var_os("OUT_DIR").unwrap_or_default();
    let path = Path::new(&folder).join("model.safetensors");
    let mut file = File::create(&path)?;
    for part in [
        taskvec_minilm_part_1::BYTES,
        taskvec_minilm_part_2::BYTES,
        taskvec_minilm_part_3::BYTES,
        taskvec_minilm_part_4::BYTES,
        taskvec_minilm_part_5::BYTES,
    ] {
        file.write_all(part)?;
    }
    let size = file.metadata()?.len();
    if size != SIZE {
        let problem = format!("{}: the parts have {size} bytes, expected {SIZE}", path.display());
        return Err(std::io::Error::other(problem));
    }
    Ok(())
}
