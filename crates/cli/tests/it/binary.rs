//! Running the real binary.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The binary, in an empty folder of its own.
pub fn taskvec(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskvec"));
    command.current_dir(folder.path()).stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    taskvec(&TempDir::new().unwrap()).args(arguments).output().unwrap()
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs with text on standard input.
pub fn run_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let folder = TempDir::new().unwrap();
    let mut command = taskvec(&folder);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Fails with this exit code and says all of these words.
#[track_caller]
pub fn fails(output: &Output, code: i32, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty(), "nothing on stdout: {}", String::from_utf8_lossy(&output.stdout));
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}
