// Weights in f16, four of a row at a time. Joined to the shaders that read weights.

alias weights4 = vec4<f16>;

fn widen(four: weights4) -> vec4<f32> {
    return vec4<f32>(four);
}
