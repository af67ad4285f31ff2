//! A signal ends the command, and nothing unfinished stays. (What a job on a corpus keeps is in corpus_killed.rs.)

use crate::binary::taskvec;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The command while it embeds, with its unfinished file in the folder.
fn started(folder: &TempDir, shell: Option<&str>) -> Child {
    let mut texts = std::fs::File::create(folder.path().join("texts.txt")).unwrap();
    for i in 0..100_000 {
        writeln!(texts, "line {i} of a long file").unwrap();
    }
    let embed = ["embed", "--device", "cpu", "--input", "texts.txt", "--output", "v.json"];
    let mut command = match shell {
        None => taskvec(folder),
        Some(before) => {
            let mut command = Command::new("sh");
            command.current_dir(folder.path()).args(["-c", &format!("{before}; exec \"$0\" \"$@\"")]);
            command.arg(env!("CARGO_BIN_EXE_taskvec"));
            command
        }
    };
    let child = command.args(embed).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while unfinished(folder.path()).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it writes nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| !path.ends_with("texts.txt")).collect()
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn nothing_is_left_behind() {
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let folder = TempDir::new().unwrap();
        let mut child = started(&folder, None);
        // A runner of tests may itself ignore one of them, and the command then does too.
        std::thread::sleep(Duration::from_millis(200));
        if is_ignored(&child, number) {
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        send(&child, signal);
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(number), "who waits sees the signal: {status}");
        let left = unfinished(folder.path());
        assert!(left.is_empty(), "after {signal}: {left:?}");
    }
}

/// `nohup` asks for it.
#[cfg(target_os = "linux")]
#[test]
fn an_ignored_signal_stays_ignored() {
    let folder = TempDir::new().unwrap();
    let mut child = started(&folder, Some("trap '' HUP"));
    std::thread::sleep(Duration::from_millis(200));
    assert!(is_ignored(&child, 1));
    send(&child, "HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    send(&child, "TERM");
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    assert!(unfinished(folder.path()).is_empty());
}

fn is_ignored(child: &Child, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 == 1)
}
