use super::*;
use crate::backend::cpu::Cpu;
use crate::options::Precision;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A GPU that takes this long for a call and fails at the call of this number.
struct Pretended {
    cpu: Cpu,
    takes: Duration,
    fails_at: usize,
    calls: AtomicUsize,
    fault: fn() -> Error,
}

impl Backend for Pretended {
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

    fn run(&self, batches: &[RaggedBatch], ends: &[usize]) -> Result<Vec<Results>> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.fails_at {
            return Err((self.fault)());
        }
        std::thread::sleep(self.takes);
        if self.takes.is_zero() {
            // In no time at all, so that it is the faster one.
            let rows: usize = batches.iter().map(RaggedBatch::pools).sum();
            return Ok(vec![vec![vec![1.0; 48 * rows]; ends.len()]]);
        }
        self.cpu.run(batches, ends)
    }
}

fn plan() -> Arc<Plan> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bert-e5");
    let files = crate::model::ModelFiles::in_folder(&folder).unwrap();
    let model = crate::model::Model::open(&files, crate::model::Purpose::Embed, None, None).unwrap();
    Arc::new(Plan::new(&model.encoder, &model.ends, model.max_tokens).unwrap())
}

fn cpu(plan: &Arc<Plan>) -> Cpu {
    let threads = Arc::new(crate::threads::Threads::start(Some(1), None).unwrap());
    Cpu::new(plan.clone(), taskvec_kernels::Isa::best(), Precision::F32, threads).unwrap()
}

fn lost() -> Error {
    Error::DeviceLost { adapter: "pretended".to_owned(), reason: "it was unplugged".to_owned() }
}

fn auto(takes: Duration, fails_at: usize, fault: fn() -> Error) -> Auto {
    let plan = plan();
    let of_gpu = plan.clone();
    let open = move || -> Result<Arc<dyn Backend>> {
        let calls = AtomicUsize::new(0);
        Ok(Arc::new(Pretended { cpu: cpu(&of_gpu), takes, fails_at, calls, fault }))
    };
    Auto::new(plan.clone(), Box::new(cpu(&plan)), Box::new(open))
}

/// Crossovers go to a folder of the test's own, wherever the user's is.
fn with_cache(test: impl FnOnce()) {
    let folder = tempfile::tempdir().unwrap();
    cache::in_folder(folder.path(), test);
}

const NEVER: usize = usize::MAX;

#[test]
fn a_short_call_does_not_look_for_a_gpu() {
    let auto = Auto::new(plan(), Box::new(cpu(&plan())), Box::new(|| panic!("it was looked for")));
    let batches = auto.batches(&auto, LOOK_FROM - 64);
    assert_eq!(auto.run(&batches, &[0]).unwrap(), cpu(&plan()).run(&batches, &[0]).unwrap());
    assert!(auto.report().reason.unwrap().contains("no call had 512 tokens"));
}

#[test]
fn a_machine_without_a_gpu_says_so() {
    let none = || Err(Error::NoAdapter { asked: "any".to_owned(), found: "none at all".to_owned() });
    let auto = Auto::new(plan(), Box::new(cpu(&plan())), Box::new(none));
    auto.run(&auto.batches(&auto, 4096), &[0]).unwrap();
    let report = auto.report();
    assert!(report.name.starts_with("cpu") && report.reason.unwrap().contains("none at all"));
    assert_eq!(report.fault, None);
}

#[test]
fn a_gpu_is_used_from_where_it_was_faster_and_that_is_remembered() {
    with_cache(|| {
        let fast = auto(Duration::ZERO, NEVER, lost);
        assert!(fast.gpu_for(4096).is_some());
        assert!(fast.report().reason.unwrap().contains("just now"));
        assert!(fast.name().starts_with("gpu (pretended"));
        let again = auto(Duration::ZERO, 0, lost); // it would fail if it was timed
        assert!(again.gpu_for(4096).is_some());
        assert!(again.report().reason.unwrap().contains("as measured before"));
        let slow = auto(Duration::from_millis(300), NEVER, lost);
        assert!(slow.gpu_for(100_000).is_none());
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
        let open = move || -> Result<Arc<dyn Backend>> { Ok(opened.clone()) };
        let slow = Auto::new(plan.clone(), Box::new(cpu(&plan)), Box::new(open));
        assert!(slow.gpu_for(4096).is_none());
        assert_eq!(gpu.calls.load(Ordering::Relaxed), 1);
    });
}

/// Whatever is in the file, a model opens.
#[test]
fn a_damaged_file_of_crossovers_is_made_anew() {
    with_cache(|| {
        for damage in ["", "{", "[1]", "{\"a\": \"b\"}", "null"] {
            cache::write(FILE, damage.as_bytes());
            let fast = auto(Duration::ZERO, NEVER, lost);
            assert!(fast.gpu_for(4096).is_some(), "{damage}");
            assert!(remembered(&fast.key(&*fast.gpu_for(4096).unwrap())).is_some(), "{damage}");
        }
    });
}

/// A GPU that goes away in the middle loses no text: the call has the CPU's vectors, and so has the next.
#[test]
fn a_gpu_that_fails_loses_nothing() {
    let shortage = || Error::GpuOutOfMemory {
        adapter: "pretended".to_owned(),
        what: "a batch".to_owned(),
        needed: 1,
        problem: "none left".to_owned(),
    };
    let rejected = || Error::ShaderRejected {
        adapter: "pretended".to_owned(),
        shader: "attention".to_owned(),
        problem: "no".to_owned(),
    };
    for fault in [lost, shortage, rejected] {
        with_cache(|| {
            let timed = SIZES.len() * 4;
            let auto = auto(Duration::ZERO, timed, fault);
            let batches = auto.batches(&auto, 4096);
            assert!(auto.name().starts_with("gpu"));
            for _ in 0..2 {
                assert_eq!(auto.run(&batches, &[0]).unwrap(), cpu(&plan()).run(&batches, &[0]).unwrap());
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
        let bad = || Error::NonFiniteResult { index: 3, cause: "the weights".to_owned() };
        let auto = auto(Duration::ZERO, SIZES.len() * 4, bad);
        let error = auto.run(&auto.batches(&auto, 4096), &[0]).unwrap_err();
        assert!(matches!(error, Error::NonFiniteResult { .. }));
        assert_eq!(auto.report().fault, None);
    });
}
