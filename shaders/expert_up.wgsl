// out[t][s] = activation(x[t] · W(e)ᵀ) for the s-th expert e that token t chose. One thread a result.
// Joined with activation.wgsl.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    hidden: u32,
    inner: u32,      // values of an expert's result
    top: u32,        // experts that a token takes
    activation: u32, // as in activation.wgsl
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> choices: array<vec2<value>>;  // [tokens, top] expert and probability
@group(0) @binding(3) var<storage, read> x: array<value>;              // [tokens, hidden]
@group(0) @binding(4) var<storage, read> weight: array<weights4>;       // [experts * inner, hidden / 4 rounded up]
@group(0) @binding(5) var<storage, read_write> out: array<value>;      // [tokens, top * inner]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + thread;
    let column = index % params.inner;
    let choice = index / params.inner;
    let t = choice / params.top;
    if t >= batch.tokens {
        return;
    }
    let row = u32(choices[choice].x) * params.inner + column;
    let fours = (params.hidden + 3u) / 4u;
    var sum = 0.0;
    for (var d = 0u; d < params.hidden; d += 4u) {
        let four = widen(weight[row * fours + d / 4u]);
        for (var i = 0u; i < min(4u, params.hidden - d); i++) {
            sum += f32(x[t * params.hidden + d + i]) * four[i];
        }
    }
    out[index] = value(activate(params.activation, sum));
}
