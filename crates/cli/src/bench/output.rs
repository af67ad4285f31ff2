//! Files and warnings of measurements.

use crate::outcome::Outcome;
use crate::sink::Sink;
use std::path::Path;

/// Writes a file whole or not at all.
pub(super) fn write_file(path: &Path, text: &str) -> Outcome {
    let mut sink = Sink::open(Some(path))?;
    sink.write(text.as_bytes())?;
    sink.finish()
}

/// Says so if the build checks what it computes.
pub(super) fn warn_of_debug_build() {
    if cfg!(debug_assertions) {
        eprintln!("taskvec: warning: this is a debug build, whose times mean little: cargo run --release");
    }
}

/// What the system calls its CPU.
pub(super) fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    named.map_or_else(|| format!("this {} CPU", std::env::consts::ARCH), |(_, name)| name.trim().to_owned())
}
