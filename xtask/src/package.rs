//! Packages as a registry takes them.

use crate::run::{Outcome, command, root, run};
use std::path::PathBuf;

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

/// Packages each, builds it from its own archive, and checks its size.
pub(crate) fn package() -> Outcome {
    forget_unpacked()?;
    let mut package = command("cargo package --quiet --allow-dirty");
    for name in PUBLISHED {
        package.args(["-p", name]);
    }
    run(package)?;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let version = env!("CARGO_PKG_VERSION"); // one for the whole workspace
    for name in PUBLISHED {
        let path = folder.join("package").join(format!("{name}-{version}.crate"));
        let size = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
        println!("{:>10} bytes  {name}", size);
        if size > MOST_BYTES {
            return Err(format!("{name} has {size} bytes, {MOST_BYTES} at most"));
        }
    }
    Ok(())
}

/// Removes what cargo unpacked of these crates before. It builds a crate against its neighbours' archives, unpacks them
/// below its home by name and version alone, and takes an older archive's sources for the same.
fn forget_unpacked() -> Outcome {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let Some(home) = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))) else {
        return Ok(());
    };
    let Ok(sources) = std::fs::read_dir(home.join("registry/src")) else { return Ok(()) };
    for source in sources.flatten() {
        // A registry of files has no host before the dash.
        if !source.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        for name in PUBLISHED {
            let unpacked = source.path().join(format!("{name}-{}", env!("CARGO_PKG_VERSION")));
            if unpacked.is_dir() {
                std::fs::remove_dir_all(&unpacked).map_err(|e| format!("{}: {e}", unpacked.display()))?;
            }
        }
    }
    Ok(())
}
