//! Every shader is valid WGSL, and can be written as Metal's and DirectX's languages.

use naga::back::{hlsl, msl};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use std::path::Path;

fn shaders() -> Vec<(String, naga::Module, ModuleInfo)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut shaders = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut source = std::fs::read_to_string(&path).unwrap();
        if name == "activation.wgsl" {
            continue; // a part of others
        }
        if source.contains("activate(") {
            source += &std::fs::read_to_string(path.with_file_name("activation.wgsl")).unwrap();
        }
        let module =
            naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&source)));
        // No capability beyond WebGPU's own: the shaders run on every adapter.
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module);
        let info = info.unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&source)));
        shaders.push((name, module, info));
    }
    assert!(shaders.len() >= 8);
    shaders
}

#[test]
fn shaders_are_valid_everywhere() {
    shaders();
}

#[test]
fn shaders_translate_to_metal() {
    for (name, module, info) in shaders() {
        let options = msl::Options { fake_missing_bindings: true, ..msl::Options::default() };
        let text = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
        let (text, _) = text.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(text.contains("kernel void"), "{name}");
    }
}

#[test]
fn shaders_translate_to_directx() {
    for (name, module, info) in shaders() {
        let options = hlsl::Options { fake_missing_bindings: true, ..hlsl::Options::default() };
        let mut text = String::new();
        let pipeline = hlsl::PipelineOptions::default();
        let result = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None);
        result.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(text.contains("numthreads"), "{name}");
    }
}

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
