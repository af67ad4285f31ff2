//! Imports go down the layers that ARCHITECTURE.md lists, and no files import each other in a circle.
//!
//! Read from the text of the sources: `use` statements and paths that start with `crate`, `super` or `self`. An import
//! of what a `mod.rs` re-exports is one of the file that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A crate's modules by their path, such as `backend::gpu::runner`; the root's is empty.
struct Crate {
    modules: BTreeMap<String, Module>,
}

struct Module {
    file: String,
    /// Without comments, strings and test modules.
    code: String,
    /// What it re-exports: a name, and the path that it stands for.
    exports: BTreeMap<String, String>,
}

/// An import: the files, and the modules they are.
type Import = (String, String);

impl Crate {
    /// Reads all files below a crate's source folder. The root is `lib.rs` or `main.rs`.
    fn read(folder: &Path) -> Crate {
        let mut sources = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in std::fs::read_dir(&next).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/");
                if path.is_dir() {
                    open.push(path);
                } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                    sources.push((name, std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        Crate::of(sources)
    }

    fn of(sources: impl IntoIterator<Item = (String, String)>) -> Crate {
        let mut modules = BTreeMap::new();
        for (file, text) in sources {
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let path = if ["lib", "main", "mod"].contains(&path) { "" } else { path };
            let code = plain_code(&text);
            modules.insert(path.replace('/', "::"), Module { file, code, exports: BTreeMap::new() });
        }
        let mut all = Crate { modules };
        let exports: Vec<(String, BTreeMap<String, String>)> =
            all.modules.keys().map(|path| (path.clone(), all.exports_of(path))).collect();
        for (path, exports) in exports {
            all.modules.get_mut(&path).unwrap().exports = exports;
        }
        all
    }

    /// The names that a module re-exports, with the paths from the root that they stand for.
    fn exports_of(&self, module: &str) -> BTreeMap<String, String> {
        let mut exports = BTreeMap::new();
        for (is_public, path) in uses(&self.modules[module].code) {
            if is_public && let Some(absolute) = self.absolute(module, &path) {
                let name = absolute.rsplit("::").next().unwrap_or_default().to_owned();
                exports.insert(name, absolute);
            }
        }
        exports
    }

    /// A path from the root, if it is one of this crate.
    fn absolute(&self, module: &str, path: &str) -> Option<String> {
        let mut segments: Vec<&str> = path.split("::").collect();
        let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
        match segments[0] {
            "crate" => {
                base.clear();
                segments.remove(0);
            }
            "self" => {
                segments.remove(0);
            }
            "super" => {
                while segments.first() == Some(&"super") {
                    base.pop()?;
                    segments.remove(0);
                }
            }
            // A child that this module declares; anything else is another crate's.
            first => {
                let child = joined(&[&base[..], &[first]].concat());
                self.modules.get(&child)?;
            }
        }
        Some(joined(&[&base[..], &segments].concat()))
    }

    /// The module that has what a path from the root names.
    fn owner(&self, absolute: &str) -> Option<&str> {
        let segments: Vec<&str> = absolute.split("::").filter(|part| !part.is_empty()).collect();
        // The longest part of the path that is a module has it, or re-exports it.
        let length =
            (0..=segments.len()).rev().find(|&n| self.modules.contains_key(&joined(&segments[..n])))?;
        let (module, found) = self.modules.get_key_value(&joined(&segments[..length]))?;
        match segments.get(length).and_then(|name| found.exports.get(*name)) {
            Some(exported) if exported != absolute => self.owner(exported),
            _ => Some(module),
        }
    }

    /// All imports between different modules; re-exports are none.
    fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (module, Module { code, .. }) in &self.modules {
            let own = uses(code).into_iter().filter(|(is_public, _)| !is_public).map(|(_, path)| path);
            for path in own.chain(inline_paths(code)) {
                let owner = self.absolute(module, &path).and_then(|absolute| self.owner(&absolute));
                if let Some(owner) = owner.filter(|owner| owner != module) {
                    imports.insert((module.clone(), owner.to_owned()));
                }
            }
        }
        imports
    }

    /// What goes up, or sideways, in a list of layers from the top down.
    fn upward(&self, layers: &[Vec<String>]) -> Vec<String> {
        let top = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
        let level = |name: &str| layers.iter().position(|layer| layer.iter().any(|own| own == name));
        let mut wrong = Vec::new();
        for (from, to) in self.imports() {
            let (above, below) = (top(&from), top(&to));
            if above == below || above.is_empty() {
                continue;
            }
            if below.is_empty() {
                wrong.push(format!("{} imports from the crate's root", self.modules[&from].file));
                continue;
            }
            match (level(&above), level(&below)) {
                (Some(above), Some(below)) if above < below => {}
                (Some(_), Some(_)) => {
                    wrong.push(format!("{} imports {}", self.modules[&from].file, self.modules[&to].file));
                }
                _ => wrong.push(format!("{above} or {below} is not in the list of layers")),
            }
        }
        wrong
    }

    /// Files that import each other in a circle, one circle a line.
    fn circles(&self) -> Vec<String> {
        let imports = self.imports();
        let mut reaches: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for start in self.modules.keys() {
            let mut open = vec![start.as_str()];
            let found = reaches.entry(start).or_default();
            while let Some(from) = open.pop() {
                for (_, to) in imports.iter().filter(|(own, _)| own == from) {
                    if found.insert(to) {
                        open.push(to);
                    }
                }
            }
        }
        let in_circle = |module: &&String| reaches[module.as_str()].contains(module.as_str());
        let mut circles = BTreeSet::new();
        for module in self.modules.keys().filter(in_circle) {
            let same = |other: &&&str| reaches[**other].contains(module.as_str());
            let members = reaches[module.as_str()].iter().filter(same);
            circles.insert(members.map(|m| self.modules[*m].file.clone()).collect::<Vec<_>>().join(" ↔ "));
        }
        circles.into_iter().collect()
    }
}

fn joined(parts: &[&str]) -> String {
    parts.join("::")
}

/// Code without comments, strings and what only tests compile.
fn plain_code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut code = String::new();
    let mut in_test_item = false;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        if in_test_item {
            // An item of a test ends with a line that ends at its own level: a brace, or a statement.
            in_test_item = !(line.trim_end().ends_with(';') || line.trim() == "}");
            continue;
        }
        if line.trim() == "#[cfg(test)]" {
            in_test_item = true;
            continue;
        }
        let parts: Vec<&str> = line.split('"').step_by(2).collect();
        let mut line = parts.join("\"\"");
        // A visibility such as `pub(in crate::model)` is no import.
        if let Some((before, (_, after))) =
            line.split_once("pub(in ").and_then(|(before, rest)| Some((before, rest.split_once(')')?)))
        {
            line = format!("{before}pub{after}");
        }
        code.push_str(&line);
        code.push('\n');
    }
    code
}

/// The paths of `use` statements, and whether each is a re-export.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    let statements = code.split(';').filter_map(|statement| {
        let start = statement.rfind("use ").filter(|&at| {
            let before = statement[..at].trim_end();
            before.is_empty() || before.ends_with(['}', ']', ')', '{']) || before.ends_with("pub")
        })?;
        let before = statement[..start].trim_end();
        let is_public =
            before.ends_with("pub") || before.ends_with("pub(crate)") || before.ends_with("pub(super)");
        Some((is_public, statement[start + 4..].to_owned()))
    });
    for (is_public, tree) in statements {
        let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
        expand("", &tree, &mut |path| found.push((is_public, path)));
    }
    found
}

/// The paths of a tree such as `a::{b, c::{d, e}}`.
fn expand(prefix: &str, tree: &str, found: &mut impl FnMut(String)) {
    let tree = tree.trim();
    let tree = tree.split(" as ").next().unwrap_or_default();
    match tree.split_once('{') {
        None => {
            let path = format!("{prefix}{tree}");
            found(path.trim_end_matches("::self").trim_end_matches("::*").to_owned());
        }
        Some((head, rest)) => {
            let inside = &rest[..rest.rfind('}').unwrap_or(rest.len())];
            let (mut depth, mut start) = (0, 0);
            for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        if !inside[start..at].trim().is_empty() {
                            expand(&format!("{prefix}{head}"), &inside[start..at], found);
                        }
                        start = at + 1;
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Paths outside of `use` statements.
fn inline_paths(code: &str) -> Vec<String> {
    let without_uses: Vec<&str> = code.split(';').filter(|statement| !statement.contains("use ")).collect();
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = without_uses.iter().flat_map(|part| part.split(|c: char| !is_path(c)));
    words.filter(|word| word.contains("::")).map(|word| word.trim_matches(':').to_owned()).collect()
}

/// The list in ARCHITECTURE.md, from the top down.
fn layers() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(taskvec_testing::root().join("ARCHITECTURE.md")).unwrap();
    let list = text.split("```layers\n").nth(1).expect("ARCHITECTURE.md has a list of layers");
    let list = list.split("```").next().unwrap();
    list.lines()
        .map(|line| line.split('#').next().unwrap().split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn the_librarys_imports_go_down() {
    let library = Crate::read(&taskvec_testing::root().join("src"));
    assert!(library.imports().len() > 100, "imports are seen");
    let upward = library.upward(&layers());
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let folders = [
        "src",
        "kernels/src",
        "crates/cli/src",
        "crates/corpus/src",
        "crates/map/src",
        "crates/server/src",
        "crates/testing/src",
        "xtask/src",
    ];
    let found = folders.map(|folder| Crate::read(&taskvec_testing::root().join(folder)).circles());
    let found = found.concat();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The check itself: a deliberate import upwards and a deliberate circle are found, whatever form they have.
#[test]
fn a_deliberate_upward_import_or_circle_is_found() {
    let with = |low: &str, child: &str| {
        Crate::of(
            [
                ("lib.rs", "mod high;\nmod low;\npub use high::High;\n"),
                ("high.rs", "use crate::low::{self, child::{Inner as I, *}, Exported};\npub struct High;\n"),
                ("low/mod.rs", low),
                ("low/child.rs", child),
                ("low/other.rs", "pub struct Exported;\n"),
            ]
            .map(|(file, code)| (file.to_owned(), code.to_owned())),
        )
    };
    let layers = [vec!["high".to_owned()], vec!["low".to_owned()]];
    let fine = "mod child;\nmod other;\npub(crate) use other::Exported;\nuse child::Inner;\n";
    let good = with(fine, "use super::Exported;\n// use crate::high::High;\n");
    assert_eq!((good.upward(&layers), good.circles()), (Vec::new(), Vec::new()));
    for import in ["use crate::high::High;", "use crate::High;", "fn f() -> crate::high::High { todo() }"] {
        let bad = with(fine, import);
        assert_eq!(bad.upward(&layers), ["low/child.rs imports high.rs"], "{import}");
        assert_eq!(bad.circles(), ["high.rs ↔ low/mod.rs ↔ low/child.rs"], "{import}");
    }
    let circle = with(fine, "use super::{Own, Exported};\n");
    assert_eq!(circle.circles(), ["low/mod.rs ↔ low/child.rs"]);
    let in_tests =
        with(fine, "#[cfg(test)]\nuse crate::high::High;\n#[cfg(test)]\nmod tests { use crate::high; }\n");
    assert_eq!(in_tests.upward(&layers), Vec::<String>::new());
}
