// Sums over the 64 threads of a workgroup. Joined to the shaders that use them.

const THREADS: u32 = 64u;
var<workgroup> partial: array<f32, 64>;

// The sum of one value a thread, known to all of them; always in the same order.
fn sum_of_all(value: f32, thread: u32) -> f32 {
    partial[thread] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if thread < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    let sum = partial[0];
    workgroupBarrier();
    return sum;
}
