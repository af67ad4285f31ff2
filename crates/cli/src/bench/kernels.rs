//! `taskvec bench kernels`: this machine's peaks on one core, and each kernel at a model's sizes beside them.

use super::measure::{Stopwatch, Timing, values};
use super::output::{cpu_name, warn_of_debug_build, write_file};
use super::peaks::{Peaks, TIME, storages};
use super::point::Point;
use super::roofline::roofline;
use crate::arguments::BenchKernelsArguments;
use crate::outcome::{Failure, Outcome};
use crate::sink::Sink;
use serde_json::json;
use taskvec::{Activation, KernelShape};
use taskvec_kernels::{
    AlignedBuffer, Attention, AttentionScratch, Epilogue, GemmScratch, Isa, KeyValuePanels, Matrix,
    MatrixMut, PackedWeights, Storage, activate, attention, encode_row, gemm, gemm_of_encoded, layer_norm,
};

/// What products in f32 multiply with where a file has 16 bits for each weight.
const WIDENED: [(Storage, &str); 2] = [(Storage::F16Weights, "f32xf16"), (Storage::Bf16Weights, "f32xbf16")];

pub(super) fn run(arguments: &BenchKernelsArguments) -> Outcome {
    warn_of_debug_build();
    let isa = match &arguments.model.how.instruction_set {
        None => Isa::best(),
        Some(name) => Isa::by_name(name).ok_or_else(|| {
            let names: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
            Failure::Failed(format!("this CPU has no kernels for {name}; it has {}", names.join(", ")))
        })?,
    };
    let shapes = arguments.model.open_on_cpu()?.inspect()?.kernels;
    let mut kernels = kernels(isa, &shapes, &arguments.rows);
    kernels.retain(|kernel| arguments.wants(&kernel.name));
    if kernels.is_empty() {
        return Err(Failure::Usage(format!("no kernel has one of these in its name: {:?}", arguments.names)));
    }
    let mut sink = Sink::open(None)?;
    let peaks = Peaks::measure(isa);
    sink.write(describe(isa, &peaks).as_bytes())?;
    let mut rounds: Vec<Vec<Point>> = kernels.iter().map(|_| Vec::new()).collect();
    for _ in 1..arguments.rounds {
        for (kernel, measured) in kernels.iter().zip(&mut rounds) {
            measured.push(kernel.measure(isa)?);
        }
    }
    let mut points = Vec::new();
    for (kernel, mut measured) in kernels.iter().zip(rounds) {
        measured.push(kernel.measure(isa)?);
        let point = middle(measured);
        sink.write(line(&point, &peaks).as_bytes())?;
        points.push(point);
    }
    sink.finish()?;
    if let Some(path) = &arguments.json {
        write_file(path, &(report(isa, &peaks, &points).to_string() + "\n"))?;
    }
    if let Some(path) = &arguments.svg {
        write_file(path, &roofline(&format!("one core of {}, {}", cpu_name(), isa.name()), &peaks, &points))?;
    }
    Ok(())
}

/// The measurement of the median share of the peak: something else on the machine slows some for seconds.
fn middle(mut measured: Vec<Point>) -> Point {
    measured.sort_by(|a, b| a.share().total_cmp(&b.share()));
    measured.swap_remove(measured.len() / 2)
}

/// A kernel at one size.
struct Case {
    name: String,
    storage: (Storage, &'static str),
    work: Work,
}

enum Work {
    Product {
        rows: usize,
        outputs: usize,
        inputs: usize,
        activation: Activation,
        gated: bool,
    },
    /// Only the product and its bias, with rows that were encoded before.
    BareProduct {
        rows: usize,
        outputs: usize,
        inputs: usize,
    },
    Attention {
        tokens: usize,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
    },
    LayerNorm {
        rows: usize,
        width: usize,
    },
    Activation {
        rows: usize,
        width: usize,
        activation: Activation,
    },
    Encode {
        rows: usize,
        width: usize,
    },
}

fn kernels(isa: Isa, shapes: &[KernelShape], rows: &[usize]) -> Vec<Case> {
    let storages = storages(isa);
    let mut all = Vec::new();
    for shape in shapes {
        match *shape {
            KernelShape::Product { name, outputs, inputs, activation, gated, .. } => {
                for &rows in rows {
                    for storage in storages.into_iter().chain(WIDENED) {
                        let name = format!("product {name} {}x{outputs}x{inputs}", rows);
                        let work = Work::Product { rows, outputs, inputs, activation, gated };
                        all.push(Case { name, storage, work });
                        let name = format!("bare product {rows}x{outputs}x{inputs}");
                        all.push(Case { name, storage, work: Work::BareProduct { rows, outputs, inputs } });
                    }
                }
                let rows = 128;
                for storage in &storages[1..] {
                    let name = format!("encode {rows}x{inputs}");
                    let work = Work::Encode { rows, width: inputs };
                    all.push(Case { name, storage: *storage, work });
                }
                if activation != Activation::Identity {
                    let name = format!("activation {activation:?} {rows}x{outputs}");
                    let work = Work::Activation { rows, width: outputs, activation };
                    all.push(Case { name, storage: storages[0], work });
                }
                let work = Work::LayerNorm { rows, width: inputs };
                all.push(Case { name: format!("layer_norm {rows}x{inputs}"), storage: storages[0], work });
            }
            KernelShape::Attention { heads, kv_heads, head_dim, .. } => {
                for &tokens in rows {
                    // In bf16 where that is faster: else it is computed in f32 whatever the weights are.
                    for storage in &storages[..if isa.has_fast_bf16() { 2 } else { 1 }] {
                        let name = format!("attention {tokens} tokens, {heads} heads of {head_dim}");
                        let work = Work::Attention { tokens, heads, kv_heads, head_dim };
                        all.push(Case { name, storage: *storage, work });
                    }
                }
            }
            _ => {}
        }
    }
    let mut names = std::collections::HashSet::new();
    all.retain(|kernel| names.insert((kernel.name.clone(), kernel.storage.1)));
    all
}

impl Case {
    /// Checks a few results against f64 arithmetic, then takes the time.
    fn measure(&self, isa: Isa) -> Outcome<Point> {
        let (storage, storage_name) = self.storage;
        let stopwatch = Stopwatch { isa, storage };
        let (timing, operations, bytes, error) = match self.work {
            Work::Product { rows, outputs, inputs, activation, gated } => {
                product(stopwatch, (rows, outputs, inputs), activation, gated)
            }
            Work::BareProduct { rows, outputs, inputs } => bare_product(stopwatch, rows, outputs, inputs),
            Work::Attention { tokens, heads, kv_heads, head_dim } => {
                attention_of_heads(stopwatch, tokens, (heads, kv_heads, head_dim))
            }
            Work::LayerNorm { rows, width } => {
                let (weight, bias) = (values(1, width), values(2, width));
                let exact = |row: &[f32]| exact_layer_norm(row, &weight, &bias);
                each_row(stopwatch, rows, width, exact, |row, out| {
                    let (row, out) =
                        (Matrix::new(row, 1, width, width), MatrixMut::new(out, 1, width, width));
                    layer_norm(isa, row, &weight, &bias, 1e-5, out);
                })
            }
            Work::Activation { rows, width, activation } => {
                let exact =
                    |row: &[f32]| row.iter().map(|&x| exact_activation(activation, x.into())).collect();
                each_row(stopwatch, rows, width, exact, |row, out| {
                    out.copy_from_slice(row);
                    activate(isa, activation, out);
                })
            }
            Work::Encode { rows, width } => {
                let mut lanes = vec![0.0; storage.of_rows().stored_lanes(width)];
                let (timing, operations, ..) = each_row(
                    stopwatch,
                    rows,
                    width,
                    |_| Vec::new(),
                    |row, _| {
                        encode_row(isa, storage, row, &mut lanes);
                    },
                );
                let bytes = (size_of::<f32>() * rows * (width + lanes.len())) as f64;
                let row = values(6, width);
                encode_row(isa, storage, &row, &mut lanes);
                (timing, operations, bytes, max_error(&decoded(storage, &lanes), &row))
            }
        };
        let allowed = match storage {
            Storage::F32 => 1e-4,
            Storage::F16Weights => 2e-3,
            Storage::Bf16Weights | Storage::Bf16Widened | Storage::Bf16 => 2e-2,
            Storage::Int8 => 5e-2,
        };
        if error.is_nan() || error > allowed {
            return Err(Failure::Failed(format!(
                "{} in {storage_name} on {}: wrong by {error:e} of the largest result, allowed {allowed:e}",
                self.name,
                isa.name()
            )));
        }
        let Timing { seconds, peak } = timing;
        Ok(Point { name: self.name.clone(), storage: storage_name, seconds, operations, bytes, peak, error })
    }
}

/// The same values at the start of a cache line, where the engine has its own.
fn aligned(values: &[f32]) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(values.len());
    buffer.as_mut_slice().copy_from_slice(values);
    buffer
}

/// Time, operations, bytes, and the largest error of some results, as a share of the largest result.
type Measured = (Timing, f64, f64, f64);

fn product(
    stopwatch: Stopwatch,
    (rows, outputs, inputs): (usize, usize, usize),
    activation: Activation,
    gated: bool,
) -> Measured {
    let Stopwatch { isa, storage } = stopwatch;
    let x = aligned(&values(1, rows * inputs));
    let (x, w, g) = (x.as_slice(), values(2, outputs * inputs), values(3, outputs * inputs));
    let pack = |w: &[f32]| PackedWeights::pack(isa, storage, Matrix::new(w, outputs, inputs, inputs));
    let (weights, gate) = (pack(&w), gated.then(|| pack(&g)));
    let bias = values(4, outputs);
    let gate_of = |gate| (gate, &bias[..]);
    let epilogue =
        Epilogue { bias: &bias, activation, gate: gate.as_ref().map(gate_of), ..Epilogue::default() };
    let mut out = AlignedBuffer::zeroed(rows * outputs);
    let out = out.as_mut_slice();
    let mut scratch = GemmScratch::default();
    let mut run = |epilogue: &Epilogue<'_>, out: &mut [f32]| {
        let view = MatrixMut::new(out, rows, outputs, outputs);
        gemm(
            isa,
            Matrix::new(x, rows, inputs, inputs),
            &weights,
            0..weights.panels(),
            epilogue,
            view,
            &mut scratch,
        );
    };
    // The product itself is checked; what activations do, the tests check.
    run(&Epilogue::default(), out);
    let error = product_error((x, &w, out), rows, outputs, inputs);
    let timing = stopwatch.time(TIME, || run(&epilogue, out));
    let matrices = if gated { 2.0 } else { 1.0 };
    let operations = 2.0 * matrices * (rows * outputs * inputs) as f64;
    let bytes = matrices * weights.bytes() as f64 + (size_of::<f32>() * (rows * (inputs + outputs))) as f64;
    (timing, operations, bytes, error)
}

fn bare_product(stopwatch: Stopwatch, rows: usize, outputs: usize, inputs: usize) -> Measured {
    let Stopwatch { isa, storage } = stopwatch;
    let (x, w) = (values(1, rows * inputs), values(2, outputs * inputs));
    let weights = PackedWeights::pack(isa, storage, Matrix::new(&w, outputs, inputs, inputs));
    let lanes = storage.of_rows().stored_lanes(inputs);
    let mut encoded = AlignedBuffer::zeroed(rows * lanes);
    let encoded = encoded.as_mut_slice();
    for (x, encoded) in x.chunks_exact(inputs).zip(encoded.chunks_exact_mut(lanes)) {
        encode_row(isa, storage, x, encoded);
    }
    let bias = values(4, outputs);
    let mut out = AlignedBuffer::zeroed(rows * outputs);
    let out = out.as_mut_slice();
    let run = |bias: &[f32], out: &mut [f32]| {
        let epilogue = Epilogue { bias, ..Epilogue::default() };
        let (x, out) =
            (Matrix::new(encoded, rows, lanes, lanes), MatrixMut::new(out, rows, outputs, outputs));
        gemm_of_encoded(isa, x, &weights, 0..weights.panels(), &epilogue, out);
    };
    run(&[], out);
    let error = product_error((&x, &w, out), rows, outputs, inputs);
    let timing = stopwatch.time(TIME, || run(&bias, out));
    let bytes = weights.bytes() as f64 + (size_of::<f32>() * rows * (lanes + outputs)) as f64;
    (timing, 2.0 * (rows * outputs * inputs) as f64, bytes, error)
}

/// The largest error of some results of `out = x · Wᵀ`.
fn product_error((x, w, out): (&[f32], &[f32], &[f32]), rows: usize, outputs: usize, inputs: usize) -> f64 {
    let places = (0..64).map(|i| (i * 7 % rows, i * 31 % outputs));
    let dot = |(r, o): (usize, usize)| -> f64 {
        let row = x[r * inputs..][..inputs].iter().zip(&w[o * inputs..][..inputs]);
        row.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let exact: Vec<f64> = places.clone().map(dot).collect();
    let got: Vec<f32> = places.map(|(r, o)| out[r * outputs + o]).collect();
    max_error(&exact, &got)
}

fn attention_of_heads(
    stopwatch: Stopwatch,
    tokens: usize,
    (heads, kv_heads, head_dim): (usize, usize, usize),
) -> Measured {
    let Stopwatch { isa, storage } = stopwatch;
    let columns = (heads + 2 * kv_heads) * head_dim;
    let qkv = aligned(&values(5, tokens * columns));
    let qkv = Matrix::new(qkv.as_slice(), tokens, columns, columns);
    let head_of = |head: usize| qkv.column_range(head * head_dim, head_dim);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let parameters = Attention { before: None, after: None, bias: &[], pairs: None };
    let mut out = AlignedBuffer::zeroed(tokens * heads * head_dim);
    let out = out.as_mut_slice();
    let (mut panels, mut scratch) = (KeyValuePanels::default(), AttentionScratch::default());
    let mut run = |out: &mut [f32]| {
        let mut rest = MatrixMut::new(out, tokens, heads * head_dim, heads * head_dim);
        for head in 0..heads {
            let kv_head = head * kv_heads / heads;
            if head == 0 || kv_head != (head - 1) * kv_heads / heads {
                let (keys, values) = (head_of(heads + kv_head), head_of(heads + kv_heads + kv_head));
                panels.pack(isa, storage, scale, keys, values);
            }
            let (part, others) = rest.split_columns(head_dim);
            rest = others;
            attention(isa, head_of(head), 0, &panels, &parameters, part, &mut scratch);
        }
    };
    run(out);
    // The first value of the first head's last query.
    let (query, keys, value) = (head_of(0).row(tokens - 1), head_of(heads), head_of(heads + kv_heads));
    let weights: Vec<f64> = (0..tokens)
        .map(|t| {
            let score: f64 = query.iter().zip(keys.row(t)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            (score * f64::from(scale)).exp()
        })
        .collect();
    let sum: f64 = weights.iter().enumerate().map(|(t, weight)| weight * f64::from(value.row(t)[0])).sum();
    let exact = sum / weights.iter().sum::<f64>();
    let error = (f64::from(out[(tokens - 1) * heads * head_dim]) - exact).abs();
    let timing = stopwatch.time(TIME, || run(out));
    let operations = 4.0 * (tokens * tokens * heads * head_dim) as f64;
    let bytes = (size_of::<f32>() * tokens * (columns + heads * head_dim)) as f64;
    (timing, operations, bytes, error)
}

/// A kernel that makes a row of each row. Its arithmetic is little: it is measured in bytes. The first row is
/// held against what is exact; an empty list is not.
fn each_row(
    stopwatch: Stopwatch,
    rows: usize,
    width: usize,
    exact: impl Fn(&[f32]) -> Vec<f64>,
    mut change: impl FnMut(&[f32], &mut [f32]),
) -> Measured {
    let (input, mut out) = (aligned(&values(6, rows * width)), AlignedBuffer::zeroed(rows * width));
    let (input, out) = (input.as_slice(), out.as_mut_slice());
    let timing = stopwatch.time(TIME, || {
        for (row, out) in input.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            change(row, out);
        }
    });
    let error = max_error(&exact(&input[..width]), &out[..width]);
    let values = (rows * width) as f64;
    (timing, values, 2.0 * size_of::<f32>() as f64 * values, error)
}

/// The largest difference, as a share of the largest value; NaN if one is.
fn max_error(exact: &[f64], got: &[f32]) -> f64 {
    let max = exact.iter().fold(f64::MIN_POSITIVE, |max, value| max.max(value.abs()));
    let errors = exact.iter().zip(got).map(|(exact, &got)| (exact - f64::from(got)).abs() / max);
    errors.fold(0.0, |worst, error| if error <= worst { worst } else { error })
}

fn exact_layer_norm(row: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let count = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance + 1e-5).sqrt();
    let parameters = weight.iter().zip(bias);
    let normal = |(&x, (&w, &b)): (&f32, (&f32, &f32))| {
        (f64::from(x) - mean) / deviation * f64::from(w) + f64::from(b)
    };
    row.iter().zip(parameters).map(normal).collect()
}

fn exact_activation(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::GeluErf => 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Rare(rare) => rare.of(x as f32).into(),
    }
}

/// The values that an encoded row stands for.
fn decoded(storage: Storage, lanes: &[f32]) -> Vec<f64> {
    let bf16 = |bits: u32| f64::from(f32::from_bits(bits << 16));
    match storage.of_rows() {
        Storage::F32 | Storage::F16Weights | Storage::Bf16Weights | Storage::Bf16Widened => {
            lanes.iter().map(|&lane| lane.into()).collect()
        }
        Storage::Bf16 => lanes
            .iter()
            .flat_map(|lane| [bf16(lane.to_bits() & 0xffff), bf16(lane.to_bits() >> 16)])
            .collect(),
        Storage::Int8 => {
            let (values, scale_and_zero) = lanes.split_at(lanes.len() - 2);
            let (scale, zero) = (f64::from(scale_and_zero[0]), f64::from(scale_and_zero[1].to_bits()));
            let bytes = values.iter().flat_map(|lane| lane.to_bits().to_le_bytes());
            bytes.map(|byte| (f64::from(byte) - zero) * scale).collect()
        }
    }
}

fn describe(isa: Isa, peaks: &Peaks) -> String {
    let mut text = format!("one core, {}\n\narithmetic, G multiply-adds/s\n", isa.name());
    for ((storage, name), (_, peak)) in storages(isa).iter().zip(&peaks.arithmetic) {
        text += &format!("  {name:5} {:8.1}  {}\n", peak / 2e9, isa.product(*storage));
    }
    text += "\nreading, GB/s\n";
    for (name, _, bandwidth) in &peaks.memory {
        text += &format!("  {name:8} {:6.1}\n", bandwidth / 1e9);
    }
    text += &format!(
        "\n{:<48} {:8} {:>10} {:>9} {:>8} {:>8}\n",
        "kernel", "", "µs", "GMAC/s", "of peak", "of roof"
    );
    text
}

fn line(point: &Point, peaks: &Peaks) -> String {
    let rate = point.operations / point.seconds;
    let (peak, roof) = (point.share(), rate / peaks.bound(point));
    let Point { name, storage, seconds, .. } = point;
    if point.is_elementwise() {
        let bandwidth = point.bytes / seconds;
        let of_memory = bandwidth / peaks.bandwidth(point.bytes);
        return format!(
            "{name:<48} {storage:8} {:>10.1} {:>9.1} GB/s {:>12.0} %\n",
            seconds * 1e6,
            bandwidth / 1e9,
            of_memory * 100.0
        );
    }
    format!(
        "{name:<48} {storage:8} {:>10.1} {:>9.1} {:>6.0} % {:>6.0} %\n",
        seconds * 1e6,
        rate / 2e9,
        peak * 100.0,
        roof * 100.0
    )
}

fn report(isa: Isa, peaks: &Peaks, points: &[Point]) -> serde_json::Value {
    json!({
        "taskvec": env!("CARGO_PKG_VERSION"),
        "instruction_set": isa.name(),
        "threads": 1,
        "peaks": {
            "operations_per_second": peaks.arithmetic.iter().map(|(name, peak)| json!({"storage": name, "value": peak})).collect::<Vec<_>>(),
            "bytes_per_second": peaks.memory.iter().map(|(_, size, value)| json!({"bytes": size, "value": value})).collect::<Vec<_>>(),
        },
        "kernels": points.iter().map(|point| json!({
            "name": point.name,
            "storage": point.storage,
            "seconds": point.seconds,
            "operations": point.operations,
            "bytes": point.bytes,
            "peak": point.peak,
            "share_of_peak": point.share(),
            "share_of_roof": point.operations / point.seconds / peaks.bound(point),
            "error": point.error,
        })).collect::<Vec<_>>(),
    })
}
