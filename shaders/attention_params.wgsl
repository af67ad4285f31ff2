// What both forms of attention, attention.wgsl and attention_matrix.wgsl, are given, but for queries, keys and
// values; and what a query sees. Joined in front of them.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    heads: u32,
    kv_heads: u32,
    scale: f32,
    before: u32,     // keys visible before the query's position
    after: u32,      // keys visible after it
    bias_reach: u32, // from this distance on the bias does not change
    vector_rows: u32, // rows of the vectors by distance
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> tiles: array<vec4<u32>>;  // [tiles] first query, end of the text, its start, end of the keys seen
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // [heads, 2 * bias_reach + 1], or what attention.wgsl says of vectors by distance

const LOWEST: f32 = -3.0e38; // stands for -infinity, which WGSL need not handle

// Keys that some query of a tile sees, from the first to behind the last. Tokens behind the keys see them and
// are not seen.
fn seen_by_tile(tile: vec4<u32>, queries_end: u32) -> vec2<u32> {
    let reach = tile.w - min(tile.w, queries_end);
    let end = min(tile.w, queries_end + min(reach, params.after));
    return vec2<u32>(min(end, max(tile.z, tile.x - min(tile.x, params.before))), end);
}

// Whether query t sees no key, because it stands too far behind the last one. Its result is 0.
fn sees_none(t: u32, keys_end: u32) -> bool {
    return t - min(t, params.before) >= keys_end;
}

// The score of a key that query t sees, else LOWEST.
fn finished(product: f32, t: u32, key: u32, head: u32, first: u32, end: u32, keys_end: u32) -> f32 {
    let before = t - min(t, params.before);
    let reach = keys_end - min(keys_end, t + 1u);
    let after = t + 1u + min(reach, params.after);
    if key < max(first, before) || key >= min(end, after) {
        return LOWEST;
    }
    var score = product * params.scale;
    if HAS_BIAS == 1u {
        let most = i32(params.bias_reach);
        let place = clamp(i32(key) - i32(t), -most, most) + most;
        score += bias[head * (2u * params.bias_reach + 1u) + u32(place)];
    }
    return score;
}
