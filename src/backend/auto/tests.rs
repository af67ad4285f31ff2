use super::crossover::{FILE, SIZES, SLOW, batches};
use super::*;
use crate::backend::cpu::Cpu;
use crate::backend::gpu::cache;
use crate::backend::{Results, run_now};
use crate::batch::RaggedBatch;
use crate::error::{DeviceError, RequestError};
use crate::precision::Precision;
use std::time::{Duration, Instant};

/// A GPU that takes this long for a call and fails at the call of this number.
struct Pretended {
    cpu: Cpu,
    takes: Duration,
    fails_at: usize,
    calls: AtomicUsize,
    fault: fn() -> Error,
}

impl Backend for Pretended {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Gpu
    }

    fn name(&self) -> String {
        format!("gpu (pretended, {:?})", self.takes)
    }

    fn batch_tokens(&self, total: usize) -> usize {
        self.cpu.batch_tokens(total)
    }

    fn weight_bytes(&self) -> usize {
        7
    }

    fn batch_bytes(&self, _: usize, _: usize) -> usize {
        7
    }

    fn run<'a>(&'a self, job: &'a Job<'a>) -> Running<'a> {
        Box::pin(async move {
            if self.calls.fetch_add(1, Ordering::Relaxed) == self.fails_at {
                // Halfway: what it gave before is not computed again.
                let done = &job.batches[..job.batches.len() / 2];
                self.cpu.run(&Job { batches: done, ..*job }).await?;
                return Err((self.fault)());
            }
            std::thread::sleep(self.takes);
            if self.takes.is_zero() {
                // In no time at all, so that it is the faster one.
                let results = |batch: &RaggedBatch| vec![vec![1.0; 48 * batch.pools()]; job.outputs.len()];
                return job
                    .batches
                    .iter()
                    .enumerate()
                    .try_for_each(|(i, batch)| (job.take)(i, results(batch)));
            }
            self.cpu.run(job).await
        })
    }
}

fn plan() -> Arc<Plan> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert-e5");
    let files = crate::source::ModelFiles::in_folder(&folder).unwrap();
    let model = crate::model::Model::open(&files, crate::model::Purpose::Embed, None, None).unwrap();
    Arc::new(Plan::new(&model.encoder, &model.outputs, model.max_tokens).unwrap())
}

fn cpu(plan: &Arc<Plan>) -> Cpu {
    let threads = Arc::new(crate::backend::threads::Threads::start(Some(1), None).unwrap());
    Cpu::new(plan.clone(), taskvec_kernels::Isa::best(), Precision::F32, threads).unwrap()
}

fn lost() -> Error {
    DeviceError::Lost { adapter: "pretended".to_owned(), reason: "it was unplugged".to_owned() }.into()
}

/// The probe of a test remembers in the folder that the test remembers in.
fn opener(
    takes: Duration,
    fails_at: usize,
    fault: fn() -> Error,
) -> (Arc<Plan>, impl Fn() -> Result<Arc<dyn Backend>> + Send + Sync) {
    let plan = plan();
    let of_gpu = plan.clone();
    let folder = cache::folder_of_test();
    let open = move || -> Result<Arc<dyn Backend>> {
        cache::set_folder_of_test(folder.clone());
        let calls = AtomicUsize::new(0);
        Ok(Arc::new(Pretended { cpu: cpu(&of_gpu), takes, fails_at, calls, fault }))
    };
    (plan, open)
}

fn auto(takes: Duration, fails_at: usize, fault: fn() -> Error) -> Auto {
    let (plan, open) = opener(takes, fails_at, fault);
    Auto::new(plan.clone(), Arc::new(cpu(&plan)), Box::new(open))
}

/// Starts the probe and waits for it.
fn probed(auto: Auto) -> Auto {
    auto.for_call(4096);
    auto.wait_for_probe();
    auto
}

/// What the engine does with a call.
fn run(auto: &Auto, batches: &[RaggedBatch]) -> Result<Vec<Results>> {
    let tokens = batches.iter().map(RaggedBatch::tokens).sum();
    let backend = auto.for_call(tokens).expect("it always chooses");
    run_now(&*backend, batches)
}

fn is_on_gpu(auto: &Auto, tokens: usize) -> bool {
    auto.for_call(tokens).expect("it always chooses").kind() == DeviceKind::Gpu
}

/// Crossovers go to a folder of the test's own, wherever the user's is.
fn with_cache(test: impl FnOnce()) {
    let folder = tempfile::tempdir().unwrap();
    cache::in_folder(folder.path(), test);
}

const NEVER: usize = usize::MAX;

#[test]
fn a_short_call_does_not_look_for_a_gpu() {
    let plan = plan();
    let auto = Auto::new(plan.clone(), Arc::new(cpu(&plan)), Box::new(|| panic!("it was looked for")));
    let batches = batches(&plan, &auto, LOOK_FROM - 64);
    assert_eq!(run(&auto, &batches).unwrap(), run_now(&cpu(&plan), &batches).unwrap());
    assert!(auto.report().reason.unwrap().contains("no call had 512 tokens"));
    // Nor does asking what it needs.
    auto.batch_tokens(usize::MAX);
    auto.batch_bytes(100_000, 100_000);
    assert!(auto.report().reason.unwrap().contains("no call had 512 tokens"));
}

/// While a GPU is opened, which may take seconds, calls are done on the CPU.
#[test]
fn no_call_waits_for_the_probe() {
    with_cache(|| {
        let plan = plan();
        let opening = Duration::from_secs(2);
        let open = move || -> Result<Arc<dyn Backend>> {
            std::thread::sleep(opening);
            Err(lost())
        };
        let auto = Auto::new(plan.clone(), Arc::new(cpu(&plan)), Box::new(open));
        let start = Instant::now();
        let (long, short) = (batches(&plan, &auto, 1024), batches(&plan, &auto, 64));
        for batches in [&long, &short, &long] {
            assert_eq!(run(&auto, batches).unwrap(), run_now(&cpu(&plan), batches).unwrap());
        }
        assert!(start.elapsed() < opening, "{:?}", start.elapsed());
        assert!(auto.report().reason.unwrap().contains("meanwhile"));
        auto.wait_for_probe();
        assert!(auto.report().reason.unwrap().contains("unplugged"));
    });
}

#[test]
fn a_machine_without_a_gpu_says_so() {
    let plan = plan();
    let none =
        || Err(DeviceError::NoAdapter { asked: "any".to_owned(), found: "none at all".to_owned() }.into());
    let auto = probed(Auto::new(plan.clone(), Arc::new(cpu(&plan)), Box::new(none)));
    run(&auto, &batches(&plan, &auto, 4096)).unwrap();
    let report = auto.report();
    assert!(report.name.starts_with("cpu") && report.reason.unwrap().contains("none at all"));
    assert_eq!((report.fault, report.kind), (None, DeviceKind::Cpu));
}

#[test]
fn a_gpu_is_used_from_where_it_was_faster_and_that_is_remembered() {
    with_cache(|| {
        let fast = probed(auto(Duration::ZERO, NEVER, lost));
        assert!(is_on_gpu(&fast, 4096));
        assert!(fast.report().reason.unwrap().contains("just now"));
        assert!(fast.name().starts_with("gpu (pretended"));
        assert_eq!(fast.kind(), DeviceKind::CpuAndGpu);
        let again = probed(auto(Duration::ZERO, 0, lost)); // it would fail if it was timed
        assert!(is_on_gpu(&again, 4096));
        assert!(again.report().reason.unwrap().contains("as measured before"));
        let slow = probed(auto(Duration::from_millis(300), NEVER, lost));
        assert!(!is_on_gpu(&slow, 100_000));
        assert!(slow.report().reason.unwrap().contains("slower than it on calls of all sizes"));
        assert!(slow.name().starts_with("cpu"));
    });
}

/// A large model takes seconds for few tokens: it is not made to take minutes for many.
#[test]
fn slow_devices_are_timed_on_the_smallest_call_only() {
    with_cache(|| {
        let plan = plan();
        let (cpu_of_gpu, calls) = (cpu(&plan), AtomicUsize::new(0));
        let takes = SLOW + Duration::from_millis(100);
        let gpu = Arc::new(Pretended { cpu: cpu_of_gpu, takes, fails_at: NEVER, calls, fault: lost });
        let opened = gpu.clone();
        let folder = cache::folder_of_test();
        let open = move || -> Result<Arc<dyn Backend>> {
            cache::set_folder_of_test(folder.clone());
            Ok(opened.clone())
        };
        let slow = probed(Auto::new(plan.clone(), Arc::new(cpu(&plan)), Box::new(open)));
        assert!(!is_on_gpu(&slow, 4096));
        assert_eq!(gpu.calls.load(Ordering::Relaxed), 1);
    });
}

/// Whatever is in the file, a model opens.
#[test]
fn a_damaged_file_of_crossovers_is_made_anew() {
    with_cache(|| {
        for damage in ["", "{", "[1]", "{\"a\": \"b\"}", "null"] {
            cache::write(FILE, damage.as_bytes());
            let fast = probed(auto(Duration::ZERO, NEVER, lost));
            assert!(is_on_gpu(&fast, 4096), "{damage}");
            let again = probed(auto(Duration::ZERO, 0, lost));
            assert!(again.report().reason.unwrap().contains("as measured before"), "{damage}");
        }
    });
}

/// A GPU that goes away in the middle loses no text: the call has the CPU's vectors, and so has the next.
#[test]
fn a_gpu_that_fails_loses_nothing() {
    let shortage = || {
        let (adapter, what) = ("pretended".to_owned(), "a batch".to_owned());
        DeviceError::OutOfMemory { adapter, what, needed: 1, problem: "none left".to_owned() }.into()
    };
    let rejected = || {
        let (adapter, shader) = ("pretended".to_owned(), "attention".to_owned());
        DeviceError::ShaderRejected { adapter, shader, problem: "no".to_owned() }.into()
    };
    for fault in [lost as fn() -> Error, shortage, rejected] {
        with_cache(|| {
            let timed = SIZES.len() * 4;
            let auto = probed(auto(Duration::ZERO, timed, fault));
            let plan = plan();
            let batches = batches(&plan, &auto, 4096);
            assert!(auto.name().starts_with("gpu"));
            for _ in 0..2 {
                assert_eq!(run(&auto, &batches).unwrap(), run_now(&cpu(&plan), &batches).unwrap());
                assert_eq!(auto.report().fault, Some(fault().to_string()));
                assert!(auto.name().starts_with("cpu"));
            }
        });
    }
}

/// An error of the input is the same anywhere: it is not blamed on the GPU.
#[test]
fn other_errors_are_not_the_gpus() {
    with_cache(|| {
        let bad = || RequestError::NonFiniteResult { cause: "the weights".to_owned() }.into();
        let auto = probed(auto(Duration::ZERO, SIZES.len() * 4, bad));
        let error = run(&auto, &batches(&plan(), &auto, 4096)).unwrap_err();
        assert!(matches!(error, Error::Request { problem: RequestError::NonFiniteResult { .. }, .. }));
        assert_eq!(auto.report().fault, None);
    });
}

/// Closing a model ends the probe soon, and does not leave it behind.
#[test]
fn a_model_that_is_closed_stops_the_probe() {
    with_cache(|| {
        let auto = auto(Duration::from_millis(200), NEVER, lost);
        auto.for_call(4096);
        let shared = Arc::downgrade(&auto.shared);
        let start = Instant::now();
        drop(auto);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(shared.strong_count(), 0);
    });
}
