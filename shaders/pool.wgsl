// The hidden states of each text to one row, by one mode; several modes are several dispatches
// that write side by side. A thread has four columns at once, 64 apart, so that it goes through the tokens a
// quarter as often. Rows of texts are f32 in any precision. Joined with reduce.wgsl.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    width: u32,        // of the hidden states
    out_width: u32,
    first_column: u32, // of this mode's result
    mode: u32,
    normalize: u32,    // each row is then divided by max(‖row‖, 1e-12)
    groups: u32,       // workgroups that share a text's columns; 1 where the row is normalized
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> texts: array<vec4<u32>>;  // [texts] start, end, first pooled token
@group(0) @binding(3) var<storage, read> hidden: array<value>;     // [tokens, width]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;    // [texts, out_width]

const COLUMNS: u32 = 4u * THREADS; // of a workgroup at once

const CLS: u32 = 0u;
const MAX: u32 = 1u;
const MEAN: u32 = 2u;
const MEAN_SQRT_LEN: u32 = 3u;
const WEIGHTED_MEAN: u32 = 4u;
const LAST_TOKEN: u32 = 5u;
const SPLADE: u32 = 6u; // + 1: the logarithm twice, + 2: the sum

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.y * groups.x + group.x;
    let text = index / params.groups;
    if text >= batch.texts {
        return;
    }
    let span = texts[text];
    let first = text * params.out_width + params.first_column;
    var squares = 0.0;
    let start = index % params.groups * COLUMNS + thread;
    for (var c = start; c < params.width; c += params.groups * COLUMNS) {
        let results = pooled(span.x, span.y, span.z, c);
        for (var i = 0u; i < 4u; i++) {
            if c + i * THREADS < params.width {
                out[first + c + i * THREADS] = results[i];
                squares += results[i] * results[i];
            }
        }
    }
    if params.normalize != 0u {
        let norm = max(sqrt(sum_of_all(squares, thread)), 1e-12);
        for (var c = thread; c < params.width; c += THREADS) {
            out[first + c] /= norm; // what this thread wrote
        }
    }
}

// Of columns `column`, + 64, + 128 and + 192.
fn pooled(start: u32, end: u32, first: u32, column: u32) -> vec4<f32> {
    if params.mode == CLS {
        return four_columns(first, column);
    }
    if params.mode == LAST_TOKEN {
        return four_columns(end - 1u, column);
    }
    if params.mode >= SPLADE {
        return splade(first, end, column);
    }
    var result = four_columns(first, column);
    var total = 1.0;
    if params.mode == WEIGHTED_MEAN {
        total = f32(first - start + 1u);
        result *= total;
    }
    for (var t = first + 1u; t < end; t++) {
        let next = four_columns(t, column);
        if params.mode == MAX {
            // Written so that NaN wins.
            result = select(next, result, next <= result);
        } else if params.mode == WEIGHTED_MEAN {
            let weight = f32(t - start + 1u);
            result += weight * next;
            total += weight;
        } else {
            result += next;
            total += 1.0;
        }
    }
    if params.mode == MAX {
        return result;
    }
    return result / select(total, sqrt(total), params.mode == MEAN_SQRT_LEN);
}

// Columns after the last are read as the last, and left.
fn four_columns(token: u32, column: u32) -> vec4<f32> {
    let columns = vec4<u32>(column) + vec4<u32>(0u, THREADS, 2u * THREADS, 3u * THREADS);
    let at = token * params.width + min(columns, vec4<u32>(params.width - 1u));
    return vec4<f32>(f32(hidden[at.x]), f32(hidden[at.y]), f32(hidden[at.z]), f32(hidden[at.w]));
}

// max or sum over tokens of ln(1 + max(x, 0)), or of the logarithm taken twice.
fn splade(first: u32, end: u32, column: u32) -> vec4<f32> {
    let twice = (params.mode & 1u) != 0u;
    let sum = params.mode >= SPLADE + 2u;
    var result = vec4<f32>();
    for (var t = first; t < end; t++) {
        let weight = logarithm(four_columns(t, column), twice);
        // Written so that NaN wins.
        let larger = select(weight, result, weight <= result);
        result = select(larger, result + weight, vec4<bool>(sum));
    }
    return result;
}

fn logarithm(logit: vec4<f32>, twice: bool) -> vec4<f32> {
    let once = log1p(select(logit, vec4<f32>(), logit < vec4<f32>()));
    return select(once, log1p(once), vec4<bool>(twice));
}

// ln(1 + x) for x >= 0. The built-in log may be off by 2^-21 next to 1: up to x = 1 it is the series of
// 2 artanh(x / (2 + x)), to rounding.
fn log1p(x: vec4<f32>) -> vec4<f32> {
    let s = x / (2.0 + x);
    let q = s * s;
    var p = vec4<f32>(1.0 / 13.0);
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 1.0 / 5.0;
    p = p * q + 1.0 / 3.0;
    let near = 2.0 * (p * q * s + s);
    return select(log(1.0 + x), near, x <= vec4<f32>(1.0));
}
