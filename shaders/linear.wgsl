// out = activation(x · wᵀ + bias) * factor + residual, or with a gate
// out = activation(x · gateᵀ + gate_bias) * (x · wᵀ + bias) * factor + residual.
//
// A workgroup of 16 × 16 threads computes a tile of 64 × 64 results, each thread 4 × 4 of them in
// registers. The inputs pass by in steps of 16: the tile's 64 rows of x and of w are staged in
// workgroup memory, so that each value read from a buffer is used 64 times. Each result takes its
// products in the order of the inputs, whatever tile it falls in.
//
// w may be larger than a binding: it comes in shards of rows (columns of the result), one dispatch
// each.

struct Batch { tokens: u32, texts: u32 }
struct Params {
    inputs: u32,
    outputs: u32,       // columns of the result
    first_column: u32,  // of this shard
    columns: u32,       // of this shard
    rows_are_texts: u32,
    activation: u32,
    has_bias: u32,
    has_gate: u32,
    has_gate_bias: u32,
    has_residual: u32,
    has_factor: u32,
    factor_width: u32,
    factor_column: u32, // the first of `outputs`
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;          // [rows, inputs]
@group(0) @binding(3) var<storage, read> w: array<f32>;          // [columns, inputs]
@group(0) @binding(4) var<storage, read> bias: array<f32>;       // [outputs]
@group(0) @binding(5) var<storage, read> gate: array<f32>;       // [columns, inputs]
@group(0) @binding(6) var<storage, read> gate_bias: array<f32>;  // [outputs]
@group(0) @binding(7) var<storage, read> factor: array<f32>;     // [rows, factor_width]
@group(0) @binding(8) var<storage, read> residual: array<f32>;   // [rows, outputs]
@group(0) @binding(9) var<storage, read_write> out: array<f32>;  // [rows, outputs]

const TILE: u32 = 64u;
const STEP: u32 = 16u;
var<workgroup> x_tile: array<vec4<f32>, 256>;     // [STEP, TILE / 4]: four rows of x side by side
var<workgroup> w_tile: array<vec4<f32>, 256>;     // [STEP, TILE / 4]
var<workgroup> gate_tile: array<vec4<f32>, 256>;  // [STEP, TILE / 4]

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) thread: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let rows = select(batch.tokens, batch.texts, params.rows_are_texts != 0u);
    let first_row = group.y * TILE;
    let first_column = group.x * TILE; // within the shard
    var sums = array<vec4<f32>, 4>();
    var gates = array<vec4<f32>, 4>();
    // What this thread stages: four rows of the tile at one of the step's inputs.
    let k = index % STEP;
    let quad = index / STEP;
    for (var step = 0u; step < params.inputs; step += STEP) {
        var x_four = vec4<f32>();
        var w_four = vec4<f32>();
        var gate_four = vec4<f32>();
        let input = step + k;
        if input < params.inputs {
            for (var i = 0u; i < 4u; i++) {
                let row = first_row + quad * 4u + i;
                let column = first_column + quad * 4u + i;
                if row < rows {
                    x_four[i] = x[row * params.inputs + input];
                }
                if column < params.columns {
                    w_four[i] = w[column * params.inputs + input];
                    if params.has_gate != 0u {
                        gate_four[i] = gate[column * params.inputs + input];
                    }
                }
            }
        }
        x_tile[k * 16u + quad] = x_four;
        w_tile[k * 16u + quad] = w_four;
        gate_tile[k * 16u + quad] = gate_four;
        workgroupBarrier();
        for (var j = 0u; j < STEP; j++) {
            let x_values = x_tile[j * 16u + thread.y];
            let w_values = w_tile[j * 16u + thread.x];
            for (var r = 0u; r < 4u; r++) {
                sums[r] += x_values[r] * w_values;
            }
            if params.has_gate != 0u {
                let gate_values = gate_tile[j * 16u + thread.x];
                for (var r = 0u; r < 4u; r++) {
                    gates[r] += x_values[r] * gate_values;
                }
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < 4u; r++) {
        let row = first_row + thread.y * 4u + r;
        for (var c = 0u; c < 4u; c++) {
            let column = first_column + thread.x * 4u + c;
            if row < rows && column < params.columns {
                finish(row, params.first_column + column, sums[r][c], gates[r][c]);
            }
        }
    }
}

// The epilogue of one result.
fn finish(row: u32, column: u32, sum: f32, gate_sum: f32) {
    var value = sum;
    if params.has_bias != 0u {
        value += bias[column];
    }
    if params.has_gate != 0u {
        var gate_value = gate_sum;
        if params.has_gate_bias != 0u {
            gate_value += gate_bias[column];
        }
        value *= activate(params.activation, gate_value);
    } else {
        value = activate(params.activation, value);
    }
    if params.has_factor != 0u {
        value *= factor[row * params.factor_width + params.factor_column + column];
    }
    let place = row * params.outputs + column;
    if params.has_residual != 0u {
        value += residual[place];
    }
    out[place] = value;
}
