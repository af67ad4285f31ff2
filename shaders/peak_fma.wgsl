// What multiply-adds in f32 a device does at best: nothing but them, in registers. One thread a result;
// each has 32 sums that do not wait for each other.

struct Params { loops: u32 }

@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [threads]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let start = vec4<f32>(f32(id.x % 64u)) * 0.01;
    var a = start;
    var b = start + 0.1;
    var c = start + 0.2;
    var d = start + 0.3;
    var e = start + 0.4;
    var f = start + 0.5;
    var g = start + 0.6;
    var h = start + 0.7;
    let factor = vec4<f32>(0.999);
    let term = vec4<f32>(0.001);
    for (var i = 0u; i < params.loops; i++) {
        a = fma(a, factor, term);
        b = fma(b, factor, term);
        c = fma(c, factor, term);
        d = fma(d, factor, term);
        e = fma(e, factor, term);
        f = fma(f, factor, term);
        g = fma(g, factor, term);
        h = fma(h, factor, term);
    }
    // Read by nobody; without it there would be nothing to compute.
    out[id.x] = dot(a + b + c + d + e + f + g + h, vec4<f32>(1.0));
}
