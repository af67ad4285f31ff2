//! `taskvec bench search`: exact search over files of vectors, beside what the machine's memory can be read at.

use super::measure::{percentile, seconds_of, values};
use super::output::{warn_of_debug_build, write_file};
use crate::arguments::BenchSearchArguments;
use crate::outcome::Outcome;
use crate::sink::Sink;
use serde_json::json;
use std::time::{Duration, Instant};
use taskvec_corpus::Index;
use taskvec_kernels::{Isa, read_memory};

/// Bytes that all threads together read to measure memory: more than caches hold.
const MEMORY: usize = 512 << 20;

/// How long memory is read, before and after.
const TIME: Duration = Duration::from_millis(300);

pub(super) fn run(arguments: &BenchSearchArguments) -> Outcome {
    warn_of_debug_build();
    let index = Index::open(&arguments.files)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(threads);
    let mut sink = Sink::open(None)?;
    let (rows, bytes) = (index.rows(), index.vector_bytes());
    let head = format!(
        "{rows} vectors of {} values as {}, {:.0} MB; {threads} threads\n{:>8} {:>10} {:>12} {:>8} {:>10}\n",
        index.dimensions(),
        index.output_type(),
        bytes as f64 / 1e6,
        "queries",
        "p50 ms",
        "queries/s",
        "GB/s",
        "of memory"
    );
    sink.write(head.as_bytes())?;
    let mut runs = Vec::new();
    for &count in &arguments.queries {
        let queries: Vec<Vec<f32>> =
            (0..count).map(|i| unit(values(i as u64 + 1, index.dimensions()))).collect();
        index.search_all(&queries, arguments.top)?;
        let before = bandwidth(threads);
        let mut seconds = Vec::new();
        let start = Instant::now();
        while seconds.len() < 5 || start.elapsed().as_secs_f64() < arguments.seconds {
            let call = Instant::now();
            index.search_all(&queries, arguments.top)?;
            seconds.push(call.elapsed().as_secs_f64());
        }
        let memory = 0.5 * (before + bandwidth(threads));
        let p50 = percentile(&mut seconds, 0.5);
        let rate = bytes as f64 / p50;
        sink.write(
            format!(
                "{count:>8} {:>10.3} {:>12.1} {:>8.2} {:>10}\n",
                p50 * 1e3,
                count as f64 / p50,
                rate / 1e9,
                format!("{:.0} %", 100.0 * rate / memory)
            )
            .as_bytes(),
        )?;
        sink.flush()?;
        runs.push(
            json!({"queries": count, "calls": seconds.len(), "p50": p50, "bytes": bytes, "memory": memory}),
        );
    }
    sink.finish()?;
    match &arguments.json {
        Some(path) => {
            let report = json!({"taskvec": env!("CARGO_PKG_VERSION"), "rows": rows, "threads": threads, "seconds": runs});
            write_file(path, &(report.to_string() + "\n"))
        }
        None => Ok(()),
    }
}

fn unit(values: Vec<f32>) -> Vec<f32> {
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.into_iter().map(|value| value / length).collect()
}

/// Bytes a second that so many threads read at once, each its own.
fn bandwidth(threads: usize) -> f64 {
    let isa = Isa::best();
    let own = MEMORY / threads / size_of::<f32>();
    std::thread::scope(|scope| {
        let reader = || {
            let buffer = vec![1.0_f32; own];
            (own * size_of::<f32>()) as f64 / seconds_of(TIME, || read_memory(isa, &buffer))
        };
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(reader)).collect();
        readers.into_iter().map(|reader| reader.join().unwrap_or(0.0)).sum::<f64>()
    })
}
