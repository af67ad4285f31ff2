// The input of linear.wgsl where rows are of any length: one value at a time.

@group(0) @binding(2) var<storage, read> x: array<value>;  // [rows, inputs]

// Values `input .. input + 4` of a row; zeros after its end.
fn x_four(row: u32, input: u32) -> vec4<f32> {
    let first = row * params.inputs + input;
    var four = vec4<f32>(f32(x[first]), 0.0, 0.0, 0.0);
    if input + 1u < params.inputs {
        four.y = f32(x[first + 1u]);
    }
    if input + 2u < params.inputs {
        four.z = f32(x[first + 2u]);
    }
    if input + 3u < params.inputs {
        four.w = f32(x[first + 3u]);
    }
    return four;
}
