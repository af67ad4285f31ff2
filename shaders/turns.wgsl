// Counts the turns of a loop, for drivers that end loops early: see src/backend/gpu/turns.rs.

struct Params { turns: u32 }

@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;  // [1]: the turns that were taken

@compute @workgroup_size(1)
fn main() {
    var taken = 0u;
    for (var i = 0u; i < params.turns; i++) {
        taken += 1u;
    }
    out[0] = taken;
}
