// softmax(scale · q·kᵀ + bias, over the visible keys of the text) · v, one workgroup a token and
// head.
//
// An online softmax over blocks of 64 keys: each thread computes one key's score, then all share
// the block's largest score, scale down what was summed before, and each adds up some dimensions
// of the weighted values. Blocks start at the text's first token, so that the order of the sums
// does not depend on what else is in the batch.

struct Batch { tokens: u32, texts: u32 }
struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,   // at most 512
    scale: f32,
    before: u32,     // keys visible before the query's position
    after: u32,      // keys visible after it
    bias_reach: u32, // from this distance on the bias does not change
    has_bias: u32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;  // [tokens] start of the token's text, end of the keys seen, type
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // [heads, 2 * bias_reach + 1]
@group(0) @binding(4) var<storage, read> qkv: array<f32>;          // [tokens, (heads + 2 * kv_heads) * head_dim]
@group(0) @binding(5) var<storage, read_write> out: array<f32>;    // [tokens, heads * head_dim]

const THREADS: u32 = 64u;
const LOWEST: f32 = -3.0e38; // stands for -infinity, which WGSL need not handle
var<workgroup> query: array<f32, 512>;
var<workgroup> sums: array<f32, 512>; // the weighted values so far
var<workgroup> scores: array<f32, 64>;
var<workgroup> weights: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.y * groups.x + group.x;
    let t = index / params.heads;
    let head = index % params.heads;
    if t >= batch.tokens {
        return;
    }
    let dim = params.head_dim;
    let kv_head = head / (params.heads / params.kv_heads);
    let width = (params.heads + 2u * params.kv_heads) * dim;
    let key_column = (params.heads + kv_head) * dim;
    let value_column = key_column + params.kv_heads * dim;
    for (var d = thread; d < dim; d += THREADS) {
        query[d] = qkv[t * width + head * dim + d];
        sums[d] = 0.0;
    }
    workgroupBarrier();

    let span = spans[t];
    // Tokens behind the keys see them and are not seen.
    let reach = span.y - min(span.y, t + 1u);
    let end = min(span.y, t + 1u + min(reach, params.after));
    let first = min(end, max(span.x, t - min(t, params.before)));
    var largest = LOWEST;
    var total = 0.0;
    for (var block = span.x + (first - span.x) / THREADS * THREADS; block < end; block += THREADS) {
        let key = block + thread;
        let visible = key >= first && key < end;
        var score = LOWEST;
        if visible {
            score = 0.0;
            for (var d = 0u; d < dim; d++) {
                score += query[d] * qkv[key * width + key_column + d];
            }
            score *= params.scale;
            if params.has_bias != 0u {
                let reach = params.bias_reach;
                let place = clamp(i32(key) - i32(t), -i32(reach), i32(reach)) + i32(reach);
                score += bias[head * (2u * reach + 1u) + u32(place)];
            }
        }
        scores[thread] = score;
        workgroupBarrier();
        var block_largest = largest;
        for (var i = 0u; i < THREADS; i++) {
            block_largest = max(block_largest, scores[i]);
        }
        let correction = exp(largest - block_largest);
        weights[thread] = select(0.0, exp(score - block_largest), visible);
        largest = block_largest;
        workgroupBarrier();
        total *= correction;
        for (var i = 0u; i < THREADS; i++) {
            total += weights[i];
        }
        let count = min(THREADS, end - block);
        for (var d = thread; d < dim; d += THREADS) {
            var sum = sums[d] * correction;
            for (var i = 0u; i < count; i++) {
                sum += weights[i] * qkv[(block + i) * width + value_column + d];
            }
            sums[d] = sum;
        }
    }
    for (var d = thread; d < dim; d += THREADS) {
        out[t * params.heads * dim + head * dim + d] = sums[d] / total;
    }
}
