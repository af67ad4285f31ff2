use super::*;
use crate::{Device, Embedder, Error, Task};

#[test]
fn grids_are_folded_within_the_limit() {
    for count in [0, 1, 65535, 65536, 1_000_000, 12_345_678] {
        let (x, y) = fold(count, 65535);
        assert!(x <= 65535 && y <= 65535 && x * y >= count && x * y < count + y, "{count}: {x} × {y}");
    }
}

/// A driver that resets takes the device away between two calls.
#[test]
fn a_lost_device_is_an_error_with_its_remedy() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert-e5");
    let files = crate::model::ModelFiles::in_folder(&folder).unwrap();
    let model = crate::model::Model::open(&files, crate::model::Purpose::Embed, None, None).unwrap();
    let plan = Arc::new(Plan::new(&model.encoder, &model.ends, model.max_tokens).unwrap());
    let gpu = Gpu::new(plan, &GpuSelector::Best).expect("these tests need a Vulkan driver");
    let pools = vec![crate::tokens::Pool { start: 0, tokens: 0..2 }];
    let batch = RaggedBatch { ids: vec![2, 3], offsets: vec![0, 2], keys: vec![2], second: vec![2], pools };
    assert!(gpu.run(std::slice::from_ref(&batch), &[0]).is_ok());
    gpu.gpu.device.destroy();
    let error = gpu.run(&[batch], &[0]).unwrap_err();
    assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
    assert!(error.to_string().contains("open the model again"), "{error}");
}

/// Three layers share one table of 96 positions × 8 angles × 2 values.
#[test]
fn tables_that_layers_share_are_uploaded_once() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3-embedding");
    let gpu = Embedder::builder().device(Device::Gpu(GpuSelector::Best)).open(&folder).unwrap();
    let reference = Embedder::builder().device(Device::Cpu).open(&folder).unwrap().inspect().unwrap();
    let table = 96 * 8 * 2 * size_of::<f32>();
    let parameters = reference.parameters * size_of::<f32>();
    assert_eq!(gpu.inspect().unwrap().weight_bytes, parameters + table);
}

#[test]
fn an_adapter_that_is_not_there_is_an_error_that_lists_those_that_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert-e5");
    for selector in [GpuSelector::Name("no such gpu".into()), GpuSelector::Index(99)] {
        let error = Embedder::builder().device(Device::Gpu(selector)).open(&folder).err().unwrap();
        assert!(matches!(error, Error::NoAdapter { .. }), "{error}");
    }
}

/// On a machine with a GPU it is used, elsewhere the CPU is and the reason can be read.
#[test]
fn auto_says_what_it_chose_and_why() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert-e5");
    let embedder = Embedder::open(&folder).unwrap();
    let report = embedder.device();
    let reason = report.reason.as_deref().unwrap();
    assert!(
        report.name.starts_with("gpu") || reason.contains("software") || reason.contains("none"),
        "{report:?}"
    );
    assert!(embedder.embed("a", Task::RetrievalQuery).is_ok());
}
