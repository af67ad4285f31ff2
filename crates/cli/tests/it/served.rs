//! `taskvec serve` in a process of its own, and bare HTTP.

use crate::binary::taskvec;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use taskvec_testing::fixture;
use tempfile::TempDir;

/// A server, until this is dropped.
pub(crate) struct Served {
    process: Child,
    pub(crate) address: String,
    pub(crate) folder: TempDir,
    stderr: Option<BufReader<std::process::ChildStderr>>,
}

impl Served {
    pub(crate) fn start(arguments: &[&str]) -> Served {
        let folder = TempDir::new().unwrap();
        Served::at(folder, "0", arguments)
    }

    pub(crate) fn at(folder: TempDir, port: &str, arguments: &[&str]) -> Served {
        Served::with(folder, port, arguments, &[])
    }

    pub(crate) fn with(
        folder: TempDir,
        port: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Served {
        let mut command = taskvec(&folder);
        command.args(["serve", "--device", "cpu", "--port", port]).args(arguments);
        command.envs(environment.iter().copied());
        if !arguments.contains(&"--model") {
            command.arg("--model").arg(fixture("bert-e5"));
        }
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while said.read_line(&mut line).unwrap() > 0 {
            if let Some((_, address)) =
                line.trim().split_once("://").filter(|(before, _)| before.contains("listening on http"))
            {
                return Served { process, address: address.to_owned(), folder, stderr: Some(said) };
            }
            line.clear();
        }
        panic!("the server ended: {:?}", process.wait());
    }

    /// What it says on standard error until it ends.
    pub(crate) fn said(&mut self) -> std::sync::mpsc::Receiver<String> {
        let (send, receive) = std::sync::mpsc::channel();
        let stderr = self.stderr.take().unwrap();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        receive
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, String, Value) {
        request(&mut self.connect(), "POST", path, &[], body.to_string().as_bytes())
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let done = std::process::Command::new("kill").args([name, &self.process.id().to_string()]).status();
        assert!(done.unwrap().success());
    }

    /// The exit code, within some seconds.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a request on a connection, which stays; gives status, head and the body as JSON.
pub(crate) fn request(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> (u16, String, Value) {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    answer(stream)
}

pub(crate) fn answer(stream: &mut impl Read) -> (u16, String, Value) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "it hung up: {head}");
    }
    let length = head
        .to_lowercase()
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next().map(str::to_owned));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body =
        serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    (status, head, body)
}

pub(crate) fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    let data = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
    data.iter().map(|one| serde_json::from_value(one["embedding"].clone()).unwrap()).collect()
}
