//! The habits of the shader files. That every form of them is valid is tested beside the list of forms, in
//! `src/backend/gpu/shader.rs`.

use std::path::Path;

/// Each binding's shape stands beside it.
#[test]
fn every_binding_says_its_shape() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        for line in source.lines().filter(|line| line.contains("var<storage")) {
            assert!(line.contains("// ["), "{}: {line}", path.display());
        }
    }
}
