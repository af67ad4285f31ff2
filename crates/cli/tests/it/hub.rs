//! Downloads, against a server on this machine that speaks the Hub's endpoints: what is asked for, what
//! ends up in the cache, and what faults end in. The real binary downloads, as a user's would.

use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use taskvec_testing::fixture;
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong on the server.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
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

struct Server {
    endpoint: String,
    /// Paths that were asked for.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves the files of a fixture as the model `org/tiny`, with others that nobody needs.
    fn start(name: &str, fault: Fault) -> Server {
        let mut files = BTreeMap::new();
        add_files(&fixture(name), "", &mut files);
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

    fn paths(&self) -> Vec<String> {
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
        let plain = path.split('?').next().unwrap();
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

/// `taskvec embed` with a model of that server and a cache of its own.
fn command(endpoint: &str, cache: &Path, model: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskvec"));
    command.args(["embed", "a text", "--model", model, "--device", "cpu", "--format", "jsonl"]);
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", cache);
    command.env_remove("HF_TOKEN").env_remove("HF_HUB_OFFLINE");
    command
}

fn embed(server: &Server, cache: &Path, model: &str) -> Output {
    command(&server.endpoint, cache, model).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn fails(output: &Output, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(output.stdout.is_empty());
    words.iter().for_each(|word| assert!(message.contains(word), "no {word:?} in: {message}"));
}

#[test]
fn a_model_is_downloaded_once_with_only_the_files_it_needs() {
    let (server, cache) = (Server::start("bert-bge", Fault::None), TempDir::new().unwrap());
    let first = embed(&server, cache.path(), "org/tiny");
    assert!(first.status.success(), "{}", stderr(&first));
    let asked = server.paths();
    assert!(asked.iter().any(|path| path.ends_with("1_Pooling/config.json")), "{asked:?}");
    assert!(!asked.iter().any(|path| path.contains("README") || path.contains("onnx")), "{asked:?}");
    let again = embed(&server, cache.path(), "org/tiny");
    assert_eq!(first.stdout, again.stdout);
    assert_eq!(server.paths().len(), asked.len(), "nothing more was asked for");
    // The Hub's own layout, which its other clients read.
    let folder = cache.path().join("hub/models--org--tiny");
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    assert!(folder.join("snapshots").join(COMMIT).join("model.safetensors").is_file());
    // It is known by its name.
    let models = Command::new(env!("CARGO_BIN_EXE_taskvec"))
        .args(["models", "--cached"])
        .env("HF_HOME", cache.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&models.stdout).contains("org/tiny"));
    // Without the server, and forbidden to ask: the cache is enough.
    let offline = command("http://127.0.0.1:9", cache.path(), "org/tiny").env("HF_HUB_OFFLINE", "1").output();
    assert_eq!(offline.unwrap().stdout, first.stdout);
}

#[test]
fn a_model_that_is_not_there_or_not_allowed_is_an_error_with_its_remedy() {
    let cache = TempDir::new().unwrap();
    let server = Server::start("bert-bge", Fault::Status(404));
    fails(&embed(&server, cache.path(), "org/tiny@v2"), &["org/tiny", "no such model", "`v2`"]);
    let server = Server::start("bert-bge", Fault::Status(401));
    fails(&embed(&server, cache.path(), "org/tiny"), &["org/tiny", "HF_TOKEN"]);
    let server = Server::start("bert-bge", Fault::Status(500));
    fails(&embed(&server, cache.path(), "org/tiny"), &["org/tiny", "500"]);
    let nobody = command("http://127.0.0.1:9", cache.path(), "org/tiny").output().unwrap();
    fails(&nobody, &["org/tiny", "download failed"]);
    let offline = command("http://127.0.0.1:9", cache.path(), "org/tiny").env("HF_HUB_OFFLINE", "1").output();
    fails(&offline.unwrap(), &["org/tiny", "HF_HUB_OFFLINE"]);
}

#[test]
fn the_token_is_sent() {
    let (server, cache) = (Server::start("bert-bge", Fault::Token("secret")), TempDir::new().unwrap());
    fails(&embed(&server, cache.path(), "org/tiny"), &["HF_TOKEN"]);
    let with =
        command(&server.endpoint, cache.path(), "org/tiny").env("HF_TOKEN", "secret").output().unwrap();
    assert!(with.status.success(), "{}", stderr(&with));
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let (server, cache) = (Server::start("bert-bge", Fault::Cut(2)), TempDir::new().unwrap());
    let output = embed(&server, cache.path(), "org/tiny");
    assert!(output.status.success(), "{}", stderr(&output));
    let whole = embed(&Server::start("bert-bge", Fault::None), TempDir::new().unwrap().path(), "org/tiny");
    assert_eq!(output.stdout, whole.stdout);
}

#[test]
fn a_connection_that_is_always_cut_is_an_error_and_nothing_is_lost() {
    let cache = TempDir::new().unwrap();
    let output = embed(&Server::start("bert-bge", Fault::Cut(usize::MAX)), cache.path(), "org/tiny");
    fails(&output, &["org/tiny", "download failed", "a later try goes on"]);
    let later = embed(&Server::start("bert-bge", Fault::None), cache.path(), "org/tiny");
    assert!(later.status.success(), "{}", stderr(&later));
}

#[test]
fn a_file_of_the_wrong_size_does_not_stay_in_the_cache() {
    let cache = TempDir::new().unwrap();
    let output = embed(&Server::start("bert-bge", Fault::WrongSize), cache.path(), "org/tiny");
    fails(&output, &["model.safetensors", "bytes", "try again"]);
    let later = embed(&Server::start("bert-bge", Fault::None), cache.path(), "org/tiny");
    assert!(later.status.success(), "{}", stderr(&later));
}

#[test]
fn two_processes_at_once_both_get_the_model() {
    let (server, cache) = (Server::start("bert-e5", Fault::None), TempDir::new().unwrap());
    let start = || {
        let mut command = command(&server.endpoint, cache.path(), "org/tiny");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let outputs = [start(), start(), start()].map(|child| child.wait_with_output().unwrap());
    for output in &outputs {
        assert!(output.status.success(), "{}", stderr(output));
        assert_eq!(output.stdout, outputs[0].stdout);
    }
}

/// A cache on a disk of 200 kB, in a mount namespace of its own; where that is not allowed, it is said.
/// What was downloaded stays, and the download goes on when there is room.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    let (server, cache) = (Server::start("bert-e5", Fault::None), TempDir::new().unwrap());
    let script = format!(
        "mount -t tmpfs -o size=200k tmpfs '{cache}' || exit 99; '{binary}' embed 'a text' --model org/tiny --device cpu --format jsonl; \
         code=$?; mount -o remount,size=100m '{cache}' && '{binary}' embed 'a text' --model org/tiny --device cpu --format jsonl && exit $code; exit 98",
        cache = cache.path().display(),
        binary = env!("CARGO_BIN_EXE_taskvec"),
    );
    let mut command = Command::new("unshare");
    command
        .args(["-Urm", "sh", "-c", &script])
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HOME", cache.path());
    let output = match command.output() {
        Ok(output) if !stderr(&output).contains("unshare failed") && output.status.code() != Some(99) => {
            output
        }
        _ => return println!("no mount namespaces here: the full disk is not tested"),
    };
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "first no room, then a vector: {message}");
    assert!(message.contains("disk is full") && message.contains("a later try goes on"), "{message}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn a_cache_that_cannot_be_is_an_error() {
    let server = Server::start("bert-bge", Fault::None);
    let output = embed(&server, Path::new("/dev/full"), "org/tiny");
    fails(&output, &["org/tiny", "download failed"]);
}
