// LayerNorm or RMSNorm of each row, plus a residual if there is one, times a scale:
//   LayerNorm: (x - mean) / sqrt(variance + eps) * weight + bias
//   RMSNorm:   x / sqrt(mean(x^2) + eps) * weight
// One workgroup a row. Joined with reduce.wgsl.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    width: u32,
    rows_are_texts: u32,
    layer_norm: u32, // else RMSNorm
    has_bias: u32,
    has_residual: u32,
    eps: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // [width]
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // [width]
@group(0) @binding(4) var<storage, read> x: array<value>;          // [rows, width]
@group(0) @binding(5) var<storage, read> residual: array<value>;   // [rows, width]
@group(0) @binding(6) var<storage, read_write> out: array<value>;  // [rows, width]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= select(batch.tokens, batch.texts, params.rows_are_texts != 0u) {
        return;
    }
    let first = row * params.width;
    let count = f32(params.width);
    var mean = 0.0;
    if params.layer_norm != 0u {
        var sum = 0.0;
        for (var c = thread; c < params.width; c += THREADS) {
            sum += f32(x[first + c]);
        }
        mean = sum_of_all(sum, thread) / count;
    }
    var squares = 0.0;
    for (var c = thread; c < params.width; c += THREADS) {
        let centred = f32(x[first + c]) - mean;
        squares += centred * centred;
    }
    let scale = 1.0 / sqrt(sum_of_all(squares, thread) / count + params.eps);
    for (var c = thread; c < params.width; c += THREADS) {
        var result = (f32(x[first + c]) - mean) * scale * weight[c];
        if params.has_bias != 0u {
            result += bias[c];
        }
        if params.has_residual != 0u {
            result += f32(residual[first + c]);
        }
        out[first + c] = value(params.scale * result);
    }
}
