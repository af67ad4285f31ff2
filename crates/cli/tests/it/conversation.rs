//! `taskvec embed --flush` answers a program's lines while it waits.

use crate::binary::{fails, run, run_with_input, stderr, stdout, taskvec};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use taskvec_testing::fixture;
use tempfile::TempDir;

/// A process that is talked to.
struct Partner {
    process: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    _folder: TempDir,
}

impl Partner {
    fn start(arguments: &[&str]) -> Partner {
        let folder = TempDir::new().unwrap();
        let mut command = taskvec(&folder);
        command.arg("embed").arg("--model").arg(fixture("bert-e5")).args(["--device", "cpu", "--flush"]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (send, answers) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Partner { process, stdin, answers, _folder: folder }
    }

    fn say(&mut self, bytes: &str) {
        self.stdin.write_all(bytes.as_bytes()).unwrap();
        self.stdin.flush().unwrap();
    }

    fn answer(&self) -> Value {
        let line =
            self.answers.recv_timeout(Duration::from_secs(60)).expect("an answer while the program waits");
        serde_json::from_str(&line).unwrap()
    }

    /// Its exit code, and what it said of errors, when its input ends.
    fn end(self) -> (Option<i32>, String) {
        drop(self.stdin);
        let output = self.process.wait_with_output().unwrap();
        (output.status.code(), stderr(&output))
    }
}

fn embedded(text: &str) -> Value {
    let folder = TempDir::new().unwrap();
    let mut command = taskvec(&folder);
    command
        .arg("embed")
        .arg("--model")
        .arg(fixture("bert-e5"))
        .args(["--device", "cpu", "--format", "jsonl"]);
    serde_json::from_str(stdout(&command.arg(text).output().unwrap())).unwrap()
}

/// Each line has its answer before the next is written, however short it is; many at once have theirs in order.
#[test]
fn a_line_is_answered_while_its_writer_waits() {
    let mut partner = Partner::start(&["-"]);
    for (i, text) in ["a", "", "bc", "two words", "日本"].into_iter().enumerate() {
        partner.say(&format!("{text}\n"));
        let answer = partner.answer();
        assert_eq!(
            (&answer["index"], &answer["embedding"]),
            (&i.into(), &embedded(text)["embedding"]),
            "{text:?}"
        );
    }
    let lines: String = (0..500).map(|i| format!("line {i}\n")).collect();
    partner.say(&lines);
    for i in 5..505 {
        assert_eq!(partner.answer()["index"], i);
    }
    partner.say("the last, without an end");
    drop(partner.stdin);
    let last: Value = serde_json::from_str(&partner.answers.recv().unwrap()).unwrap();
    assert_eq!(last["embedding"], embedded("the last, without an end")["embedding"]);
    assert_eq!(partner.process.wait().unwrap().code(), Some(0));
}

#[test]
fn objects_are_answered_too_and_what_is_wrong_ends_it_after_the_answers_before() {
    let mut partner = Partner::start(&["--input", "-", "--input-format", "jsonl", "--text", "/body/en"]);
    partner.say("{\"body\": {\"en\": \"tea\"}}\n");
    assert_eq!(partner.answer()["embedding"], embedded("tea")["embedding"]);
    partner.say("{\"body\": {\"en\": \"leaves\"}}\n{\"body\": 1}\n");
    assert_eq!(partner.answer()["embedding"], embedded("leaves")["embedding"]);
    let (code, message) = partner.end();
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("line 3") && message.contains("/body/en"), "{message}");

    let mut partner = Partner::start(&["-", "--too-long", "error"]);
    partner.say("one\n");
    assert_eq!(partner.answer()["index"], 0);
    partner.say(&format!("two\n{}\nthree\n", "many words ".repeat(400)));
    assert_eq!(partner.answer()["index"], 1);
    let (code, message) = partner.end();
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("text 2"), "{message}");
}

#[test]
fn flush_is_for_standard_input_and_lines() {
    fails(&run(&["embed", "a text", "--flush"]), 2, &["standard input"]);
    fails(&run(&["embed", "-", "--flush", "--format", "npy"]), 2, &["jsonl"]);
    fails(&run(&["embed", "-", "--flush", "--output", "v.jsonl"]), 2, &["--output"]);
    fails(&run(&["embed", "--input", "-", "--input-format", "csv", "--flush"]), 2, &["lines"]);
    let nothing = run_with_input(&["embed", "-", "--flush", "--device", "cpu"], b"");
    assert_eq!((nothing.status.code(), stdout(&nothing)), (Some(0), ""), "{}", stderr(&nothing));
}
