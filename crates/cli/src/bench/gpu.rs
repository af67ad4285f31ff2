//! `taskvec bench kernels --device gpu`: what the GPU does at best, and each kernel of a model beside it.

use super::model::text_of;
use super::output::{warn_of_debug_build, write_file};
use super::peaks::Peaks;
use super::point::Point;
use super::roofline::roofline;
use crate::arguments::BenchKernelsArguments;
use crate::outcome::{Failure, Outcome};
use crate::sink::Sink;
use serde_json::{Value, json};
use taskvec::{EmbedOptions, Embedder, GpuMeasurement, GpuPeaks, cosine};

/// Tokens of each text, where the model takes as many.
const LENGTH: usize = 128;

pub(super) fn run(arguments: &BenchKernelsArguments) -> Outcome {
    warn_of_debug_build();
    let embedder = arguments.model.open(None)?;
    let reference = arguments.model.open_reference_of_gpu()?;
    let mut sink = Sink::open(None)?;
    let (mut points, mut runs, mut peaks) = (Vec::new(), Vec::new(), None);
    for &rows in &arguments.rows {
        let texts = texts(&embedder, rows)?;
        let measured = embedder.measure_gpu(&texts, EmbedOptions::new().prompt(""))?;
        let min_cosine = check(&reference, &texts, &measured, embedder.dimensions())?;
        let peaks = peaks.get_or_insert_with(|| measured.peaks.clone());
        if runs.is_empty() {
            sink.write(describe(&embedder.device().name, peaks).as_bytes())?;
        }
        sink.write(whole(&measured, min_cosine).as_bytes())?;
        for kernel in measured.kernels.iter().filter(|kernel| arguments.wants(&kernel.name)) {
            let storage = if kernel.on_matrices { "matrix" } else { "f32" };
            let operations = if kernel.operations > 0.0 { kernel.operations } else { kernel.bytes / 8.0 };
            let (name, seconds, bytes) = (kernel.name.clone(), kernel.seconds, kernel.bytes);
            let peaks = as_peaks(peaks);
            let own = peaks.arithmetic.iter().find(|(name, _)| *name == storage);
            let peak = own.map_or(f64::NAN, |(_, peak)| *peak);
            let point = Point { name, storage, seconds, operations, bytes, peak, error: 0.0 };
            sink.write(line(&point, &peaks).as_bytes())?;
            points.push(point);
        }
        runs.push(report(&measured, min_cosine));
    }
    sink.finish()?;
    let Some(peaks) = peaks.filter(|_| !points.is_empty()) else {
        let names = &arguments.names;
        return Err(Failure::Usage(format!("no kernel has one of these in its name: {names:?}")));
    };
    let device = embedder.device().name;
    if let Some(path) = &arguments.json {
        let all = json!({
            "taskvec": env!("CARGO_PKG_VERSION"),
            "device": device,
            "peaks": {
                "f32_operations_per_second": peaks.f32_operations,
                "matrix_operations_per_second": peaks.matrix_operations,
                "copied_bytes_per_second": peaks.copied_bytes,
            },
            "runs": runs,
        });
        write_file(path, &(all.to_string() + "\n"))?;
    }
    if let Some(path) = &arguments.svg {
        write_file(path, &roofline(&device, &as_peaks(&peaks), &points))?;
    }
    Ok(())
}

/// Texts with this many tokens in all.
fn texts(embedder: &Embedder, rows: usize) -> Outcome<Vec<String>> {
    let shortest = embedder.token_ids("", EmbedOptions::new().prompt(""))?.len() + 1;
    let length = LENGTH.min(embedder.max_tokens()).min(rows.max(shortest));
    (0..rows.div_ceil(length)).map(|place| text_of(embedder, length, place)).collect()
}

/// The smallest cosine of the vectors to the CPU's; an error where they are not the same vectors.
fn check(
    reference: &Embedder,
    texts: &[String],
    measured: &GpuMeasurement,
    dimensions: usize,
) -> Outcome<f64> {
    // The texts are one text.
    let expected = reference.embed(&texts[0], EmbedOptions::new().prompt(""))?.value;
    let cosines = measured.vectors.chunks_exact(dimensions).map(|got| f64::from(cosine(got, &expected)));
    let min = cosines.fold(1.0, |min, cosine| if cosine >= min { min } else { cosine });
    if min.is_nan() || min < 0.999 {
        let device = &measured.device;
        return Err(Failure::Failed(format!(
            "{device} gives another vector than the CPU: cosine {min}, expected at least 0.999"
        )));
    }
    Ok(min)
}

fn as_peaks(peaks: &GpuPeaks) -> Peaks {
    let mut arithmetic = vec![("f32", peaks.f32_operations)];
    arithmetic.extend(peaks.matrix_operations.map(|peak| ("matrix", peak)));
    Peaks::of_one_memory(arithmetic, peaks.copied_bytes)
}

fn describe(device: &str, peaks: &GpuPeaks) -> String {
    let matrix = match peaks.matrix_operations {
        Some(peak) => format!("{:.1} G multiply-adds/s in f16 on matrix units", peak / 2e9),
        None => "no matrix units that taskvec uses".to_owned(),
    };
    format!(
        "{device}\n\n{:.1} G multiply-adds/s in f32, {matrix}, a copy {:.1} GB/s\n",
        peaks.f32_operations / 2e9,
        peaks.copied_bytes / 1e9
    )
}

fn whole(measured: &GpuMeasurement, min_cosine: f64) -> String {
    format!(
        "\n{} texts, {} tokens: {:.3} ms, of which the host {:.1} µs; {} dispatches, {} bytes read back; \
         cosine to the CPU at least {min_cosine:.6}\n{:<58} {:6} {:>10} {:>9} {:>8} {:>8}\n",
        measured.texts,
        measured.tokens,
        measured.batch_seconds * 1e3,
        measured.host_seconds * 1e6,
        measured.dispatches,
        measured.bytes_read_back,
        "kernel",
        "",
        "µs",
        "GMAC/s",
        "of peak",
        "of roof"
    )
}

fn line(point: &Point, peaks: &Peaks) -> String {
    let Point { name, storage, seconds, operations, bytes, .. } = point;
    let micros = seconds * 1e6;
    if point.is_elementwise() {
        let (bandwidth, most) = (bytes / seconds, peaks.memory.first().map_or(f64::NAN, |memory| memory.2));
        return format!(
            "{name:<58} {storage:6} {micros:>10.1} {:>9.1} GB/s {:>12.0} %\n",
            bandwidth / 1e9,
            bandwidth / most * 100.0
        );
    }
    let rate = operations / seconds;
    format!(
        "{name:<58} {storage:6} {micros:>10.1} {:>9.1} {:>6.0} % {:>6.0} %\n",
        rate / 2e9,
        rate / point.peak * 100.0,
        rate / peaks.bound(point) * 100.0
    )
}

fn report(measured: &GpuMeasurement, min_cosine: f64) -> Value {
    let kernels = measured.kernels.iter().map(|kernel| {
        json!({
            "name": kernel.name, "on_matrices": kernel.on_matrices, "seconds": kernel.seconds,
            "operations": kernel.operations, "bytes": kernel.bytes,
        })
    });
    json!({
        "texts": measured.texts,
        "tokens": measured.tokens,
        "dispatches": measured.dispatches,
        "bytes_read_back": measured.bytes_read_back,
        "host_seconds": measured.host_seconds,
        "batch_seconds": measured.batch_seconds,
        "min_cosine_to_cpu": min_cosine,
        "kernels": kernels.collect::<Vec<_>>(),
    })
}
