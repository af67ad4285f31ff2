// Weights in bf16, four of a row at a time, two in each u32: the upper half of an f32 each. Joined to
// the shaders that read weights.

alias weights4 = vec2<u32>;

fn widen(four: weights4) -> vec4<f32> {
    let low = four << vec2<u32>(16u);
    let high = four & vec2<u32>(0xffff0000u);
    return vec4<f32>(bitcast<f32>(low.x), bitcast<f32>(high.x), bitcast<f32>(low.y), bitcast<f32>(high.y));
}
