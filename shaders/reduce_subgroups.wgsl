// Sums over the 64 threads of a workgroup, by subgroups of whatever size and order. Joined to the shaders
// that use them, in place of reduce.wgsl.

const THREADS: u32 = 64u;
var<workgroup> partial: array<f32, 64>;

// The sum of one value a thread, known to all of them; always in the same order. The first thread of each
// subgroup leaves the subgroup's sum in its place, the others 0; then each subgroup adds up all places.
fn sum_of_all(value: f32, thread: u32) -> f32 {
    let lane = subgroupExclusiveAdd(1u);
    let lanes = subgroupAdd(1u);
    let of_subgroup = subgroupAdd(value);
    partial[thread] = select(0.0, of_subgroup, lane == 0u);
    workgroupBarrier();
    var mine = 0.0;
    for (var place = lane; place < THREADS; place += lanes) {
        mine += partial[place];
    }
    let sum = subgroupAdd(mine);
    workgroupBarrier();
    return sum;
}
