//! A server that speaks the Hub's endpoints, with one model and with faults.

use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The one commit that the server has.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong on the server.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It answers every request with this status.
    Status(u16),
    /// The connection ends in the middle of the weights, this many times.
    Cut(usize),
    /// The weights are shorter than the Hub lists them.
    WrongSize,
    /// The token must be this.
    Token(&'static str),
}

/// A Hub on this machine with one model.
pub struct Server {
    /// For `HF_ENDPOINT`.
    pub endpoint: String,
    /// Paths that were asked for.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves the files of a folder as the model `org/tiny`, with others that nobody needs.
    pub fn start(folder: &Path, fault: Fault) -> Server {
        let mut files = BTreeMap::new();
        add_files(folder, "", &mut files);
        files.insert("README.md".to_owned(), b"words".to_vec());
        files.insert("onnx/model.onnx".to_owned(), vec![0; 1000]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, cuts) = (requests.clone(), Arc::new(AtomicUsize::new(0)));
        let files = Arc::new(files);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, log, cuts) = (files.clone(), log.clone(), cuts.clone());
                std::thread::spawn(move || {
                    // A client that goes away early is the test's business, not the server's.
                    let _ = serve(&stream, &files, fault, &log, &cuts);
                });
            }
        });
        Server { endpoint, requests }
    }

    /// What was asked for so far.
    pub fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn add_files(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            add_files(&entry.path(), &format!("{name}/"), files);
        } else if name != "expected.json" {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn serve(
    mut stream: &TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    fault: Fault,
    log: &Mutex<Vec<String>>,
    cuts: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut range, mut token) = (None, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(": ") else {
                break;
            };
            match name.to_lowercase().as_str() {
                "range" => range = value.strip_prefix("bytes=").map(str::to_owned),
                "authorization" => token = value.to_owned(),
                _ => {}
            }
        }
        log.lock().unwrap().push(path.clone());
        let plain = &*path.split('?').next().unwrap().replace("%20", " ");
        let refused = match fault {
            Fault::Status(status) => Some(status),
            Fault::Token(wanted) if token != format!("Bearer {wanted}") => Some(401),
            _ => None,
        };
        if let Some(status) = refused {
            write!(stream, "HTTP/1.1 {status} no\r\nContent-Length: 0\r\n\r\n")?;
        } else if plain.starts_with("/api/models/org/tiny") {
            let siblings: Vec<_> =
                files.iter().map(|(name, bytes)| json!({"rfilename": name, "size": bytes.len()})).collect();
            let body = json!({"sha": COMMIT, "siblings": siblings}).to_string();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        } else if let Some(bytes) =
            plain.strip_prefix("/org/tiny/resolve/main/").and_then(|name| files.get(name))
        {
            let weights = plain.ends_with("safetensors");
            let bytes =
                if fault == Fault::WrongSize && weights { &bytes[..bytes.len() - 8] } else { &bytes[..] };
            let (first, last) = range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
            let first: usize = first.parse().unwrap();
            let end = last.parse::<usize>().map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
            let part = bytes.get(first..end).unwrap_or_default();
            write!(
                stream,
                "HTTP/1.1 206 Partial\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{}\r\nx-repo-commit: {COMMIT}\r\netag: \"{}\"\r\n\r\n",
                part.len(),
                end.saturating_sub(1),
                bytes.len(),
                plain.replace('/', "_")
            )?;
            let cut = matches!(fault, Fault::Cut(times) if weights && part.len() > 1 && cuts.fetch_add(1, Ordering::SeqCst) < times);
            if cut {
                stream.write_all(&part[..part.len() / 2])?;
                return stream.shutdown(std::net::Shutdown::Both);
            }
            stream.write_all(part)?;
        } else {
            write!(stream, "HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n")?;
        }
    }
}

/// `taskvec` with a model of that server and a cache of its own.
pub fn command(endpoint: &str, cache: &Path, arguments: &[&str], model: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskvec"));
    command.args(arguments).args(["--model", model, "--device", "cpu"]);
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", cache);
    command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE");
    command
}

/// What a command said.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
