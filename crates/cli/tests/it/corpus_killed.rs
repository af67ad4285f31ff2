//! Jobs that are killed, stopped, or run out of room: the same command goes on, and nothing shows it afterwards.

use crate::binary::{fails, stderr, taskvec};
use crate::corpus::{embed, succeeds};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use taskvec_testing::fixture;
use tempfile::TempDir;

/// A corpus of some windows with equal texts in it.
fn write_corpus(path: &Path, rows: usize) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    writeln!(file, "id,text").unwrap();
    for row in 0..rows {
        let words = ["tea", "leaves", "hill", "cat", "day", "night", "water", "stone"];
        let text: Vec<&str> = (0..5 + row % 30).map(|i| words[(row * 7 + i * i) % words.len()]).collect();
        writeln!(file, "{row},{} {}", text.join(" "), row % 977).unwrap();
    }
}

fn job(folder: &TempDir, input: &str, output: &str) -> Command {
    job_of(folder, "bert-e5", input, output)
}

fn job_of(folder: &TempDir, model: &str, input: &str, output: &str) -> Command {
    let mut command = taskvec(folder);
    command.arg("embed").arg("--model").arg(fixture(model)).args(["--device", "cpu", "--input", input]);
    command.args(["--text", "text", "--id", "id", "--output", output]).stderr(Stdio::null());
    command
}

/// Deterministic numbers in 0..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn wait_for(path: &Path) {
    let begun = std::time::Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "there is no {}", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for it, and kills it after this time. Whether it ended by itself.
fn killed_after(mut child: Child, time: Duration) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < time {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

#[test]
fn a_job_that_is_killed_again_and_again_has_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    write_corpus(&folder.path().join("in.csv"), 40_000);
    let begun = std::time::Instant::now();
    assert!(job(&folder, "in.csv", "want.parquet").status().unwrap().success());
    let whole = begun.elapsed();
    let (mut random, mut runs) = (Random(0x5eed), 0);
    for output in ["v.parquet", "w.jsonl"] {
        let mut killed = 0;
        loop {
            runs += 1;
            assert!(runs < 1000, "it never ends");
            // Times around a twentieth of a run, so that it is met in all of its phases.
            let time = whole.mul_f64(0.01 + 0.1 * random.next());
            if killed_after(job(&folder, "in.csv", output).spawn().unwrap(), time) {
                break;
            }
            killed += 1;
            assert!(!folder.path().join(output).exists() || killed > 3, "it appears whole or not at all");
        }
        assert!(killed >= 4, "{output}: killed {killed} times only");
        assert!(!folder.path().join(format!("{output}.parts")).exists());
    }
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("v.parquet") == read("want.parquet"), "other bytes");
    assert!(job(&folder, "in.csv", "want.jsonl").status().unwrap().success());
    assert!(read("w.jsonl") == read("want.jsonl"), "other bytes");
}

/// Vectors of two kinds, of which one has no fixed size.
#[test]
fn a_killed_job_of_sparse_vectors_goes_on_too() {
    let folder = TempDir::new().unwrap();
    write_corpus(&folder.path().join("in.csv"), 12_000);
    let job = |output: &str| {
        let mut command = job_of(&folder, "bge-m3", "in.csv", output);
        command.args(["--give", "both"]);
        command
    };
    let begun = std::time::Instant::now();
    assert!(job("want.parquet").status().unwrap().success());
    let whole = begun.elapsed();
    let (mut random, mut killed) = (Random(0xb07), 0);
    while !killed_after(job("v.parquet").spawn().unwrap(), whole.mul_f64(0.05 + 0.2 * random.next())) {
        killed += 1;
        assert!(killed < 500, "it never ends");
    }
    assert!(killed >= 3, "killed {killed} times only");
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("v.parquet") == read("want.parquet"), "other bytes");
}

/// A file may only become so large: as on a full disk, writing fails in the middle.
#[test]
fn a_job_that_runs_out_of_room_goes_on_when_there_is_more() {
    let folder = TempDir::new().unwrap();
    write_corpus(&folder.path().join("in.csv"), 20_000);
    assert!(job(&folder, "in.csv", "want.parquet").status().unwrap().success());
    let whole = std::fs::metadata(folder.path().join("want.parquet")).unwrap().len();
    for share in [10, 6] {
        let limit = whole / share / 512;
        let mut shell = Command::new("sh");
        let line = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"");
        shell.current_dir(folder.path()).args(["-c", &line]).arg(env!("CARGO_BIN_EXE_taskvec"));
        let full = shell.args(job(&folder, "in.csv", "v.parquet").get_args()).output().unwrap();
        fails(&full, 1, &["v.parquet.parts", "cannot write"]);
        assert!(!folder.path().join("v.parquet").exists());
    }
    assert!(job(&folder, "in.csv", "v.parquet").status().unwrap().success());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("v.parquet") == read("want.parquet"), "other bytes");
}

/// A signal stops the job and says how it goes on; who waits sees the signal.
#[test]
fn a_signal_stops_a_job_that_the_printed_command_goes_on_with() {
    for (signal, number) in [("INT", 2), ("TERM", 15)] {
        let folder = TempDir::new().unwrap();
        write_corpus(&folder.path().join("in.csv"), 60_000);
        let mut command = job(&folder, "in.csv", "it's.parquet");
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&folder.path().join("it's.parquet.parts/_taskvec/done-0-of-1.jsonl"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(
            Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success()
        );
        let output = child.wait_with_output().unwrap();
        // A runner of tests may itself ignore it, and the job then goes on to its end.
        if output.status.success() {
            continue;
        }
        assert_eq!(output.status.signal(), Some(number), "{}", stderr(&output));
        let said = stderr(&output);
        let line = said
            .lines()
            .find(|line| line.trim_start().starts_with("taskvec embed"))
            .unwrap_or_else(|| panic!("{said}"));
        let line = line.trim_start().strip_prefix("taskvec").unwrap();
        let again = format!("exec {}{line}", env!("CARGO_BIN_EXE_taskvec"));
        let output = Command::new("sh").current_dir(folder.path()).args(["-c", &again]).output().unwrap();
        succeeds(&output);
        assert!(folder.path().join("it's.parquet").exists());
    }
}

/// Going on with another task, another input or other columns would mix two jobs.
#[test]
fn an_unfinished_job_is_not_mixed_with_another() {
    let folder = TempDir::new().unwrap();
    write_corpus(&folder.path().join("in.csv"), 60_000);
    let child = job(&folder, "in.csv", "v.parquet").spawn().unwrap();
    wait_for(&folder.path().join("v.parquet.parts/_taskvec/part-000000.journal"));
    assert!(!killed_after(child, Duration::from_millis(50)), "it is too fast to be killed");
    let base = ["--input", "in.csv", "--text", "text", "--output", "v.parquet", "--id", "id"];
    let other = embed(&folder, &[&base[..], &["--task", "clustering"]].concat());
    fails(&other, 1, &["v.parquet.parts", "task was none and is `clustering`", "--restart"]);
    fails(&embed(&folder, &[&base[..], &["--keep", "text"]].concat()), 1, &["keep was none and is `text`"]);
    let mut file = std::fs::File::options().append(true).open(folder.path().join("in.csv")).unwrap();
    writeln!(file, "60000,more").unwrap();
    drop(file);
    fails(&embed(&folder, &base), 1, &["in.csv had", "--restart"]);
    succeeds(&embed(&folder, &[&base[..], &["--restart"]].concat()));
}

/// Processes that share the work do not know each other, and write what one would have written.
#[test]
fn shares_of_the_work_make_up_the_whole() {
    let folder = TempDir::new().unwrap();
    write_corpus(&folder.path().join("in.csv"), 50_000);
    assert!(job(&folder, "in.csv", "want.parquet").status().unwrap().success());
    assert!(job(&folder, "in.csv", "want.arrow").status().unwrap().success());
    for format in ["parquet", "arrow"] {
        let share = |i: usize, output: &str| {
            let mut command = job(&folder, "in.csv", output);
            command.args(["--format", format, "--shard", &format!("{i}/3")]);
            command
        };
        let to = format!("{format}/");
        let mut children: Vec<Child> = (0..2).map(|i| share(i, &to).spawn().unwrap()).collect();
        assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
        let merge = || {
            let mut command = taskvec(&folder);
            command.args(["merge", format, "--output", &format!("v.{format}")]).output().unwrap()
        };
        fails(&merge(), 1, &["not complete", "2/3"]);
        // The last one was killed, and goes on.
        killed_after(share(2, &to).spawn().unwrap(), Duration::from_millis(150));
        assert!(share(2, &to).status().unwrap().success());
        succeeds(&merge());
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        assert!(read(&format!("v.{format}")) == read(&format!("want.{format}")), "{format}: other bytes");
        std::fs::remove_file(folder.path().join(format).join(format!("part-000001.{format}"))).unwrap();
        fails(&merge(), 1, &["part-000001"]);
    }
}

#[test]
fn two_processes_do_not_work_on_one_output() {
    let folder = TempDir::new().unwrap();
    write_corpus(&folder.path().join("in.csv"), 60_000);
    let mut first = job(&folder, "in.csv", "v.parquet").spawn().unwrap();
    wait_for(&folder.path().join("v.parquet.parts/_taskvec/manifest.json"));
    let second =
        embed(&folder, &["--input", "in.csv", "--text", "text", "--id", "id", "--output", "v.parquet"]);
    fails(&second, 1, &["another process"]);
    first.kill().unwrap();
    first.wait().unwrap();
}

/// A run that was killed while it removed what it no longer needed leaves nothing that the next one stumbles over.
#[test]
fn what_a_killed_run_left_of_its_tidying_is_removed() {
    let folder = TempDir::new().unwrap();
    write_corpus(&folder.path().join("in.csv"), 100);
    assert!(job(&folder, "in.csv", "want.parquet").status().unwrap().success());
    let left = folder.path().join("v.parquet.parts.removed/_taskvec");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("done-0-of-1.jsonl"), "{\"windows\":1}\n").unwrap();
    assert!(job(&folder, "in.csv", "v.parquet").status().unwrap().success());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert!(read("v.parquet") == read("want.parquet"), "other bytes");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}
