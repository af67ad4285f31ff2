//! Running other programs from the root of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// How a task ends: what went wrong, for people.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The folder of what cargo builds. All workspaces share it, so that a dependency is compiled once.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}

/// A program with its arguments, separated by spaces.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(root());
    command
}

/// Runs a command, says what it is and how long it took; an error where it fails.
pub(crate) fn run(mut command: Command) -> Outcome {
    let line = shown(&command);
    println!("\n== {line}");
    let start = Instant::now();
    let status = command.status().map_err(|e| format!("{line}: cannot start: {e}"))?;
    println!("== {line}: {:.0} s", start.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(format!("{line}: {status}")) }
}

/// What a command prints.
pub(crate) fn output(mut command: Command) -> Outcome<String> {
    let line = shown(&command);
    let output = command.output().map_err(|e| format!("{line}: cannot start: {e}"))?;
    if !output.status.success() {
        return Err(format!("{line}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{line}: {e}"))
}

/// Whether a program is there and starts.
pub(crate) fn is_there(line: &str) -> bool {
    command(line).output().is_ok_and(|output| output.status.success())
}

/// A script of this repository.
pub(crate) fn python(script: &str, arguments: &[String]) -> Outcome {
    let mut python = command("python3");
    python.arg(script).args(arguments);
    run(python)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
