//! Every kernel on every instruction set of this CPU, against scalar f64 code, over random sizes:
//! tails, single rows and columns, strided views.

mod common;

use common::values;
use proptest::prelude::*;
use std::ops::Range;
use taskvec_kernels::*;

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::GeluErf => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
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

fn any_activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Identity),
        Just(Activation::GeluErf),
        Just(Activation::GeluTanh),
        Just(Activation::Silu),
        Just(Activation::Relu),
        Just(Activation::Tanh),
    ]
}

/// `|got - want| <= bound`, saying where not.
fn close(got: f32, want: f64, bound: f64, place: impl std::fmt::Debug) -> Result<(), TestCaseError> {
    let difference = (f64::from(got) - want).abs();
    prop_assert!(difference <= bound, "{place:?}: {got} not {want}, off by {difference:e}");
    Ok(())
}

/// `x · Wᵀ`, or `(x · Gᵀ) ⊙ (x · Wᵀ)`, and that its last row has the same bits by itself, as has the product of rows
/// that were encoded before.
fn run_gemm(
    isa: Isa,
    storage: Storage,
    x: &[f32],
    rows: usize,
    weights: &[f32],
    gate: Option<&Vec<f32>>,
    outputs: usize,
) -> Vec<f32> {
    let inputs = x.len() / rows;
    let pack =
        |weights: &[f32]| PackedWeights::pack(isa, storage, Matrix::new(weights, outputs, inputs, inputs));
    let (weights, gate) = (pack(weights), gate.map(|gate| pack(gate)));
    let epilogue = Epilogue { gate: gate.as_ref().map(|gate| (gate, &[][..])), ..Epilogue::default() };
    let mut scratch = GemmScratch::default();
    let mut run = |x: &[f32]| {
        let rows = x.len() / inputs;
        let mut out = vec![f32::NAN; rows * outputs];
        let view = MatrixMut::new(&mut out, rows, outputs, outputs);
        let x = Matrix::new(x, rows, inputs, inputs);
        gemm(isa, x, &weights, 0..weights.panels(), &epilogue, view, &mut scratch);
        out
    };
    let all = run(x);
    let alone = run(&x[(rows - 1) * inputs..]);
    assert_eq!(&all[(rows - 1) * outputs..], alone.as_slice(), "{isa:?}");

    let lanes = storage.of_rows().stored_lanes(inputs);
    let mut encoded = vec![0.0; rows * lanes];
    for (row, encoded) in x.chunks_exact(inputs).zip(encoded.chunks_exact_mut(lanes)) {
        encode_row(isa, storage, row, encoded);
    }
    let mut of_encoded = vec![f32::NAN; rows * outputs];
    let view = MatrixMut::new(&mut of_encoded, rows, outputs, outputs);
    let encoded = Matrix::new(&encoded, rows, lanes, lanes);
    gemm_of_encoded(isa, encoded, &weights, 0..weights.panels(), &epilogue, view);
    assert_eq!(of_encoded, all, "{isa:?}");
    all
}

struct QuantizedRow {
    values: Vec<i32>,
    scale: f32,
    zero: i32,
}

/// The row's extent, 0 included, in 255 steps.
fn quantized_row(row: &[f32]) -> QuantizedRow {
    let low = row.iter().copied().fold(0.0, f32::min);
    let high = row.iter().copied().fold(0.0, f32::max);
    if low == high {
        return QuantizedRow { values: vec![0; row.len()], scale: 0.0, zero: 0 };
    }
    let steps = 255.0 / (high - low);
    let zero = (-low * steps).round_ties_even();
    let quantize = |value: &f32| (value * steps + zero).round_ties_even().clamp(0.0, 255.0) as i32;
    QuantizedRow {
        values: row.iter().map(quantize).collect(),
        scale: (high - low) / 255.0,
        zero: zero as i32,
    }
}

/// -127..=127 and the scale.
fn quantized_weights(row: &[f32]) -> (Vec<i32>, f32) {
    let scale = row.iter().fold(0.0f32, |largest, w| largest.max(w.abs())) / 127.0;
    let quantize = |weight: &f32| if scale == 0.0 { 0 } else { (weight / scale).round_ties_even() as i32 };
    (row.iter().map(quantize).collect(), scale)
}

/// The largest size that is tried; Miri interprets each step.
fn most(size: usize) -> usize {
    if cfg!(miri) { size.min(14) } else { size }
}

/// Rows, outputs and inputs of a product.
fn sizes(rows: Range<usize>, outputs: usize, inputs: usize) -> impl Strategy<Value = (usize, usize, usize)> {
    (rows.start..most(rows.end), 1..most(outputs), 1..most(inputs))
}

const CASES: u32 = if cfg!(miri) { 2 } else { 96 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gemm_with_its_epilogue(
        (rows, outputs, inputs) in sizes(1..40, 150, 70),
        seed in any::<u64>(),
        activation in any_activation(),
        (has_bias, has_gate, has_factor, has_residual) in any::<(bool, bool, bool, bool)>(),
        padding in 0usize..5,
        split in any::<prop::sample::Index>(),
    ) {
        let stride = inputs + padding;
        let x = values(seed, rows * stride);
        let w = values(seed ^ 1, outputs * inputs);
        let g = values(seed ^ 2, outputs * inputs);
        let bias = if has_bias { values(seed ^ 3, outputs) } else { Vec::new() };
        let gate_bias = if has_bias { values(seed ^ 4, outputs) } else { Vec::new() };
        let residual = values(seed ^ 5, rows * outputs);
        let factor = values(seed ^ 6, rows * outputs);
        let x = Matrix::new(&x, rows, inputs, stride);
        let dot = |r: usize, weights: &[f32], bias: &[f32], o: usize| -> f64 {
            let row = &weights[o * inputs..][..inputs];
            let sum: f64 = x.row(r).iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            sum + bias.get(o).map_or(0.0, |b| f64::from(*b))
        };
        for isa in Isa::available() {
            let packed = PackedWeights::pack(isa, Storage::F32, Matrix::new(&w, outputs, inputs, inputs));
            let gate = PackedWeights::pack(isa, Storage::F32, Matrix::new(&g, outputs, inputs, inputs));
            let epilogue = Epilogue {
                bias: &bias,
                activation,
                gate: has_gate.then_some((&gate, gate_bias.as_slice())),
                factor: has_factor.then(|| Matrix::new(&factor, rows, outputs, outputs)),
                residual: has_residual.then(|| Matrix::new(&residual, rows, outputs, outputs)),
            };
            // The columns in two parts, as two threads would compute them.
            let mut out = vec![f32::NAN; rows * outputs];
            let at = split.index(packed.panels() + 1);
            let columns = (at * isa.panel_columns()).min(outputs);
            let (left, right) = MatrixMut::new(&mut out, rows, outputs, outputs).split_columns(columns);
            let mut scratch = GemmScratch::default();
            gemm(isa, x, &packed, 0..at, &epilogue, left, &mut scratch);
            if at < packed.panels() {
                gemm(isa, x, &packed, at..packed.panels(), &epilogue, right, &mut scratch);
            }
            for r in 0..rows {
                for o in 0..outputs {
                    let sum = dot(r, &w, &bias, o);
                    let mut want = if has_gate {
                        sum * activated(activation, dot(r, &g, &gate_bias, o))
                    } else {
                        activated(activation, sum)
                    };
                    if has_factor {
                        want *= f64::from(factor[r * outputs + o]);
                    }
                    if has_residual {
                        want += f64::from(residual[r * outputs + o]);
                    }
                    // Rounding of `inputs` products, times the gate.
                    let bound = 4e-7 * (inputs as f64).sqrt() * (2.0 + sum.abs()) * (2.0 + want.abs());
                    close(out[r * outputs + o], want, bound, (isa, r, o))?;
                }
            }
        }
    }

    /// Against f64 products of the same rounded values: only the order of the sums differs.
    #[test]
    fn gemm_of_bf16(
        (rows, outputs, inputs) in sizes(1..40, 150, 90),
        seed in any::<u64>(),
        has_gate in any::<bool>(),
    ) {
        let (x, w, g) = (values(seed, rows * inputs), values(seed ^ 1, outputs * inputs), values(seed ^ 2, outputs * inputs));
        let bf16 = |v: f32| f64::from(half::bf16::from_f32(v).to_f32());
        let dot = |r: usize, weights: &[f32], o: usize| -> f64 {
            (0..inputs).map(|i| bf16(x[r * inputs + i]) * bf16(weights[o * inputs + i])).sum()
        };
        for isa in Isa::available() {
            let out = run_gemm(isa, Storage::Bf16, &x, rows, &w, has_gate.then_some(&g), outputs);
            for r in 0..rows {
                for o in 0..outputs {
                    let sum = dot(r, &w, o);
                    let want = if has_gate { sum * dot(r, &g, o) } else { sum };
                    let bound = 4e-7 * (inputs as f64).sqrt() * (2.0 + sum.abs()) * (2.0 + want.abs());
                    close(out[r * outputs + o], want, bound, (isa, r, o))?;
                }
            }
        }
    }

    /// Weights that are kept in 16 bits give the bits that they give as f32.
    #[test]
    fn gemm_of_widened_weights(
        (rows, outputs, inputs) in sizes(1..40, 150, 90),
        seed in any::<u64>(),
        has_gate in any::<bool>(),
    ) {
        let (x, w, g) = (values(seed, rows * inputs), values(seed ^ 1, outputs * inputs), values(seed ^ 2, outputs * inputs));
        let as_f16 = |v: &f32| half::f16::from_f32(*v).to_f32();
        let as_bf16 = |v: &f32| half::bf16::from_f32(*v).to_f32();
        let rounded = |storage: Storage, values: &[f32]| -> Vec<f32> {
            if storage == Storage::F16Weights { values.iter().map(as_f16).collect() } else { values.iter().map(as_bf16).collect() }
        };
        for isa in Isa::available() {
            for storage in [Storage::F16Weights, Storage::Bf16Weights] {
                let (w_rounded, g_rounded) = (rounded(storage, &w), rounded(storage, &g));
                let want = run_gemm(isa, Storage::F32, &x, rows, &w_rounded, has_gate.then_some(&g_rounded), outputs);
                let got = run_gemm(isa, storage, &x, rows, &w, has_gate.then_some(&g), outputs);
                prop_assert_eq!(got, want, "{:?} {:?}", isa, storage);
            }
        }
    }

    /// Numbers rounded to bf16, widened and multiplied as f32: the bits of f32 over the rounded numbers.
    #[test]
    fn gemm_of_bf16_that_is_widened(
        (rows, outputs, inputs) in sizes(1..80, 150, 90),
        seed in any::<u64>(),
        has_gate in any::<bool>(),
    ) {
        let (x, w, g) = (values(seed, rows * inputs), values(seed ^ 1, outputs * inputs), values(seed ^ 2, outputs * inputs));
        let rounded = |values: &[f32]| -> Vec<f32> {
            values.iter().map(|v| half::bf16::from_f32(*v).to_f32()).collect()
        };
        let (x_rounded, w_rounded, g_rounded) = (rounded(&x), rounded(&w), rounded(&g));
        for isa in Isa::available() {
            let gate = has_gate.then_some(&g_rounded);
            let want = run_gemm(isa, Storage::F32, &x_rounded, rows, &w_rounded, gate, outputs);
            let got = run_gemm(isa, Storage::Bf16Widened, &x, rows, &w, has_gate.then_some(&g), outputs);
            prop_assert_eq!(got, want, "{:?}", isa);
        }
    }

    /// Bit for bit: the sums are integers, and what is left are two products in f32.
    #[test]
    fn gemm_of_int8(
        (rows, outputs, inputs) in sizes(1..40, 150, 90),
        seed in any::<u64>(),
        (shift, range) in (-1f32..1.0, 0.01f32..50.0),
        (has_gate, empty_row) in any::<(bool, bool)>(),
    ) {
        let mut x: Vec<f32> = values(seed, rows * inputs).iter().map(|v| (v + shift) * range).collect();
        let (w, g) = (values(seed ^ 1, outputs * inputs), values(seed ^ 2, outputs * inputs));
        if empty_row {
            x[..inputs].fill(0.0);
        }
        let activations: Vec<QuantizedRow> = x.chunks_exact(inputs).map(quantized_row).collect();
        let dot = |r: usize, weights: &(Vec<i32>, f32)| -> f32 {
            let QuantizedRow { values, scale, zero } = &activations[r];
            let sum: i32 = values.iter().zip(&weights.0).map(|(q, w)| (q - zero) * w).sum();
            sum as f32 * (scale * weights.1)
        };
        let main: Vec<_> = w.chunks_exact(inputs).map(quantized_weights).collect();
        let gate: Vec<_> = g.chunks_exact(inputs).map(quantized_weights).collect();
        for isa in Isa::available() {
            let out = run_gemm(isa, Storage::Int8, &x, rows, &w, has_gate.then_some(&g), outputs);
            for r in 0..rows {
                for o in 0..outputs {
                    let want = dot(r, &main[o]) * if has_gate { dot(r, &gate[o]) } else { 1.0 };
                    prop_assert_eq!(out[r * outputs + o], want, "{:?} {} {}", isa, r, o);
                }
            }
        }
    }

    /// bf16 as the crate `half` rounds it; int8 within a step of the value (half of one, save at the ends).
    #[test]
    fn rows_are_encoded_to_the_nearest(bits in prop::collection::vec(any::<u32>(), 1..70), seed in any::<u64>()) {
        let row: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        let steps = values(seed, bits.len());
        let QuantizedRow { values: want, scale, zero } = quantized_row(&steps);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; Storage::Bf16.stored_lanes(row.len())];
            encode_row(isa, Storage::Bf16, &row, &mut out);
            let halves = out.iter().flat_map(|lane| [lane.to_bits() & 0xffff, lane.to_bits() >> 16]);
            for (got, value) in halves.zip(&row) {
                prop_assert_eq!(got, u32::from(half::bf16::from_f32(*value).to_bits()), "{:?} {}", isa, value);
            }

            let mut out = vec![f32::NAN; Storage::Int8.stored_lanes(steps.len())];
            encode_row(isa, Storage::Int8, &steps, &mut out);
            let bytes: Vec<i32> = out.iter().flat_map(|lane| lane.to_bits().to_le_bytes()).map(i32::from).collect();
            let meaning = &out[out.len() - 2..];
            prop_assert_eq!((meaning[0], meaning[1].to_bits() as i32), (scale, zero));
            prop_assert_eq!(&bytes[..want.len()], want.as_slice());
            for (got, value) in bytes.iter().zip(&steps) {
                let off = ((got - zero) as f32 * scale - value).abs();
                prop_assert!(off <= 1.001 * scale, "{isa:?}: {value} is off by {off}");
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_batch(
        (rows, outputs, inputs) in sizes(2..130, 100, 40),
        seed in any::<u64>(),
        row in any::<prop::sample::Index>(),
    ) {
        let (x, w) = (values(seed, rows * inputs), values(seed ^ 1, outputs * inputs));
        let row = row.index(rows);
        for isa in Isa::available() {
            let packed = PackedWeights::pack(isa, Storage::F32, Matrix::new(&w, outputs, inputs, inputs));
            let epilogue = Epilogue { activation: Activation::GeluErf, ..Epilogue::default() };
            let run = |x: Matrix<'_>| {
                let mut out = vec![0.0; x.rows() * outputs];
                let view = MatrixMut::new(&mut out, x.rows(), outputs, outputs);
                gemm(isa, x, &packed, 0..packed.panels(), &epilogue, view, &mut GemmScratch::default());
                out
            };
            let all = run(Matrix::new(&x, rows, inputs, inputs));
            let alone = run(Matrix::new(&x[row * inputs..][..inputs], 1, inputs, inputs));
            prop_assert_eq!(&all[row * outputs..][..outputs], alone.as_slice(), "{:?} row {}", isa, row);
        }
    }

    #[test]
    fn norms_of_rows(
        rows in 0..4usize,
        width in 1..most(200),
        seed in any::<u64>(),
        shift in -5f32..5.0,
        has_bias in any::<bool>(),
    ) {
        // Rows that lie apart.
        let (stride, to) = (width + 3, width + 1);
        let x: Vec<f32> = values(seed, rows * stride).iter().map(|v| v + shift).collect();
        let weight = values(seed ^ 1, width);
        let bias = if has_bias { values(seed ^ 2, width) } else { Vec::new() };
        let eps = 1e-5;
        let count = width as f64;
        let view = Matrix::new(&x, rows, width, stride);
        for isa in Isa::available() {
            let (mut layer, mut rms) = (vec![0.0; rows * to], vec![0.0; rows * to]);
            layer_norm(isa, view, &weight, &bias, eps, MatrixMut::new(&mut layer, rows, width, to));
            rms_norm(isa, view, &weight, eps, MatrixMut::new(&mut rms, rows, width, to));
            for r in 0..rows {
                let row = view.row(r);
                let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
                let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
                let square = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / count;
                let deviation = (variance + f64::from(eps)).sqrt();
                // Subtracting the mean loses digits where it is large beside the deviation.
                let bound = 2e-6 * (1.0 + f64::from(shift.abs()) / deviation);
                for i in 0..width {
                    let (x, w) = (f64::from(row[i]), f64::from(weight[i]));
                    let b = bias.get(i).map_or(0.0, |b| f64::from(*b));
                    let (layer, rms) = (layer[r * to + i], rms[r * to + i]);
                    close(layer, (x - mean) / deviation * w + b, bound, (isa, "layer", i))?;
                    close(rms, x / (square + f64::from(eps)).sqrt() * w, 2e-6, (isa, "rms", i))?;
                }
            }
        }
    }

    #[test]
    fn rotation_of_a_head(half in 1..most(70), seed in any::<u64>()) {
        let head = values(seed, 2 * half);
        let angles = values(seed ^ 1, half);
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        for isa in Isa::available() {
            let mut rotated = head.clone();
            rotate_half(isa, &mut rotated, &cos, &sin);
            for i in 0..half {
                let (a, b) = (f64::from(head[i]), f64::from(head[i + half]));
                let (c, s) = (f64::from(cos[i]), f64::from(sin[i]));
                close(rotated[i], a * c - b * s, 2e-7, (isa, i))?;
                close(rotated[i + half], b * c + a * s, 2e-7, (isa, i + half))?;
            }
        }
    }

    #[test]
    fn activations_of_a_row(count in 0..most(70), seed in any::<u64>(), activation in any_activation(), range in 0.1f32..30.0) {
        let inputs: Vec<f32> = values(seed, count).iter().map(|v| v * range).collect();
        for isa in Isa::available() {
            let mut got = inputs.clone();
            activate(isa, activation, &mut got);
            for (i, (got, x)) in got.iter().zip(&inputs).enumerate() {
                let want = activated(activation, f64::from(*x));
                close(*got, want, 4e-7 * (1.0 + want.abs()).max(f64::from(x.abs())), (isa, i, x))?;
            }
        }
    }
}

/// All of them: numbers too small to be normal, infinities and NaN included.
#[test]
fn every_half_is_widened_exactly() {
    let halves: Vec<u16> = (0..=u16::MAX).step_by(if cfg!(miri) { 97 } else { 1 }).collect();
    let widened = |storage: Storage, bits: u16| match storage {
        Storage::F16Weights => half::f16::from_bits(bits).to_f32(),
        _ => half::bf16::from_bits(bits).to_f32(),
    };
    for isa in Isa::available() {
        for storage in [Storage::F16Weights, Storage::Bf16Weights] {
            let columns = isa.panel_columns();
            for halves in halves.chunks(columns) {
                let rows: Vec<[[u8; 2]; 1]> = halves.iter().map(|bits| [bits.to_le_bytes()]).collect();
                let size = (rows.len(), 1);
                let mut packed = PackedWeights::zeroed(isa, storage, size, &WeightMemory::with_capacity(0));
                for (panel, outputs) in packed.panels_mut() {
                    pack_panel_of_halves(isa, rows[outputs].iter().map(|row| &row[..]), panel);
                }
                let mut out = vec![f32::NAN; rows.len()];
                let view = MatrixMut::new(&mut out, 1, rows.len(), rows.len());
                let x = Matrix::new(&[1.0], 1, 1, 1);
                gemm(isa, x, &packed, 0..1, &Epilogue::default(), view, &mut GemmScratch::default());
                for (got, bits) in out.iter().zip(halves) {
                    let want = widened(storage, *bits) + 0.0; // as the sum it is, -0 is 0
                    let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                    assert!(same, "{isa:?} {storage:?} {bits:#06x}: {got} not {want}");
                }
            }
        }
    }
}

#[test]
fn halves_are_packed_as_the_numbers_they_are() {
    for isa in Isa::available() {
        for (outputs, inputs) in [(1, 1), (7, 3), (50, 8), (13, 17), (4, 0)] {
            let halves: Vec<half::f16> =
                values(5, outputs * inputs).into_iter().map(half::f16::from_f32).collect();
            let bytes: Vec<[u8; 2]> = halves.iter().map(|half| half.to_le_bytes()).collect();
            let wide: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
            let outputs = outputs.min(isa.panel_columns());
            let len = Storage::F16Weights.stored_lanes(inputs) * isa.panel_columns();
            let (mut of_numbers, mut of_halves) = (vec![f32::NAN; len], vec![f32::NAN; len]);
            let rows = Matrix::new(&wide, outputs, inputs, inputs);
            pack_panel(isa, Storage::F16Weights, rows, &mut of_numbers);
            let rows: Vec<&[[u8; 2]]> = (0..outputs).map(|o| &bytes[o * inputs..][..inputs]).collect();
            pack_panel_of_halves(isa, rows.into_iter(), &mut of_halves);
            let bits = |panel: &[f32]| panel.iter().map(|lane| lane.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(&of_halves), bits(&of_numbers), "{isa:?} {outputs}x{inputs}");
        }
    }
}

#[test]
fn names_and_choice_agree() {
    for isa in Isa::available() {
        assert_eq!(Isa::by_name(isa.name()), Some(isa));
    }
    assert_eq!(Isa::by_name("sse9"), None);
    assert_eq!(Some(&Isa::best()), Isa::available().last());
    // Set where it is known what the CPU has, so that no kernel goes untested there.
    if let Ok(expected) = std::env::var("TASKVEC_EXPECTED_ISA") {
        assert_eq!(Isa::best().name(), expected);
    }
}

/// A value that is not finite is never hidden by quantising it.
#[test]
fn rows_that_are_not_finite_give_nan() {
    for isa in Isa::available() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (place, inputs) in [(0, 1), (5, 16), (17, 40), (39, 40)] {
                let mut x = values(7, inputs);
                x[place] = bad;
                let out = int8_product_with_halves(isa, &x);
                assert!(out.is_nan(), "{isa:?}: {bad} at {place} of {inputs} gives {out}");
            }
        }
    }
}

/// The bias is added to a rounded product, and not in one step where the instruction set has one.
#[test]
fn int8_has_the_same_bits_with_a_bias_everywhere() {
    let (rows, outputs, inputs) = (9, 50, 40);
    let (x, w, bias) = (values(1, rows * inputs), values(2, outputs * inputs), values(3, outputs));
    let results = Isa::available().into_iter().map(|isa| {
        let packed = PackedWeights::pack(isa, Storage::Int8, Matrix::new(&w, outputs, inputs, inputs));
        let mut out = vec![f32::NAN; rows * outputs];
        let view = MatrixMut::new(&mut out, rows, outputs, outputs);
        let epilogue = Epilogue { bias: &bias, ..Epilogue::default() };
        let x = Matrix::new(&x, rows, inputs, inputs);
        gemm(isa, x, &packed, 0..packed.panels(), &epilogue, view, &mut GemmScratch::default());
        (isa, out)
    });
    let results: Vec<(Isa, Vec<f32>)> = results.collect();
    for (isa, out) in &results {
        assert_eq!(out, &results[0].1, "{isa:?}");
    }
}

fn int8_product_with_halves(isa: Isa, x: &[f32]) -> f32 {
    let weights = vec![0.5; x.len()];
    let packed = PackedWeights::pack(isa, Storage::Int8, Matrix::new(&weights, 1, x.len(), x.len()));
    let mut out = [0.0];
    let view = MatrixMut::new(&mut out, 1, 1, 1);
    let x = Matrix::new(x, 1, x.len(), x.len());
    gemm(isa, x, &packed, 0..1, &Epilogue::default(), view, &mut GemmScratch::default());
    out[0]
}
