use super::*;
use crate::backend::gpu::pipelines;
use crate::backend::run_now;
use crate::batch::TokenizedText;
use crate::{Device, Embedder, Task};
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn grids_are_folded_within_the_limit() {
    for count in [0, 1, 65535, 65536, 1_000_000, 12_345_678] {
        let (x, y) = fold(count, 65535);
        assert!(x <= 65535 && y <= 65535 && x * y >= count && x * y < count + y, "{count}: {x} × {y}");
    }
}

fn plan(fixture: &str) -> Arc<Plan> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let files = crate::source::ModelFiles::in_folder(&folder).unwrap();
    let model = crate::model::Model::open(&files, crate::model::Purpose::Embed, None, None).unwrap();
    Arc::new(Plan::new(&model.encoder, &model.outputs, model.max_tokens).unwrap())
}

fn start(fixture: &str) -> Gpu {
    let best = GpuSelector::Best;
    block_on(Gpu::new(plan(fixture), &best, Precision::F32)).expect("these tests need a Vulkan driver")
}

/// An opened GPU without a model.
fn open_context() -> GpuContext {
    let adapter = block_on(select(&GpuSelector::Best)).expect("these tests need a Vulkan driver");
    block_on(GpuContext::open(&adapter)).unwrap()
}

/// A batch of texts of these lengths.
fn batch(lengths: &[usize]) -> RaggedBatch {
    let texts: Vec<_> = lengths
        .iter()
        .map(|&n| TokenizedText {
            ids: (0..n as u32).map(|i| 5 + (i * 7 + n as u32) % 40).collect(),
            pools: std::iter::once(0..n).collect(),
            keys: n,
            second: n,
            untruncated: n,
        })
        .collect();
    RaggedBatch::new(&texts)
}

/// Dispatches of a batch: one for the embedding and its norm, seven for each post-norm layer, one for pooling
/// and unit length. A pre-norm decoder's layer has a norm before attention, one dispatch for the norms of
/// heads and rotary embedding, and no norm after; a last norm follows.
#[test]
fn batches_are_as_few_dispatches_as_they_were() {
    for (fixture, around, layer) in [("bert-e5", 2, 7), ("qwen3-embedding", 3, 8), ("nomic-bert", 2, 8)] {
        let gpu = start(fixture);
        let layers = gpu.plan.steps.iter().filter(|step| matches!(step, crate::plan::Step::Attention { .. }));
        let expected = around + layer * layers.count();
        let places = gpu.plan.steps_for(&[0]).map(|(place, _)| gpu.of_steps[place].len());
        assert_eq!(places.sum::<usize>(), expected, "{fixture}");
    }
}

/// A batch with rows enough for the largest tiles has the same bits as its texts by themselves, which run in
/// the smallest; and each tile the oracle's values.
#[test]
fn tiles_of_all_sizes_give_the_same_bits() {
    for fixture in ["bert-e5", "qwen3-embedding"] {
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            let gpu = block_on(Gpu::new(plan(fixture), &GpuSelector::Best, precision)).unwrap();
            let most = gpu.plan.max_tokens;
            let lengths: Vec<usize> = (0..6000 / most).map(|i| most - i % 17).collect();
            let together = batch(&lengths);
            let on_matrices = gpu.dispatches.iter().filter(|dispatch| {
                let chosen = linear::variant_for(&dispatch.variants, together.tokens()).unwrap();
                dispatch.variants.len() > 1 && std::ptr::eq(chosen, &dispatch.variants[0])
            });
            assert!(on_matrices.count() > 2, "{fixture}: rows enough for the largest tiles");
            let together = run_now(&gpu, &[together]).unwrap().remove(0).remove(0);
            let oracle = crate::backend::reference::Reference::new(plan(fixture), Precision::F32).unwrap();
            for (i, of_text) in together.chunks_exact(48).enumerate().step_by(9) {
                let text = batch(&lengths[i..=i]);
                let alone = run_now(&gpu, std::slice::from_ref(&text)).unwrap().remove(0).remove(0);
                assert_eq!(alone, of_text, "{fixture}, {precision:?}, text {i}");
                let expected = run_now(&oracle, &[text]).unwrap().remove(0).remove(0);
                assert!(crate::cosine(&alone, &expected) > 0.999, "{fixture}, {precision:?}, text {i}");
            }
        }
    }
}

/// Tables and matrices larger than a binding come in several. (A split table and its norm are not one dispatch,
/// which adds up in another order.)
#[test]
fn weights_larger_than_a_binding_are_split() {
    for fixture in ["bert-e5", "qwen3-embedding"] {
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            let batch = batch(&[12, 9]);
            let whole = block_on(Gpu::new(plan(fixture), &GpuSelector::Best, precision)).unwrap();
            let opened = open_context();
            // A table of 64 positions and the batch's widest buffer fit; words and most matrices do not.
            opened.most_bound.store(13_000, Ordering::Relaxed);
            let split = block_on(Gpu::on(plan(fixture), opened, precision)).unwrap();
            assert!(split.dispatches.len() > whole.dispatches.len() + 3, "{fixture}: something is split");
            let [expected, found] =
                [&whole, &split].map(|gpu| run_now(gpu, std::slice::from_ref(&batch)).unwrap());
            let cosine = crate::cosine(&found[0][0], &expected[0][0]);
            let allowed = if precision == Precision::F16 { 0.99999 } else { 0.999_999_9 };
            assert!(cosine > allowed, "{fixture}, {precision:?}: {cosine}");
        }
    }
}

/// A device that does not come back is an error.
#[test]
fn a_hang_is_an_error() {
    let mut gpu = start("bert-e5");
    gpu.gpu.patience = Duration::ZERO;
    let error = run_now(&gpu, &[batch(&[60; 60])]).unwrap_err();
    assert!(matches!(error, Error::Device(DeviceError::Gpu { .. })), "{error}");
    assert!(error.to_string().contains("did not finish"), "{error}");
}

/// What comes back are vectors and nothing else.
#[test]
fn only_vectors_are_read_back() {
    let gpu = start("bert-e5");
    let batch = batch(&[9, 30, 2]);
    let mut slot = None;
    block_on(gpu.make_room(&mut slot, &batch)).unwrap();
    let arena = slot.as_ref().unwrap();
    let pending = gpu.submit(arena, 0, &batch, &[0]).unwrap();
    assert_eq!(pending.bytes, 3 * 48 * size_of::<f32>());
    block_on(gpu.finish(arena, pending)).unwrap();
}

/// Once there is room for a batch, no buffer and no bind group is made for it or for a smaller one.
#[test]
fn a_steady_state_makes_nothing_on_the_device() {
    let gpu = start("bert-e5");
    let batches = [batch(&[40, 20]), batch(&[30, 3, 9]), batch(&[64])];
    run_now(&gpu, &batches).unwrap();
    run_now(&gpu, &batches[1..2]).unwrap();
    let made = gpu.gpu.count_made();
    for _ in 0..3 {
        run_now(&gpu, &batches).unwrap();
        run_now(&gpu, &batches[1..2]).unwrap();
    }
    assert_eq!(gpu.gpu.count_made(), made);
}

/// What the host does for a batch stays small: below 0.1 ms a dispatch in a build with all checks, at its
/// fastest of some. (As it was written, a tenth of that.)
#[test]
fn the_host_hands_a_batch_over_quickly() {
    let gpu = start("bert-e5");
    let batch = batch(&[9, 30, 2]);
    let mut slot = None;
    block_on(gpu.make_room(&mut slot, &batch)).unwrap();
    let arena = slot.as_ref().unwrap();
    let fastest = (0..30).map(|_| {
        let start = std::time::Instant::now();
        let pending = gpu.submit(arena, 0, &batch, &[0]).unwrap();
        let time = start.elapsed();
        block_on(gpu.finish(arena, pending)).unwrap();
        time
    });
    let (fastest, dispatches) = (fastest.min().unwrap(), gpu.dispatches.len() as u32);
    assert!(fastest < Duration::from_micros(100) * dispatches, "{fastest:?} for {dispatches} dispatches");
}

/// Subgroups add up what workgroup memory does, in whatever order.
#[test]
fn sums_by_subgroups_are_those_in_memory() {
    let [by_subgroup, in_memory] = [true, false].map(|subgroups| {
        let mut context = open_context();
        assert!(context.subgroups, "the adapter that tests run on has subgroups");
        context.subgroups = subgroups;
        let gpu = block_on(Gpu::on(plan("bert-e5"), context, Precision::F32)).unwrap();
        run_now(&gpu, &[batch(&[9, 30, 2])]).unwrap()
    });
    for (a, b) in by_subgroup[0].iter().zip(&in_memory[0]) {
        let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{difference}");
    }
}

/// Batches for which memory is short are run in halves, to the same bits; a text for which it is short is an
/// error that says what did not fit.
#[test]
fn batches_that_do_not_fit_are_split() {
    let lengths = [60, 3, 17, 50, 64, 1, 40, 33];
    let expected = run_now(&start("bert-e5"), &[batch(&lengths)]).unwrap();
    let gpu = start("bert-e5");
    let bytes = |tokens: usize| (tokens * 48 * 3 * size_of::<f32>()) as u64; // of query_key_value
    gpu.gpu.shortage.store(bytes(128), Ordering::Relaxed);
    assert_eq!(run_now(&gpu, &[batch(&lengths), batch(&[5])]).unwrap()[0], expected[0]);
    gpu.gpu.shortage.store(bytes(16), Ordering::Relaxed);
    *gpu.arenas.lock().unwrap() = Default::default();
    let error = run_now(&gpu, &[batch(&lengths)]).unwrap_err();
    assert!(matches!(error, Error::Device(DeviceError::OutOfMemory { .. })), "{error}");
    assert!(error.to_string().contains("smaller batches, or the cpu device"), "{error}");
    gpu.gpu.shortage.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(run_now(&gpu, &[batch(&lengths)]).unwrap(), expected);
}

/// Weights that do not fit are an error when the model is opened.
#[test]
fn weights_that_do_not_fit_are_an_error() {
    let gpu = open_context();
    gpu.shortage.store(1000, Ordering::Relaxed);
    let plan = plan("bert-e5");
    let mut lowering = Lowering::new(&gpu, &plan, Formats::EXACT, Matrices::default()).unwrap();
    let error = lowering.lower(0, plan.steps.len()).unwrap_err();
    assert!(matches!(error, Error::Device(DeviceError::OutOfMemory { .. })), "{error}");
}

/// A shader that the driver or wgpu rejects is an error that names it, not a panic.
#[test]
fn a_rejected_shader_is_an_error() {
    let gpu = open_context();
    let layout = pipelines::layout(&gpu, 3);
    for source in ["fn main() -> {", "@compute @workgroup_size(70000) fn main() {}", "fn other() {}"] {
        let error = pipelines::compile(&gpu, "broken", source.to_owned(), &layout).unwrap_err();
        assert!(matches!(error, Error::Device(DeviceError::ShaderRejected { .. })), "{error}");
        assert!(error.to_string().contains("broken"), "{error}");
    }
    gpu.check().expect("the device goes on");
}

/// A driver that resets takes the device away between two calls.
#[test]
fn a_lost_device_is_an_error_with_its_remedy() {
    let gpu = start("bert-e5");
    let batch = batch(&[2]);
    assert!(run_now(&gpu, std::slice::from_ref(&batch)).is_ok());
    gpu.gpu.device.destroy();
    let error = run_now(&gpu, &[batch]).unwrap_err();
    assert!(matches!(error, Error::Device(DeviceError::Lost { .. })), "{error}");
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
        assert!(matches!(error, Error::Device(DeviceError::NoAdapter { .. })), "{error}");
    }
}

/// On a machine with a GPU it is used, elsewhere the CPU is and the reason can be read.
#[test]
fn auto_says_what_it_chose_and_why() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert-e5");
    let embedder = Embedder::open(&folder).unwrap();
    assert!(embedder.embed("a", Task::RetrievalQuery).is_ok());
    assert!(embedder.device().reason.unwrap().contains("so far"));
    // Different ones: equal texts are computed once.
    let texts: Vec<String> = (0..200).map(|i| format!("some words to embed {i}")).collect();
    embedder.embed_batch(&texts, Task::RetrievalQuery).unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    while embedder.device().reason.unwrap().contains("meanwhile") {
        assert!(std::time::Instant::now() < patience, "a GPU is looked for in finite time");
        std::thread::sleep(Duration::from_millis(10));
    }
    let report = embedder.device();
    let reason = report.reason.as_deref().unwrap();
    assert!(
        report.name.starts_with("gpu") || reason.contains("software") || reason.contains("none"),
        "{report:?}"
    );
    assert!(embedder.embed("a", Task::RetrievalQuery).is_ok());
}
