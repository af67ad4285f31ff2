//! How many crates the library brings.

use crate::run::{Outcome, command, output};
use std::collections::BTreeSet;

/// Crates of `cargo add taskvec`, at most.
const MOST_BY_DEFAULT: usize = 140;
/// Those without its default features, at most.
const MOST_BARE: usize = 104;

/// Prints the counts, and what the tokenizer library has of them.
pub(crate) fn print() -> Outcome {
    let (bare, default) = (crates("--no-default-features")?, crates("")?);
    println!("{:4} crates bare", bare.len());
    println!("{:4} with the default features", default.len());
    for feature in ["hub", "builtin", "split", "serde", "ndarray"] {
        let with = crates(&format!("--features {feature}"))?;
        println!("{:+4} with {feature}", with.len() as isize - default.len() as isize);
    }
    let tokenizers = tree("-p tokenizers")?;
    let shared = bare.intersection(&tokenizers).count();
    println!("{shared:4} of the bare ones are the tokenizer library and what it needs");
    Ok(())
}

/// An error where there are more than there should be.
pub(crate) fn check() -> Outcome {
    for (name, features, most) in
        [("bare", "--no-default-features", MOST_BARE), ("default", "", MOST_BY_DEFAULT)]
    {
        let count = crates(features)?.len();
        println!("{name}: {count} crates, {most} at most");
        if count > most {
            return Err(format!("the library brings {count} crates ({name}), {most} at most"));
        }
    }
    Ok(())
}

/// The crates that are built for a program that adds the library, on this machine's system: by name, the library itself
/// not counted.
fn crates(features: &str) -> Outcome<BTreeSet<String>> {
    let mut crates = tree(&format!("-p taskvec {features}"))?;
    crates.remove("taskvec");
    Ok(crates)
}

fn tree(of: &str) -> Outcome<BTreeSet<String>> {
    let line = format!("cargo tree --quiet {of} --edges normal,build --prefix none --format {{p}}");
    let list = output(command(&line))?;
    Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}
