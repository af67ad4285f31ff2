// Rotary position embedding of each head of some columns, in place, half-rotation form:
//   a' = a cos - b sin,  b' = b cos + a sin  for each pair (a, b) = (x[i], x[i + half]).
// One thread a pair.

struct Batch { tokens: u32, texts: u32, tiles: u32 }
struct Params {
    width: u32,        // of a row
    first_column: u32, // of the first head
    heads: u32,
    half_dim: u32,     // half of a head
    by_token: u32,     // angles are those of tokens of the batch, not of positions
}

@group(0) @binding(0) var<uniform> batch: Batch;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;     // [tokens] start of the token's text, end of its keys, type
@group(0) @binding(3) var<storage, read> angles: array<vec2<f32>>;    // [positions, half_dim] cos and sin
@group(0) @binding(4) var<storage, read_write> values: array<value>;  // [tokens, width]

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + thread;
    let i = index % params.half_dim;
    let head = index / params.half_dim % params.heads;
    let t = index / params.half_dim / params.heads;
    if t >= batch.tokens {
        return;
    }
    let place = select(t - spans[t].x, t, params.by_token != 0u);
    let angle = angles[place * params.half_dim + i];
    let first = t * params.width + params.first_column + head * 2u * params.half_dim + i;
    let a = f32(values[first]);
    let b = f32(values[first + params.half_dim]);
    values[first] = value(a * angle.x - b * angle.y);
    values[first + params.half_dim] = value(b * angle.x + a * angle.y);
}
