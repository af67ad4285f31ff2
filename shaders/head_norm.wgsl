// A norm over each head of some columns of each row, in place; formulas as in norm.wgsl.
// Heads are small: one thread computes one head, so that no barrier is needed.

struct Batch { tokens: u32, texts: u32 }
struct Params {
    width: u32,        // of a row
    first_column: u32, // of the first head
    heads: u32,
    head_dim: u32,
    layer_norm: u32,   // else RMSNorm
    has_bias: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> weight: array<f32>;        // [head_dim]
@group(0) @binding(3) var<storage, read> bias: array<f32>;          // [head_dim]
@group(0) @binding(4) var<storage, read_write> values: array<f32>;  // [tokens, width]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + thread;
    let t = index / params.heads;
    if t >= batch.tokens {
        return;
    }
    let first = t * params.width + params.first_column + (index % params.heads) * params.head_dim;
    let count = f32(params.head_dim);
    var mean = 0.0;
    if params.layer_norm != 0u {
        var sum = 0.0;
        for (var d = 0u; d < params.head_dim; d++) {
            sum += values[first + d];
        }
        mean = sum / count;
    }
    var squares = 0.0;
    for (var d = 0u; d < params.head_dim; d++) {
        let centred = values[first + d] - mean;
        squares += centred * centred;
    }
    let scale = 1.0 / sqrt(squares / count + params.eps);
    for (var d = 0u; d < params.head_dim; d++) {
        var value = (values[first + d] - mean) * scale * weight[d];
        if params.has_bias != 0u {
            value += bias[d];
        }
        values[first + d] = value;
    }
}
