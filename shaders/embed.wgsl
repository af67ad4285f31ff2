// out[t] = scale · word[id[t]] + position[i + first_position] + token_type, where i is t's position in
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
    has_token_type: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> ids: array<u32>;          // [tokens]
@group(0) @binding(3) var<storage, read> spans: array<vec2<u32>>;  // [tokens] start and end of the token's text
@group(0) @binding(4) var<storage, read> word: array<f32>;         // [rows, hidden]
@group(0) @binding(5) var<storage, read> position: array<f32>;     // [positions, hidden]
@group(0) @binding(6) var<storage, read> token_type: array<f32>;   // [hidden]
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
        if params.has_token_type != 0u {
            value += token_type[c];
        }
        out[t * params.hidden + c] = value;
    }
}
