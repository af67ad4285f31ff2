//! Everything that must hold before a change lands.

use crate::run::{Outcome, command, is_there, output, run, target};
use crate::{deps, package, setup};

/// The oldest Rust that compiles the project: `rust-version` in Cargo.toml.
const OLDEST_RUST: &str = "1.89.0";

/// The features of the library, apart from those that only add trait implementations.
const FEATURES: [&str; 4] = ["gpu", "hub", "builtin", "split"];
const TRAITS: &str = "serde,ndarray";

/// All of it, cheapest first.
pub(crate) fn all() -> Outcome {
    for line in ["cargo fmt --all -- --check", "cargo clippy --workspace --all-targets -- -D warnings"] {
        run(command(line))?;
    }
    let mut doc = command("cargo doc --workspace --no-deps");
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run(doc)?;
    setup::setup()?;
    tests()?;
    readme()?;
    if is_there("python3 tests/weights/fetch.py") {
        weights()?;
    } else {
        println!(
            "The models of tests/weights/fetch.py are not to be had here: real weights were not compared"
        );
    }
    if is_there("python3 -m ensurepip --version") {
        tables()?;
        clients()?;
        python("dev")?;
    } else {
        println!(
            "Python's packages are not to be had here: tables were not opened with other programs, the server was not asked by the vendors' clients, and the Python package was not built"
        );
    }
    features()?;
    wasm()?;
    deps::check()?;
    package::package()?;
    oldest_rust()?;
    others_compile()?;
    licences()?;
    other_architectures()
}

/// What README.md has cargo run, but for the tests. (What it has `taskvec` do is one of those.) Its example is built as tests
/// are: optimised, with the features that tests add, most dependencies would be compiled once more.
fn readme() -> Outcome {
    let path = crate::run::root().join("README.md");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    run(command("cargo build --workspace --examples"))?;
    for line in blocks.flat_map(str::lines).filter(|line| line.starts_with("cargo run ")) {
        let mut shell = command("sh -c");
        match line.strip_prefix("cargo run --release --example ").and_then(|rest| rest.split_once(" -- ")) {
            Some((name, arguments)) => {
                let example = target().join("debug").join("examples").join(name);
                shell.arg(format!("{} {arguments}", example.display()));
            }
            None => drop(shell.arg(line)),
        }
        run(shell)?;
    }
    Ok(())
}

/// The test command of README.md, once there is a Vulkan driver: one set of features, so that nothing is compiled twice.
pub(crate) fn tests() -> Outcome {
    // Benchmarks and examples run once each, as tests.
    run(command("cargo test --workspace --all-targets"))?;
    run(command("cargo test --workspace --doc"))
}

/// Vectors of models with real weights against the reference's. The models are fetched, where they are not there yet.
pub(crate) fn weights() -> Outcome {
    let folder = output(command("python3 tests/weights/fetch.py"))?;
    let mut test = command("cargo test --workspace --test it -- --ignored --nocapture real_weights");
    test.env("TASKVEC_TEST_WEIGHTS", folder.trim());
    run(test)
}

/// The tables that the command writes, opened with other programs. Those are fetched, where they are not there yet.
pub(crate) fn tables() -> Outcome {
    with_command("python3 tests/tables/read.py")
}

/// The server, asked by the vendors' own clients, and its page in a browser. Those are fetched, where they are not there yet.
pub(crate) fn clients() -> Outcome {
    setup::browser()?;
    with_command("python3 tests/clients/talk.py")
}

/// A script that is given the command's binary.
fn with_command(script: &str) -> Outcome {
    run(command("cargo build --release -p taskvec-cli"))?;
    let mut script = command(script);
    script.arg(target().join("release").join("taskvec"));
    run(script)
}

/// The Python package: built in one of cargo's profiles, and tested in an environment of its own.
pub(crate) fn python(profile: &str) -> Outcome {
    run(command("cargo fmt --check --manifest-path bindings/python/Cargo.toml"))?;
    let mut clippy = command("cargo clippy -q --manifest-path bindings/python/Cargo.toml -- -D warnings");
    clippy.env("CARGO_TARGET_DIR", target());
    run(clippy)?;
    run(command(&format!("python3 bindings/python/build.py --profile {profile}")))
}

/// The library with even numbers of its features: whatever three of them one takes, they are there in every combination.
pub(crate) fn features() -> Outcome {
    for chosen in (0..1u32 << FEATURES.len()).filter(|chosen| chosen.count_ones() % 2 == 0) {
        let some = FEATURES.iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, name)| *name);
        // With the traits where there are none or all of the others: they touch nothing that these do.
        let all = if [0, (1 << FEATURES.len()) - 1].contains(&chosen) { &["", TRAITS][..] } else { &[""] };
        for traits in all {
            let features: Vec<&str> = some.clone().chain([*traits]).filter(|name| !name.is_empty()).collect();
            let mut check = command("cargo clippy -q -p taskvec --lib --no-default-features");
            check.args(["--features", &features.join(","), "--", "-D", "warnings"]);
            run(check)?;
        }
    }
    run(command("cargo clippy -q -p taskvec-cli --no-default-features -- -D warnings"))
}

/// The library for a browser, on WebGPU.
pub(crate) fn wasm() -> Outcome {
    run(command("rustup target add wasm32-unknown-unknown"))?;
    let mut check = command("cargo check -p taskvec --target wasm32-unknown-unknown");
    check.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", WASM_FLAGS);
    run(check)
}

/// What .cargo/config.toml has for the target, and no warnings.
const WASM_FLAGS: &str = "--cfg=getrandom_backend=\"wasm_js\" -Dwarnings";

/// The workspace with the oldest Rust that it promises.
pub(crate) fn oldest_rust() -> Outcome {
    if !is_there("rustup --version") {
        return Err("the oldest Rust is checked with rustup, which is not there".to_owned());
    }
    run(command(&format!("rustup toolchain install {OLDEST_RUST} --profile minimal")))?;
    run(command(&format!("cargo +{OLDEST_RUST} check --workspace")))
}

/// What is not in the workspace compiles too: fuzz targets and the comparison's programs.
pub(crate) fn others_compile() -> Outcome {
    for line in [
        "cargo check --manifest-path fuzz/Cargo.toml",
        "cargo check --manifest-path benches/peers/rust/Cargo.toml --features candle,fastembed,rten",
        "cargo check --manifest-path benches/peers/hold/Cargo.toml",
    ] {
        let mut check = command(line);
        check.env("CARGO_TARGET_DIR", target());
        run(check)?;
    }
    Ok(())
}

/// Licences and sources of all dependencies, by deny.toml. (Advisories need a database that is fetched from elsewhere:
/// `cargo deny check advisories`, where there is a network for it.)
pub(crate) fn licences() -> Outcome {
    if !is_there("cargo deny --version") {
        run(command("cargo install cargo-deny --locked --quiet --debug"))?;
    }
    run(command("cargo deny --offline check licenses bans sources"))
}

/// The kernels on another architecture, where this one can pretend to be it, and under Miri, where there is a nightly
/// toolchain for it.
fn other_architectures() -> Outcome {
    if cfg!(target_arch = "x86_64") && is_there("apt-get --version") {
        run(command("./tests/aarch64.sh"))?;
    }
    let miri = "rustup component add --toolchain nightly miri rust-src";
    if is_there(miri) && is_there("cargo +nightly miri setup") {
        run(command("./tests/miri.sh"))?;
    } else {
        println!("Miri is not to be had here: the kernels were not run under it");
    }
    Ok(())
}
