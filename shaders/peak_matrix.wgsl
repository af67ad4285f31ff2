// What products of 16 × 16 blocks, f16 with sums in f32, a device's matrix units do at best: nothing but
// them, in registers. Four sums a subgroup of 32, which do not wait for each other.

struct Params { loops: u32 }

@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> source: array<f16>;     // [16, 16]
@group(0) @binding(3) var<storage, read_write> out: array<f32>;  // [workgroups, 16, 16]

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    let x = coopLoadT<coop_mat16x16<f16, A>>(&source[0], 16u);
    let w = coopLoad<coop_mat16x16<f16, B>>(&source[0], 16u);
    var a = coop_mat16x16<f32, C>();
    var b = coop_mat16x16<f32, C>();
    var c = coop_mat16x16<f32, C>();
    var d = coop_mat16x16<f32, C>();
    for (var i = 0u; i < params.loops; i++) {
        a = coopMultiplyAdd(x, w, a);
        b = coopMultiplyAdd(x, w, b);
        c = coopMultiplyAdd(x, w, c);
        d = coopMultiplyAdd(x, w, d);
    }
    let sum = a + b + c + d;
    let first = group.x * 256u;
    let pitch = 16u;
    coopStoreT(sum, &out[first], pitch);
}
