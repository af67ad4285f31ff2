// The input of linear.wgsl where rows are a multiple of four values: four at a time.

@group(0) @binding(2) var<storage, read> x: array<vec4<value>>;  // [rows, inputs / 4]

// Values `input .. input + 4` of a row.
fn x_four(row: u32, input: u32) -> vec4<f32> {
    return vec4<f32>(x[(row * params.inputs + input) / 4u]);
}
