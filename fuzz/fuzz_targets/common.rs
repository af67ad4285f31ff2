//! A model folder in memory, one file of which is replaced in each run.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use taskvec::{Device, EmbedOptions, Embedder, EmbedderBuilder};
use tempfile::TempDir;

/// A folder that lives in memory where the system has such a place.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

#[allow(dead_code)]
pub fn copy_of(fixture: &str) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(fixture);
    let to = folder();
    copy(&from, to.path());
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target: PathBuf = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Opens the model, and embeds a text if that works. Any error will do; a panic will not.
#[allow(dead_code)]
pub fn open_and_embed(folder: &TempDir) {
    static BUILDER: LazyLock<EmbedderBuilder> =
        LazyLock::new(|| Embedder::builder().device(Device::Reference).threads(1).max_tokens(8));
    if let Ok(embedder) = BUILDER.open(folder.path()) {
        let _ = embedder.embed("a text", EmbedOptions::new());
        let _ = embedder.embed_all(&["a text"], EmbedOptions::new());
    }
}

#[allow(dead_code)]
pub fn file(contents: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "." }).unwrap();
    std::io::Write::write_all(&mut file, contents).unwrap();
    file
}
