// attention.wgsl on cooperative matrices: q·kᵀ and weights · v as products of 16 × 16 blocks in f16 with sums
// in f32. Activations are f16, HEAD_DIM a multiple of 16.
//
// A workgroup computes QUERIES queries of one text and head, each subgroup of 32 sixteen of them: two threads a
// query, with half of a block's 32 keys each. Sums in blocks can not be scaled row by row, as an online
// softmax would: so the keys pass by twice. First for each query's largest score and the total of its weights;
// then for the weights, exp(score - largest), in f16, and what they add up. The total divides at the
// end. Joined with attention_params.wgsl.

@group(0) @binding(4) var<storage, read> qkv: array<vec4<f16>>;    // [tokens, (heads + 2 * kv_heads) * HEAD_DIM / 4]
@group(0) @binding(5) var<storage, read_write> out: array<value>;  // [tokens, heads * HEAD_DIM]

// From the host: HEAD_DIM, QUERIES (a multiple of 16), HAS_BIAS.
const KEYS: u32 = 32u;
const WAVES: u32 = QUERIES / 16u;
const THREADS: u32 = 32u * WAVES;
const FOURS: u32 = HEAD_DIM / 4u;
const PITCH: u32 = FOURS + 2u;           // fours from a row to the next: 8 values of padding
const WEIGHT_PITCH: u32 = KEYS / 4u + 2u;
const DIM_BLOCKS: u32 = HEAD_DIM / 16u;

var<workgroup> query: array<vec4<f16>, QUERIES * PITCH>;          // [QUERIES, HEAD_DIM / 4]
var<workgroup> staged: array<vec4<f16>, KEYS * PITCH>;            // keys or values [KEYS, HEAD_DIM / 4]
var<workgroup> scores: array<f32, QUERIES * KEYS>;                // [QUERIES, KEYS]
var<workgroup> weights: array<vec4<f16>, QUERIES * WEIGHT_PITCH>; // [QUERIES, KEYS / 4]
var<workgroup> halves: array<vec2<f32>, 2u * QUERIES>;            // largest score and total of each thread

// Four dimensions of a token's query, key or value; zeros from `end` on.
fn four_of(token: u32, end: u32, first: u32) -> vec4<f16> {
    let width = (params.heads + 2u * params.kv_heads) * FOURS;
    let four = qkv[min(token, end - 1u) * width + first];
    return select(vec4<f16>(), four, token < end);
}

@compute @workgroup_size(32, WAVES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) thread: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let place = group.y * groups.x + group.x;
    if place >= batch.tiles * params.heads {
        return;
    }
    let head = place % params.heads;
    let tile = tiles[place / params.heads];
    let queries_end = min(tile.y, tile.x + QUERIES);
    let kv_head = head / (params.heads / params.kv_heads);
    let key_column = (params.heads + kv_head) * FOURS;
    let value_column = key_column + params.kv_heads * FOURS;
    let seen = seen_by_tile(tile, queries_end);
    let first = seen.x;
    let end = seen.y;
    for (var i = index; i < QUERIES * FOURS; i += THREADS) {
        query[(i / FOURS) * PITCH + i % FOURS] =
            four_of(tile.x + i / FOURS, queries_end, head * FOURS + i % FOURS);
    }

    let wave = thread.y;
    let row = index / 2u; // this thread's query
    let half = 16u * (index % 2u); // its first key of a block
    let t = tile.x + row;
    let start = tile.z + (first - tile.z) / KEYS * KEYS;
    var largest = LOWEST;
    var total = 0.0;
    var sums: array<coop_mat16x16<f32, C>, DIM_BLOCKS>;
    for (var d = 0u; d < DIM_BLOCKS; d++) {
        sums[d] = coop_mat16x16<f32, C>();
    }
    for (var turn = 0u; turn < 2u; turn++) {
        for (var block = start; block < end; block += KEYS) {
            workgroupBarrier();
            for (var i = index; i < KEYS * FOURS; i += THREADS) {
                staged[(i / FOURS) * PITCH + i % FOURS] =
                    four_of(block + i / FOURS, end, key_column + i % FOURS);
            }
            workgroupBarrier();
            for (var c = 0u; c < 2u; c++) {
                var products = coop_mat16x16<f32, C>();
                for (var k = 0u; k < DIM_BLOCKS; k++) {
                    let q_at = wave * 16u * PITCH + 4u * k;
                    let k_at = c * 16u * PITCH + 4u * k;
                    let queries = coopLoadT<coop_mat16x16<f16, A>>(&query[q_at], PITCH);
                    let keys = coopLoad<coop_mat16x16<f16, B>>(&staged[k_at], PITCH);
                    products = coopMultiplyAdd(queries, keys, products);
                }
                let s_at = wave * 16u * KEYS + 16u * c;
                let pitch = KEYS;
                coopStoreT(products, &scores[s_at], pitch);
            }
            workgroupBarrier();
            if turn == 0u {
                var block_largest = largest;
                for (var i = 0u; i < 16u; i++) {
                    let at = row * KEYS + half + i;
                    let score = finished(scores[at], t, block + half + i, head, first, end, tile.w);
                    scores[at] = score;
                    block_largest = max(block_largest, score);
                }
                total *= exp(largest - block_largest);
                largest = block_largest;
                for (var i = 0u; i < 16u; i++) {
                    let score = scores[row * KEYS + half + i];
                    total += select(0.0, exp(score - largest), score != LOWEST); // so that NaN counts
                }
                continue;
            }
            for (var i = 0u; i < 16u; i += 4u) {
                var four = vec4<f32>();
                for (var j = 0u; j < 4u; j++) {
                    let key = half + i + j;
                    let product = scores[row * KEYS + key];
                    let score = finished(product, t, block + key, head, first, end, tile.w);
                    four[j] = select(0.0, exp(score - largest), score != LOWEST);
                }
                weights[row * WEIGHT_PITCH + (half + i) / 4u] = vec4<f16>(four);
            }
            // Every subgroup is done with the keys.
            for (var i = index; i < KEYS * FOURS; i += THREADS) {
                staged[(i / FOURS) * PITCH + i % FOURS] =
                    four_of(block + i / FOURS, end, value_column + i % FOURS);
            }
            workgroupBarrier();
            for (var d = 0u; d < DIM_BLOCKS; d++) {
                for (var k = 0u; k < 2u; k++) {
                    let w_at = wave * 16u * WEIGHT_PITCH + 4u * k;
                    let v_at = k * 16u * PITCH + 4u * d;
                    let of_keys = coopLoadT<coop_mat16x16<f16, A>>(&weights[w_at], WEIGHT_PITCH);
                    let values = coopLoadT<coop_mat16x16<f16, B>>(&staged[v_at], PITCH);
                    sums[d] = coopMultiplyAdd(of_keys, values, sums[d]);
                }
            }
        }
        if turn == 0u {
            // Both threads of a query to one largest score and one total.
            halves[index] = vec2<f32>(largest, total);
            workgroupBarrier();
            let one = halves[2u * row];
            let other = halves[2u * row + 1u];
            largest = max(one.x, other.x);
            total = one.y * exp(one.x - largest) + other.y * exp(other.x - largest);
            workgroupBarrier();
            halves[index] = vec2<f32>(largest, total);
        }
    }
    workgroupBarrier();
    for (var d = 0u; d < DIM_BLOCKS; d++) {
        let s_at = wave * 256u;
        let pitch = 16u;
        coopStoreT(sums[d], &scores[s_at], pitch);
        workgroupBarrier();
        for (var i = 0u; i < 8u; i++) {
            let at = thread.x + 32u * i;
            let q = wave * 16u + at / 16u;
            if tile.x + q < queries_end {
                let column = (tile.x + q) * params.heads * HEAD_DIM + head * HEAD_DIM + 16u * d + at % 16u;
                out[column] = value(select(scores[s_at + at] / halves[2u * q].y, 0.0, sees_none(tile.x + q, tile.w)));
            }
        }
        workgroupBarrier();
    }
}
