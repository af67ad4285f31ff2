// What memory a device reads and writes at best: a copy, 16 bytes a thread.

struct Params { fours: u32 }

@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> source: array<vec4<f32>>;   // [fours]
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;  // [fours]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.y * groups.x + group.x) * 64u + thread;
    if i < params.fours {
        out[i] = source[i];
    }
}
