// Each row divided by max(‖row‖, 1e-12). One workgroup a row.

struct Batch { tokens: u32, texts: u32 }
struct Params {
    width: u32,
    rows_are_texts: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;          // [rows, width]
@group(0) @binding(3) var<storage, read_write> out: array<f32>;  // [rows, width]

const THREADS: u32 = 64u;
var<workgroup> partial: array<f32, 64>;

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
        squares += x[first + c] * x[first + c];
    }
    partial[thread] = squares;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < THREADS; i++) {
        sum += partial[i];
    }
    let norm = max(sqrt(sum), 1e-12);
    for (var c = thread; c < params.width; c += THREADS) {
        out[first + c] = x[first + c] / norm;
    }
}
