// softmax(scale · q·kᵀ + bias, over the visible keys of the text) · v, one workgroup a tile of QUERIES
// queries of one text and head.
//
// An online softmax over blocks of 32 keys. A thread has four queries; eight threads share them, each
// with four keys of a block and, for the sums, each eighth run of four dimensions. Keys and values pass
// through workgroup memory 32 dimensions at a time. For each block: scores; the block's largest score, by
// which what was summed before is scaled down; weights; the weighted values.
//
// Tiles and blocks start at the text's first token, so that the order of the sums does not depend on
// what else is in the batch. A block that a query sees nothing of leaves its sums as they are, to the bit.
// Joined with attention_params.wgsl.

@group(0) @binding(4) var<storage, read> qkv: array<value>;        // [tokens, (heads + 2 * kv_heads) * HEAD_DIM]
@group(0) @binding(5) var<storage, read_write> out: array<value>;  // [tokens, heads * HEAD_DIM]

// From the host: HEAD_DIM, QUERIES (a multiple of 4), HAS_BIAS: 0: no; 1: by distance; 2 and 4, or both: queries and keys are
// multiplied with vectors of their distance (DeBERTa). `bias` then is the row of each distance query - key from -bias_reach
// to bias_reach, the vectors of queries if there are such, and those of keys: [vector_rows, heads, HEAD_DIM] each.
const KEYS: u32 = 32u;
const CHUNK: u32 = 32u; // dimensions staged at once
const CHUNKS: u32 = (HEAD_DIM + CHUNK - 1u) / CHUNK;
const QUERY_FOURS: u32 = QUERIES / 4u;
const THREADS: u32 = 8u * QUERY_FOURS;

var<workgroup> query: array<vec4<f32>, HEAD_DIM * QUERY_FOURS>; // [HEAD_DIM, QUERY_FOURS]: four queries side by side
var<workgroup> staged: array<vec4<f32>, 256>;                   // keys [CHUNK, KEYS / 4] or values [KEYS, CHUNK / 4]
var<workgroup> shared_scores: array<vec4<f32>, QUERIES * 8u>;   // [QUERIES, KEYS / 4]

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.y * groups.x + group.x;
    if index >= batch.tiles * params.heads {
        return;
    }
    let head = index % params.heads;
    let tile = tiles[index / params.heads];
    let queries_end = min(tile.y, tile.x + QUERIES);
    let kv_head = head / (params.heads / params.kv_heads);
    let width = (params.heads + 2u * params.kv_heads) * HEAD_DIM;
    let key_column = (params.heads + kv_head) * HEAD_DIM;
    let value_column = key_column + params.kv_heads * HEAD_DIM;

    let seen = seen_by_tile(tile, queries_end);
    let first = seen.x;
    let end = seen.y;

    for (var i = thread; i < HEAD_DIM * QUERY_FOURS; i += THREADS) {
        let d = i % HEAD_DIM;
        let q = tile.x + 4u * (i / HEAD_DIM);
        query[d * QUERY_FOURS + i / HEAD_DIM] = four_tokens(q, queries_end, width, head * HEAD_DIM + d);
    }

    let lane = thread % 8u; // its keys of a block are 4 * lane ..
    let four = thread / 8u; // its queries are 4 * four ..
    var largest = vec4<f32>(LOWEST);
    var total = vec4<f32>();
    var sums = array<vec4<f32>, 4u * CHUNKS>(); // [query, chunk] of four dimensions
    for (var block = tile.z + (first - tile.z) / KEYS * KEYS; block < end; block += KEYS) {
        // [key] of four queries
        var scores = array<vec4<f32>, 4>();
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            workgroupBarrier();
            for (var i = thread; i < 256u; i += THREADS) {
                let d = chunk * CHUNK + i % CHUNK;
                // Dimensions after the last are staged too, as anything: they are not multiplied.
                let column = key_column + min(d, HEAD_DIM - 1u);
                staged[(i % CHUNK) * 8u + i / CHUNK] =
                    four_tokens(block + 4u * (i / CHUNK), end, width, column);
            }
            workgroupBarrier();
            for (var j = 0u; j < min(CHUNK, HEAD_DIM - chunk * CHUNK); j++) {
                let queries = query[(chunk * CHUNK + j) * QUERY_FOURS + four];
                let keys = staged[j * 8u + lane];
                scores[0] = fma(queries, vec4<f32>(keys.x), scores[0]);
                scores[1] = fma(queries, vec4<f32>(keys.y), scores[1]);
                scores[2] = fma(queries, vec4<f32>(keys.z), scores[2]);
                scores[3] = fma(queries, vec4<f32>(keys.w), scores[3]);
            }
        }
        for (var i = 0u; i < 4u; i++) {
            let key = block + 4u * lane + i;
            for (var q = 0u; q < 4u; q++) {
                let t = tile.x + 4u * four + q;
                let product = scores[i][q] + by_distance(t, queries_end, key, end, head, width);
                scores[i][q] = finished(product, t, key, head, first, end, tile.w);
            }
        }
        // Each query's four scores of this thread, for all eight threads to see.
        let by_query = transpose(mat4x4<f32>(scores[0], scores[1], scores[2], scores[3]));
        share(four, lane, by_query);
        workgroupBarrier();
        var block_largest = largest;
        for (var q = 0u; q < 4u; q++) {
            for (var i = 0u; i < 8u; i++) {
                let some = shared_scores[(4u * four + q) * 8u + i];
                block_largest[q] = max(block_largest[q], max(max(some.x, some.y), max(some.z, some.w)));
            }
        }
        let correction = exp(largest - block_largest);
        largest = block_largest;
        var weights = mat4x4<f32>();
        for (var q = 0u; q < 4u; q++) {
            let visible = by_query[q] != vec4<f32>(LOWEST); // so that NaN is
            weights[q] = select(vec4<f32>(), exp(by_query[q] - largest[q]), visible);
        }
        workgroupBarrier();
        share(four, lane, weights);
        for (var i = 0u; i < 4u * CHUNKS; i++) {
            sums[i] *= correction[i / CHUNKS];
        }
        total *= correction;
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            workgroupBarrier();
            for (var i = thread; i < 256u; i += THREADS) {
                let key = block + i / 8u;
                let values =
                    four_values(min(key, end - 1u) * width + value_column, chunk * CHUNK + 4u * (i % 8u));
                staged[i] = select(vec4<f32>(), values, key < end);
            }
            workgroupBarrier();
            for (var i = 0u; i < 8u; i++) {
                let values = mat4x4<f32>(
                    staged[32u * i + lane], staged[32u * i + 8u + lane],
                    staged[32u * i + 16u + lane], staged[32u * i + 24u + lane],
                );
                for (var q = 0u; q < 4u; q++) {
                    let some = shared_scores[(4u * four + q) * 8u + i];
                    let at = q * CHUNKS + chunk;
                    sums[at] = fma(vec4<f32>(some.x), values[0], sums[at]);
                    sums[at] = fma(vec4<f32>(some.y), values[1], sums[at]);
                    sums[at] = fma(vec4<f32>(some.z), values[2], sums[at]);
                    sums[at] = fma(vec4<f32>(some.w), values[3], sums[at]);
                    if chunk == 0u {
                        total[q] += some.x + some.y + some.z + some.w;
                    }
                }
            }
        }
    }
    for (var q = 0u; q < 4u; q++) {
        let t = tile.x + 4u * four + q;
        if t < queries_end {
            for (var chunk = 0u; chunk < CHUNKS; chunk++) {
                let result = select(sums[q * CHUNKS + chunk] / total[q], vec4<f32>(), sees_none(t, tile.w));
                let d = chunk * CHUNK + 4u * lane;
                for (var i = 0u; i < 4u; i++) {
                    if d + i < HEAD_DIM {
                        out[(t * params.heads + head) * HEAD_DIM + d + i] = value(result[i]);
                    }
                }
            }
        }
    }
}

// What query t and a key have with the vectors of their distance. Of tokens that are not there it is anything.
fn by_distance(t: u32, queries_end: u32, key: u32, end: u32, head: u32, width: u32) -> f32 {
    if HAS_BIAS < 2u {
        return 0.0;
    }
    let most = i32(params.bias_reach);
    let place = clamp(i32(t) - i32(key), -most, most) + most;
    let vector = (u32(bias[place]) * params.heads + head) * HEAD_DIM;
    var first = 2u * params.bias_reach + 1u;
    var sum = 0.0;
    if (HAS_BIAS & 2u) != 0u {
        let query = min(t, queries_end - 1u) * width + head * HEAD_DIM;
        for (var d = 0u; d < HEAD_DIM; d++) {
            sum = fma(f32(qkv[query + d]), bias[first + vector + d], sum);
        }
        first += params.vector_rows * params.heads * HEAD_DIM;
    }
    if (HAS_BIAS & 4u) != 0u {
        let of_key = min(key, end - 1u) * width + (params.heads + head) * HEAD_DIM;
        for (var d = 0u; d < HEAD_DIM; d++) {
            sum = fma(f32(qkv[of_key + d]), bias[first + vector + d], sum);
        }
    }
    return sum;
}

// One column of four tokens; zeros from `end` on. What is not there is read from the last token that is,
// and left: a choice of values costs less than a branch.
fn four_tokens(first: u32, end: u32, width: u32, column: u32) -> vec4<f32> {
    let tokens = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    let at = min(tokens, vec4<u32>(end - 1u)) * width + column;
    let four = vec4<f32>(f32(qkv[at.x]), f32(qkv[at.y]), f32(qkv[at.z]), f32(qkv[at.w]));
    return select(vec4<f32>(), four, tokens < vec4<u32>(end));
}

// Four dimensions of a value; zeros after the last.
fn four_values(first: u32, d: u32) -> vec4<f32> {
    let dims = vec4<u32>(d) + vec4<u32>(0u, 1u, 2u, 3u);
    let at = min(dims, vec4<u32>(HEAD_DIM - 1u)) + first;
    let four = vec4<f32>(f32(qkv[at.x]), f32(qkv[at.y]), f32(qkv[at.z]), f32(qkv[at.w]));
    return select(vec4<f32>(), four, dims < vec4<u32>(HEAD_DIM));
}

// Makes four queries' scores or weights of one thread's keys known to the others.
fn share(four: u32, lane: u32, by_query: mat4x4<f32>) {
    for (var q = 0u; q < 4u; q++) {
        shared_scores[(4u * four + q) * 8u + lane] = by_query[q];
    }
}
