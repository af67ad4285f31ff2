// out[t] = Σ p(t, s) · x[t][s] · W(e) + b + residual[t] over the experts e that token t chose. One
// thread a result: neighbouring threads read neighbouring weights.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    hidden: u32,
    inner: u32,    // values of an expert's input
    top: u32,      // experts that a token takes
    has_bias: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> choices: array<vec2<value>>;  // [tokens, top] expert and probability
@group(0) @binding(3) var<storage, read> x: array<value>;              // [tokens, top * inner]
@group(0) @binding(4) var<storage, read> weight: array<weights4>;       // [experts * inner, hidden / 4 rounded up]
@group(0) @binding(5) var<storage, read> bias: array<f32>;           // [hidden]
@group(0) @binding(6) var<storage, read> residual: array<value>;       // [tokens, hidden]
@group(0) @binding(7) var<storage, read_write> out: array<value>;      // [tokens, hidden]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + thread;
    let column = index % params.hidden;
    let t = index / params.hidden;
    if t >= batch.tokens {
        return;
    }
    var result = f32(residual[index]);
    if params.has_bias != 0u {
        result += bias[column];
    }
    let fours = (params.hidden + 3u) / 4u;
    for (var s = 0u; s < params.top; s++) {
        let choice = choices[t * params.top + s];
        let row = u32(choice.x) * params.inner;
        let first = (t * params.top + s) * params.inner;
        var sum = 0.0;
        for (var j = 0u; j < params.inner; j++) {
            sum += f32(x[first + j]) * widen(weight[(row + j) * fours + column / 4u])[column % 4u];
        }
        result += f32(choice.y) * sum;
    }
    out[index] = value(result);
}
