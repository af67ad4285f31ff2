// A short convolution along each text, gated on both sides:
//   out[t] = C[t] ⊙ Σⱼ taps[j] ⊙ B[t'] ⊙ X[t']  with t' = t - before + j, over those that are in t's text.
// One thread a value.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    hidden: u32,
    taps: u32,
    before: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;     // [tokens] start of the token's text, end of its keys, type
@group(0) @binding(3) var<storage, read> taps: array<f32>;            // [hidden, taps]
@group(0) @binding(4) var<storage, read> parts: array<value>;         // [tokens, 3 · hidden] B, C and X
@group(0) @binding(5) var<storage, read_write> out: array<value>;     // [tokens, hidden]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + thread;
    let d = index % params.hidden;
    let t = index / params.hidden;
    if t >= batch.tokens {
        return;
    }
    let width = 3u * params.hidden;
    let start = spans[t].x;
    var sum = 0.0;
    for (var j = 0u; j < params.taps; j++) {
        // Before its text there is another one, and behind it too: a token's text is told by its start.
        if t + j < start + params.before || t + j - params.before >= batch.tokens {
            continue;
        }
        let other = t + j - params.before;
        if spans[other].x == start {
            let first = other * width + d;
            sum += taps[d * params.taps + j] * (f32(parts[first]) * f32(parts[first + 2u * params.hidden]));
        }
    }
    out[index] = value(f32(parts[t * width + params.hidden + d]) * sum);
}
