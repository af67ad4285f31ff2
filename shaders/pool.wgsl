// The hidden states of each text to one row, by one mode; several modes are several dispatches
// that write side by side. One workgroup a text.

struct Batch { tokens: u32, texts: u32 }
struct Params {
    width: u32,        // of the hidden states
    out_width: u32,
    first_column: u32, // of this mode's result
    mode: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> texts: array<vec4<u32>>;  // [texts] start, end, first pooled token
@group(0) @binding(3) var<storage, read> hidden: array<f32>;       // [tokens, width]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;    // [texts, out_width]

const CLS: u32 = 0u;
const MAX: u32 = 1u;
const MEAN: u32 = 2u;
const MEAN_SQRT_LEN: u32 = 3u;
const WEIGHTED_MEAN: u32 = 4u;
const LAST_TOKEN: u32 = 5u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let text = group.y * groups.x + group.x;
    if text >= batch.texts {
        return;
    }
    let span = texts[text];
    for (var c = thread; c < params.width; c += 64u) {
        out[text * params.out_width + params.first_column + c] = pooled(span.x, span.y, span.z, c);
    }
}

fn pooled(start: u32, end: u32, first: u32, column: u32) -> f32 {
    if params.mode == CLS {
        return hidden[first * params.width + column];
    }
    if params.mode == LAST_TOKEN {
        return hidden[(end - 1u) * params.width + column];
    }
    var result = hidden[first * params.width + column];
    var total = 1.0;
    if params.mode == WEIGHTED_MEAN {
        total = f32(first - start + 1u);
        result *= total;
    }
    for (var t = first + 1u; t < end; t++) {
        let value = hidden[t * params.width + column];
        if params.mode == MAX {
            // Written so that NaN wins.
            result = select(value, result, value <= result);
        } else if params.mode == WEIGHTED_MEAN {
            let weight = f32(t - start + 1u);
            result += weight * value;
            total += weight;
        } else {
            result += value;
            total += 1.0;
        }
    }
    if params.mode == MAX {
        return result;
    }
    return result / select(total, sqrt(total), params.mode == MEAN_SQRT_LEN);
}
