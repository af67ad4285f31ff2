// out[t] = scale · word[id[t]] + position[i + first_position] + token_type[type[t]], where i is t's position in
// its text.
//
// The word table may be larger than a binding: it comes in shards of rows, one dispatch each, and
// a dispatch writes the tokens whose row its shard holds. One workgroup a token.

struct Batch { tokens: u32, texts: u32 }
struct Params {
    hidden: u32,
    first_row: u32,      // of the shard
    rows: u32,           // in the shard
    first_position: u32,
    has_position: u32,
    types: u32,          // rows of token_type; 0: none
    scale: f32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> ids: array<u32>;          // [tokens]
@group(0) @binding(3) var<storage, read> spans: array<vec4<u32>>;  // [tokens] start of the token's text, end of its keys, type
@group(0) @binding(4) var<storage, read> word: array<f32>;         // [rows, hidden]
@group(0) @binding(5) var<storage, read> position: array<f32>;     // [positions, hidden]
@group(0) @binding(6) var<storage, read> token_type: array<f32>;   // [types, hidden]
@group(0) @binding(7) var<storage, read_write> out: array<f32>;    // [tokens, hidden]

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
    let place = params.first_position + t - spans[t].x;
    for (var c = thread; c < params.hidden; c += 64u) {
        var value = params.scale * word[row * params.hidden + c];
        if params.has_position != 0u {
            value += position[place * params.hidden + c];
        }
        if params.types != 0u {
            value += token_type[min(spans[t].z, params.types - 1u) * params.hidden + c];
        }
        out[t * params.hidden + c] = value;
    }
}
