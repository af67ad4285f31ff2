//! Every command in README.md runs as it stands there. Those of cargo in its blocks are run by `cargo xtask ci`.

use crate::binary::{run, stderr, stdout};
use std::collections::BTreeSet;
use std::process::{Command, Output};
use taskvec_testing::fixture;
use tempfile::TempDir;

fn readme() -> String {
    std::fs::read_to_string(taskvec_testing::root().join("README.md")).unwrap()
}

/// The lines of its blocks for a shell.
fn lines(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).collect()
}

/// A command line in a folder, as a shell runs it. A server is told to end when it listens, at any port that is free.
fn shell(folder: &TempDir, line: &str) -> Output {
    let ended = "kill $! && wait $! && exit 0; sleep 0.1; done; exit 1";
    let until = format!("while kill -0 $!; do grep -q listening said && {ended}");
    let served = line.starts_with("taskvec serve").then(|| format!("{line} --port 0 2>said & {until}"));
    let line = served.as_deref().unwrap_or(line);
    let path = std::path::Path::new(env!("CARGO_BIN_EXE_taskvec")).parent().unwrap();
    let mut command = Command::new("sh");
    command.current_dir(folder.path()).args(["-c", line]);
    command.env("PATH", format!("{}:{}", path.display(), std::env::var("PATH").unwrap()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{line}: {}", stderr(&output));
    output
}

fn faq() -> TempDir {
    let folder = TempDir::new().unwrap();
    let rows = "id,question,answer\n7,How do I reset my password?,On the page of your account.\n8,Where is my order?,Under way.\n";
    std::fs::write(folder.path().join("faq.csv"), rows).unwrap();
    folder
}

/// One after the other, in one folder.
#[cfg(unix)]
#[test]
fn the_lines_of_its_blocks_run() {
    let (readme, folder) = (readme(), faq());
    let lines = lines(&readme);
    let own: Vec<&&str> = lines.iter().filter(|line| !line.starts_with("cargo ")).collect();
    assert!(own.len() >= 3 && own.iter().all(|line| line.starts_with("taskvec ")), "{own:?}");
    for line in own {
        let output = shell(&folder, line);
        if line.starts_with("taskvec search") {
            let best = stdout(&output).lines().nth(1).unwrap();
            assert!(best.contains("reset my password") && best.contains("On the page"), "{best}");
        }
    }
    assert!(std::fs::read_to_string(folder.path().join("map.html")).unwrap().contains("reset my password"));
    // The first command, as the binary that it builds.
    let first = lines.iter().find_map(|line| line.strip_prefix("cargo run --release -- ")).unwrap();
    assert!(stdout(&shell(&folder, &format!("taskvec {first}"))).lines().count() >= 3);
}

/// Its list of commands is that of the program.
#[test]
fn it_lists_every_command() {
    let readme = readme();
    let list = readme.split("## The command\n").nth(1).unwrap().split("```").nth(1).unwrap();
    let listed: BTreeSet<&str> =
        list.lines().filter_map(|line| line.strip_prefix("taskvec ")?.split(' ').next()).collect();
    let help = run(&["--help"]);
    let commands = stdout(&help).split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let known: BTreeSet<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert_eq!(listed, known);
}

/// Those within sentences run too, with something for what they leave open.
#[cfg(unix)]
#[test]
fn commands_in_sentences_run() {
    let (readme, folder) = (readme(), faq());
    let model = fixture("bert-e5");
    shell(&folder, "taskvec embed --input faq.csv --text question --output vectors/ --shard 0/1");
    let sentences = readme.split("```").step_by(2).collect::<String>();
    let mut seen = 0;
    for command in sentences.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("taskvec ")) {
        let filled = match command {
            // By their names alone, or minutes long: other tests run them.
            "taskvec models" | "taskvec rerank" | "taskvec devices" | "taskvec bench model" => continue,
            "taskvec bench kernels --svg FILE" => continue,
            "taskvec inspect --model MODEL" => command.replace("MODEL", model.to_str().unwrap()),
            "taskvec explain TEXT --task T" => {
                command.replace("TEXT", "'a text'").replace(" T", " clustering")
            }
            "taskvec compare TEXT --tasks a,b" => {
                command.replace("TEXT", "'a text'").replace("a,b", "query,passage")
            }
            "taskvec merge vectors --output all.parquet" => command.to_owned(),
            "taskvec embed - --flush" => format!("echo a text | {command}"),
            other => panic!("`{other}` is not known here: say how it is run"),
        };
        shell(&folder, &filled);
        seen += 1;
    }
    assert_eq!(seen, 5);
}
