//! Packages as a registry takes them.

use crate::run::{Outcome, command, root, run, target};
use std::path::Path;

/// A registry takes no larger one.
const MOST_BYTES: u64 = 10_000_000;

/// The crates that are published.
const PUBLISHED: [&str; 13] = [
    "taskvec-kernels",
    "taskvec-gpu-unsafe",
    "taskvec-minilm-part-1",
    "taskvec-minilm-part-2",
    "taskvec-minilm-part-3",
    "taskvec-minilm-part-4",
    "taskvec-minilm-part-5",
    "taskvec-minilm",
    "taskvec",
    "taskvec-corpus",
    "taskvec-map",
    "taskvec-server",
    "taskvec-cli",
];

/// Packages each, checks its size, and that what is in the archives compiles. (Cargo's own check builds each of them, optimised
/// and in a folder of its own: ten times as long, for the same answer.)
pub(crate) fn package() -> Outcome {
    let mut package = command("cargo package --quiet --allow-dirty --no-verify");
    for name in PUBLISHED {
        package.args(["-p", name]);
    }
    run(package)?;
    let folder = target();
    let version = env!("CARGO_PKG_VERSION"); // one for the whole workspace
    for name in PUBLISHED {
        let path = folder.join("package").join(format!("{name}-{version}.crate"));
        let size = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
        println!("{:>10} bytes  {name}", size);
        if size > MOST_BYTES {
            return Err(format!("{name} has {size} bytes, {MOST_BYTES} at most"));
        }
    }
    check_archives(&folder)
}

/// Checks a workspace of the archives' own files, in which each takes the others for what a registry would give it.
fn check_archives(target: &Path) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let folder = target.join("archives");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (mut members, mut patches) = (String::new(), String::new());
    for name in PUBLISHED {
        let mut unpack = command("tar -xzf");
        unpack.arg(target.join("package").join(format!("{name}-{version}.crate"))).arg("-C").arg(&folder);
        run(unpack)?;
        members += &format!("\"{name}-{version}\", ");
        patches += &format!("{name} = {{ path = \"{name}-{version}\" }}\n");
    }
    let workspace =
        format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n[patch.crates-io]\n{patches}");
    write(&folder.join("Cargo.toml"), &workspace)?;
    let lock = root().join("Cargo.lock");
    std::fs::copy(&lock, folder.join("Cargo.lock")).map_err(|e| format!("{}: {e}", lock.display()))?;
    // With the repository's profiles, dependencies are those that are compiled already.
    let mut check = command("cargo check --quiet --workspace --config");
    check.arg(root().join(".cargo/config.toml")).current_dir(&folder).env("CARGO_TARGET_DIR", target);
    run(check)
}

fn write(path: &Path, text: &str) -> Outcome {
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
