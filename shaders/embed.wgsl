// out[t] = scale · word[id[t]] + position[row[t]] + token_type[type[t]]; then, if there is a norm,
// LayerNorm or RMSNorm of it as in norm.wgsl.
//
// The word table may be larger than a binding: it comes in shards of rows, one dispatch each, and
// a dispatch writes the tokens whose row its shard holds. One workgroup a token.
//
// A norm goes over the row three times, and adds the tables up each time: they stay in the cache, and
// nothing is rounded between.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    hidden: u32,
    first_row: u32,      // of the shard
    rows: u32,           // in the shard
    has_position: u32,
    types: u32,          // rows of token_type; 0: none
    scale: f32,
    norm: u32,           // 0: none, 1: RMSNorm, 2: LayerNorm
    has_norm_bias: u32,
    eps: f32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> ids: array<u32>;          // [tokens]
@group(0) @binding(3) var<storage, read> spans: array<vec4<u32>>;  // [tokens] start of the token's text, end of its keys, type, row of its position
@group(0) @binding(4) var<storage, read> word: array<weights4>;    // [rows, hidden / 4 rounded up]
@group(0) @binding(5) var<storage, read> position: array<f32>;     // [positions, hidden]
@group(0) @binding(6) var<storage, read> token_type: array<f32>;   // [types, hidden]
@group(0) @binding(7) var<storage, read> weight: array<f32>;       // [hidden]
@group(0) @binding(8) var<storage, read> bias: array<f32>;         // [hidden]
@group(0) @binding(9) var<storage, read_write> out: array<value>;  // [tokens, hidden]

// Columns `column .. column + 4` of token t's sum; zeros after the end.
fn embedded(t: u32, row: u32, column: u32) -> vec4<f32> {
    let hidden = params.hidden;
    let place = spans[t].w;
    let kind = min(spans[t].z, max(params.types, 1u) - 1u);
    var four = params.scale * widen(word[row * ((hidden + 3u) / 4u) + column / 4u]);
    for (var i = 0u; i < 4u; i++) {
        if column + i < hidden {
            if params.has_position != 0u {
                four[i] += position[place * hidden + column + i];
            }
            if params.types != 0u {
                four[i] += token_type[kind * hidden + column + i];
            }
        }
    }
    return four;
}

// 1 for each of the four columns that there is.
fn present(column: u32) -> vec4<f32> {
    let columns = vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(), vec4<f32>(1.0), columns < vec4<u32>(params.hidden));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let t = group.y * groups.x + group.x;
    if t >= batch.tokens {
        return;
    }
    let row = ids[t] - params.first_row; // wraps far beyond `rows` for an earlier shard's id
    if row >= params.rows {
        return;
    }
    var mean = 0.0;
    var scale = 1.0;
    if params.norm != 0u {
        let count = f32(params.hidden);
        if params.norm == 2u {
            var sum = vec4<f32>();
            for (var c = 4u * thread; c < params.hidden; c += 4u * THREADS) {
                sum += embedded(t, row, c);
            }
            mean = sum_of_all(dot(sum, vec4<f32>(1.0)), thread) / count;
        }
        var squares = 0.0;
        for (var c = 4u * thread; c < params.hidden; c += 4u * THREADS) {
            let centred = (embedded(t, row, c) - mean) * present(c);
            squares += dot(centred, centred);
        }
        scale = 1.0 / sqrt(sum_of_all(squares, thread) / count + params.eps);
    }
    for (var c = 4u * thread; c < params.hidden; c += 4u * THREADS) {
        let four = (embedded(t, row, c) - mean) * scale;
        for (var i = 0u; i < min(4u, params.hidden - c); i++) {
            var result = four[i];
            if params.norm != 0u {
                result *= weight[c + i];
                if params.has_norm_bias != 0u {
                    result += bias[c + i];
                }
            }
            out[t * params.hidden + c + i] = value(result);
        }
    }
}
