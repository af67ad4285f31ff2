// Each row divided by max(‖row‖, 1e-12). One workgroup a row.
// Joined with reduce.wgsl.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    width: u32,
    rows_are_texts: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<value>;          // [rows, width]
@group(0) @binding(3) var<storage, read_write> out: array<value>;  // [rows, width]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.y * groups.x + group.x;
    if row >= select(batch.tokens, batch.texts, params.rows_are_texts != 0u) {
        return;
    }
    let first = row * params.width;
    var squares = 0.0;
    for (var c = thread; c < params.width; c += THREADS) {
        let own = f32(x[first + c]);
        squares += own * own;
    }
    let norm = max(sqrt(sum_of_all(squares, thread)), 1e-12);
    for (var c = thread; c < params.width; c += THREADS) {
        out[first + c] = value(f32(x[first + c]) / norm);
    }
}
