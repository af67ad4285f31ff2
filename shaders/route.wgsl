// The `top` largest of each row's softmax and where they stand, largest first; of equals the first.
// One thread a token: experts are few.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    experts: u32,
    top: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> scores: array<value>;     // [tokens, experts]
@group(0) @binding(3) var<storage, read_write> out: array<value>;  // [tokens, 2 * top] expert and probability

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let t = (group.y * groups.x + group.x) * 64u + thread;
    if t >= batch.tokens {
        return;
    }
    let first = t * params.experts;
    var largest = f32(scores[first]);
    for (var e = 1u; e < params.experts; e++) {
        largest = max(largest, f32(scores[first + e]));
    }
    var total = 0.0;
    for (var e = 0u; e < params.experts; e++) {
        total += exp(f32(scores[first + e]) - largest);
    }
    var last_score = 0.0;
    var last = 0u;
    for (var s = 0u; s < params.top; s++) {
        var best = params.experts; // none yet
        for (var e = 0u; e < params.experts; e++) {
            let score = f32(scores[first + e]);
            // After the last choice in the order: a smaller score, or the same further on.
            let left = s == 0u || score < last_score || (score == last_score && e > last);
            if left && (best == params.experts || score > f32(scores[first + best])) {
                best = e;
            }
        }
        last = min(best, params.experts - 1u);
        last_score = f32(scores[first + last]);
        out[(t * params.top + s) * 2u] = value(last);
        out[(t * params.top + s) * 2u + 1u] = value(exp(last_score - largest) / total);
    }
}
