//! The habits of this code base, as a test.

use std::path::{Path, PathBuf};
use taskvec_testing::root;

/// All files below these folders with one of these endings.
fn files(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if endings.iter().any(|ending| path.extension().is_some_and(|e| e == *ending)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn no_file_is_over_600_lines() {
    for path in files(
        &["src", "kernels", "crates", "xtask", "shaders", "tests", "examples", "benches"],
        &["rs", "wgsl"],
    ) {
        let lines = read(&path).lines().count();
        assert!(lines <= 600, "{}: {lines} lines", path.display());
    }
}

#[test]
fn every_step_has_its_shader_and_is_run_by_the_oracle_and_the_cpu() {
    let plan = read(&root().join("src/plan/step.rs"));
    let steps = plan.split("enum Step {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let steps: Vec<&str> = steps
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {"))
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .collect();
    assert!(steps.len() >= 8, "{steps:?}");
    for step in steps {
        for interpreter in
            ["src/backend/reference.rs", "src/backend/cpu/mod.rs", "src/backend/gpu/lowering.rs"]
        {
            let arm = format!("Step::{step}");
            assert!(read(&root().join(interpreter)).contains(&arm), "{interpreter} does not run {arm}");
        }
        let mut file = String::new();
        for c in step.chars() {
            if c.is_uppercase() && !file.is_empty() {
                file.push('_');
            }
            file.extend(c.to_lowercase());
        }
        assert!(root().join(format!("shaders/{file}.wgsl")).is_file(), "there is no shaders/{file}.wgsl");
    }
}

/// Elsewhere it is denied by an attribute; the map is the one place with one that allows it.
#[test]
fn unsafe_code_stays_in_its_places() {
    for path in files(&["src", "crates", "xtask", "tests", "examples"], &["rs"]) {
        if path.ends_with("src/source/mmap.rs")
            || path.ends_with("gpu-unsafe/src/lib.rs")
            || path.ends_with("tidy.rs")
        {
            continue;
        }
        let text = read(&path);
        let code = text.lines().map(|line| line.split("//").next().unwrap());
        assert!(code.clone().all(|line| !line.contains("unsafe ")), "{}", path.display());
        assert!(code.clone().all(|line| !line.contains("allow(unsafe_code)")), "{}", path.display());
    }
}

/// Each family is one file that is listed.
#[test]
fn every_family_file_is_listed() {
    let list = read(&root().join("src/model/families/mod.rs"));
    for path in files(&["src/model/families"], &["rs"]) {
        if path.parent().unwrap().ends_with("common") {
            continue; // what families are built from
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        // What a family is, or one that is reached from another.
        let other = ["mod", "family", "jina_bert"].contains(&name);
        assert!(other || list.contains(&format!("&{name}::FAMILY")), "{name} is not listed");
    }
}

/// A page that can be read at once.
#[test]
fn architecture_is_one_page() {
    let lines = read(&root().join("ARCHITECTURE.md")).lines().count();
    assert!(lines <= 120, "{lines} lines; essays belong in docs/");
}

/// What the documents name is there.
#[test]
fn files_that_documents_name_exist() {
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/design.md", "docs/security.md", "README.md"]
    {
        let text = read(&root().join(document));
        for name in text.split('`').skip(1).step_by(2) {
            let is_path =
                name.contains('/') && name.contains('.') && !name.contains(['*', '<', ' ', ':', '{', '$']);
            let starts =
                ["src/", "kernels/", "shaders/", "crates/", "tests/", "docs/", "benches/", "examples/"];
            if is_path && starts.iter().any(|start| name.starts_with(start)) && !name.contains("NAME") {
                assert!(root().join(name).exists(), "{document} names {name}, which is not there");
            }
        }
    }
}
