//! The project's own tasks: `cargo xtask TASK`.
//!
//! Shell scripts are left where a task is a shell's: another architecture (`tests/aarch64.sh`), Miri
//! (`tests/miri.sh`).

mod ci;
mod deps;
mod package;
mod run;
mod setup;

use std::process::ExitCode;

const TASKS: &str = "tasks:
  test       set up what the tests need, and pass them: the second command of README.md
  ci         everything that must hold before a change lands
  setup      a Vulkan driver for the GPU tests, where there is none
  weights    fetch models with real weights, and compare their vectors with the reference's
  tables     open the command's tables with DuckDB, Polars, pandas and pyarrow
  clients    ask the server with the vendors' own clients
  python     build the Python package, and test it in an environment of its own
  features   check the library with combinations of its features
  wasm       check that the library compiles for a browser
  oldest     check the workspace with the oldest Rust that it promises
  others     check what is outside of the workspace: fuzz targets, the comparison's programs
  licences   check the licences and sources of all dependencies, with cargo-deny
  package    package each crate that is published, from its own archive, and print its size
  deps       count the crates that the library brings
  peers …    the comparison with other programs: benches/peers/run.py
  fixtures … make a fixture anew: tests/fixtures/generate.py";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let result = match task.as_str() {
        "test" => setup::setup().and_then(|()| ci::tests()),
        "ci" => ci::all(),
        "setup" => setup::setup(),
        "weights" => ci::weights(),
        "tables" => ci::tables(),
        "clients" => ci::clients(),
        "python" => ci::python("release"),
        "features" => ci::features(),
        "wasm" => ci::wasm(),
        "oldest" => ci::oldest_rust(),
        "others" => ci::others_compile(),
        "licences" => ci::licences(),
        "package" => package::package(),
        "deps" => deps::print(),
        "peers" => run::python("benches/peers/run.py", &rest),
        "fixtures" => run::python("tests/fixtures/generate.py", &rest),
        "" => Err(format!("which task?\n\n{TASKS}")),
        other => Err(format!("there is no task `{other}`\n\n{TASKS}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}
