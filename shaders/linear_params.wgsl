// What both forms of a linear layer, linear.wgsl and linear_matrix.wgsl, are given, but for x; and the
// end of each result. Joined in front of them.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    inputs: u32,
    outputs: u32,       // columns of the result
    first_column: u32,  // of this shard
    columns: u32,       // of this shard
    rows_are_texts: u32,
    activation: u32,
    has_bias: u32,
    has_gate_bias: u32,
    has_residual: u32,
    has_factor: u32,
    factor_width: u32,
    factor_column: u32, // the first of `outputs`
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> w: array<weights4>;       // [columns, inputs / 4 rounded up]
@group(0) @binding(4) var<storage, read> bias: array<f32>;         // [outputs]
@group(0) @binding(5) var<storage, read> gate: array<weights4>;    // [columns, inputs / 4 rounded up]
@group(0) @binding(6) var<storage, read> gate_bias: array<f32>;    // [outputs]
@group(0) @binding(7) var<storage, read> factor: array<value>;     // [rows, factor_width]
@group(0) @binding(8) var<storage, read> residual: array<value>;   // [rows, outputs]
@group(0) @binding(9) var<storage, read_write> out: array<value>;  // [rows, outputs]

// The end of one result: everything that follows the products.
fn finish(row: u32, column: u32, sum: f32, gate_sum: f32) {
    var result = sum;
    if params.has_bias != 0u {
        result += bias[column];
    }
    if MATRICES == 2u {
        var gate_value = gate_sum;
        if params.has_gate_bias != 0u {
            gate_value += gate_bias[column];
        }
        result *= activate(params.activation, gate_value);
    } else {
        result = activate(params.activation, result);
    }
    if params.has_factor != 0u {
        result *= f32(factor[row * params.factor_width + params.factor_column + column]);
    }
    let place = row * params.outputs + column;
    if params.has_residual != 0u {
        result += f32(residual[place]);
    }
    out[place] = value(result);
}
