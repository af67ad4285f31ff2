//! Downloads, against a server on this machine that speaks the Hub's endpoints: what is asked for, what
//! ends up in the cache, and what faults end in. The real binary downloads, as a user's would.

use crate::hub_server::{COMMIT, Fault, Server, stderr};
use std::path::Path;
use std::process::{Command, Output};
use taskvec_testing::fixture;
use tempfile::TempDir;

fn command(endpoint: &str, cache: &Path, model: &str) -> Command {
    crate::hub_server::command(endpoint, cache, &["embed", "a text", "--format", "jsonl"], model)
}

fn embed(server: &Server, cache: &Path, model: &str) -> Output {
    command(&server.endpoint, cache, model).output().unwrap()
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
    let (server, cache) = (Server::start(&fixture("bert-bge"), Fault::None), TempDir::new().unwrap());
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
    let server = Server::start(&fixture("bert-bge"), Fault::Status(404));
    fails(&embed(&server, cache.path(), "org/tiny@v2"), &["org/tiny", "no such model", "`v2`"]);
    let server = Server::start(&fixture("bert-bge"), Fault::Status(401));
    fails(&embed(&server, cache.path(), "org/tiny"), &["org/tiny", "HF_TOKEN"]);
    let server = Server::start(&fixture("bert-bge"), Fault::Status(500));
    fails(&embed(&server, cache.path(), "org/tiny"), &["org/tiny", "500"]);
    let nobody = command("http://127.0.0.1:9", cache.path(), "org/tiny").output().unwrap();
    fails(&nobody, &["org/tiny", "download failed"]);
    let offline = command("http://127.0.0.1:9", cache.path(), "org/tiny").env("HF_HUB_OFFLINE", "1").output();
    fails(&offline.unwrap(), &["org/tiny", "HF_HUB_OFFLINE"]);
}

#[test]
fn the_token_is_sent() {
    let (server, cache) =
        (Server::start(&fixture("bert-bge"), Fault::Token("secret")), TempDir::new().unwrap());
    fails(&embed(&server, cache.path(), "org/tiny"), &["HF_TOKEN"]);
    let with =
        command(&server.endpoint, cache.path(), "org/tiny").env("HF_TOKEN", "secret").output().unwrap();
    assert!(with.status.success(), "{}", stderr(&with));
}

#[test]
fn a_cut_connection_is_taken_up_where_it_ended() {
    let (server, cache) = (Server::start(&fixture("bert-bge"), Fault::Cut(2)), TempDir::new().unwrap());
    let output = embed(&server, cache.path(), "org/tiny");
    assert!(output.status.success(), "{}", stderr(&output));
    let whole =
        embed(&Server::start(&fixture("bert-bge"), Fault::None), TempDir::new().unwrap().path(), "org/tiny");
    assert_eq!(output.stdout, whole.stdout);
}

#[test]
fn a_connection_that_is_always_cut_is_an_error_and_nothing_is_lost() {
    let cache = TempDir::new().unwrap();
    let output =
        embed(&Server::start(&fixture("bert-bge"), Fault::Cut(usize::MAX)), cache.path(), "org/tiny");
    fails(&output, &["org/tiny", "download failed", "a later try goes on"]);
    let later = embed(&Server::start(&fixture("bert-bge"), Fault::None), cache.path(), "org/tiny");
    assert!(later.status.success(), "{}", stderr(&later));
}

#[test]
fn a_file_of_the_wrong_size_does_not_stay_in_the_cache() {
    let cache = TempDir::new().unwrap();
    let output = embed(&Server::start(&fixture("bert-bge"), Fault::WrongSize), cache.path(), "org/tiny");
    fails(&output, &["model.safetensors", "bytes", "try again"]);
    let later = embed(&Server::start(&fixture("bert-bge"), Fault::None), cache.path(), "org/tiny");
    assert!(later.status.success(), "{}", stderr(&later));
}

#[test]
fn two_processes_at_once_both_get_the_model() {
    let (server, cache) = (Server::start(&fixture("bert-e5"), Fault::None), TempDir::new().unwrap());
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
    let (server, cache) = (Server::start(&fixture("bert-e5"), Fault::None), TempDir::new().unwrap());
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
    let server = Server::start(&fixture("bert-bge"), Fault::None);
    let output = embed(&server, Path::new("/dev/full"), "org/tiny");
    fails(&output, &["org/tiny", "download failed"]);
}
