// A norm over each head of some columns of each row, in place; formulas as in norm.wgsl. Then, for the
// heads that have one, rotary position embedding as in rotary.wgsl. One workgroup a head.
//
// Neighbouring runs of heads with norms of their own (queries and keys) are one dispatch. Joined with
// reduce.wgsl.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    width: u32,        // of a row
    first_column: u32, // of the first head
    first_heads: u32,  // heads of the first norm
    heads: u32,        // of both
    head_dim: u32,
    layer_norm: u32,   // else RMSNorm
    has_bias: u32,     // the first norm's; the second has none where this is 0
    first_eps: f32,
    second_eps: f32,
    rotates: u32,      // 0: no rotary embedding, 1: angles by position, 2: by token of the batch
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;     // [tokens] start of the token's text, end of its keys, type
@group(0) @binding(3) var<storage, read> weight: array<f32>;          // [2, head_dim] of both norms
@group(0) @binding(4) var<storage, read> bias: array<f32>;            // [2, head_dim]
@group(0) @binding(5) var<storage, read> angles: array<vec2<f32>>;    // [positions, head_dim / 2] cos and sin
@group(0) @binding(6) var<storage, read_write> values: array<value>;  // [tokens, width]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.y * groups.x + group.x;
    let t = index / params.heads;
    if t >= batch.tokens {
        return;
    }
    let head = index % params.heads;
    let second = select(0u, 1u, head >= params.first_heads);
    let first = t * params.width + params.first_column + head * params.head_dim;
    let count = f32(params.head_dim);
    var mean = 0.0;
    if params.layer_norm != 0u {
        var sum = 0.0;
        for (var d = thread; d < params.head_dim; d += THREADS) {
            sum += f32(values[first + d]);
        }
        mean = sum_of_all(sum, thread) / count;
    }
    var squares = 0.0;
    for (var d = thread; d < params.head_dim; d += THREADS) {
        let centred = f32(values[first + d]) - mean;
        squares += centred * centred;
    }
    let eps = select(params.first_eps, params.second_eps, second != 0u);
    let scale = 1.0 / sqrt(sum_of_all(squares, thread) / count + eps);
    let parameters = second * params.head_dim;
    if params.rotates == 0u {
        for (var d = thread; d < params.head_dim; d += THREADS) {
            values[first + d] = value(normed(first, d, parameters, mean, scale));
        }
        return;
    }
    // A thread has both halves of a pair: nobody else reads what it writes.
    let half_dim = params.head_dim / 2u;
    let place = select(t - spans[t].x, t, params.rotates == 2u);
    for (var i = thread; i < half_dim; i += THREADS) {
        let a = normed(first, i, parameters, mean, scale);
        let b = normed(first, i + half_dim, parameters, mean, scale);
        let angle = angles[place * half_dim + i];
        values[first + i] = value(a * angle.x - b * angle.y);
        values[first + half_dim + i] = value(b * angle.x + a * angle.y);
    }
}

fn normed(first: u32, d: u32, parameters: u32, mean: f32, scale: f32) -> f32 {
    var result = (f32(values[first + d]) - mean) * scale * weight[parameters + d];
    if params.has_bias != 0u {
        result += bias[parameters + d];
    }
    return result;
}
