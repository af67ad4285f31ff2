// linear.wgsl on cooperative matrices: products of 16 × 16 blocks in f16 with sums in f32, by the
// hardware's matrix units. Activations and weights are f16, rows a multiple of four values.
//
// A workgroup of WAVES_X × WAVES_Y subgroups of 32 computes a tile of results; each subgroup
// FRAGMENTS_X × FRAGMENTS_Y blocks of it. The tile's rows of x and w pass through workgroup memory, 32
// inputs at a time, in rows of 40 values: 8 of padding keep neighbouring rows off the same banks. The next
// inputs are on their way to registers while these are multiplied. w is read column by column, so that it
// lies as the model's file has it.
//
// A block's values can only be reached through memory: sums go through workgroup memory in f32, and from
// there each thread takes its results to the end that linear.wgsl has too.
//
// Each block takes its products in the order of the inputs, 16 at a time, however large tiles are. Joined
// with linear_params.wgsl and activation.wgsl.

@group(0) @binding(2) var<storage, read> x: array<vec4<f16>>;  // [rows, inputs / 4]

// From the host: WAVES_X, WAVES_Y, FRAGMENTS_X, FRAGMENTS_Y, MATRICES (2 with a gate, else 1).
const TILE_ROWS: u32 = 16u * WAVES_Y * FRAGMENTS_Y;
const TILE_COLUMNS: u32 = 16u * WAVES_X * FRAGMENTS_X;
const THREADS: u32 = 32u * WAVES_X * WAVES_Y;
const STEP: u32 = 32u;
const FOURS: u32 = STEP / 4u;
const PITCH: u32 = FOURS + 2u; // fours from a staged row to the next
// Staged rows: x, w, gate.
const STAGED: u32 = TILE_ROWS + MATRICES * TILE_COLUMNS;
const MOVES: u32 = (STAGED * FOURS + THREADS - 1u) / THREADS;
const BLOCKS: u32 = FRAGMENTS_X * FRAGMENTS_Y;

var<workgroup> staged: array<vec4<f16>, STAGED * PITCH>;
var<workgroup> tile: array<f32, 256u * WAVES_X * WAVES_Y>;

// The i-th run of four values that is staged at these inputs.
fn load(i: u32, first_row: u32, first_column: u32, rows: u32, step: u32) -> vec4<f16> {
    let input = step + 4u * (i % FOURS);
    let staged_row = i / FOURS;
    let fours = params.inputs / 4u;
    if input >= params.inputs || staged_row >= STAGED {
        return vec4<f16>();
    }
    if staged_row < TILE_ROWS {
        let row = first_row + staged_row;
        if row < rows {
            return x[row * fours + input / 4u];
        }
        return vec4<f16>();
    }
    let column = first_column + (staged_row - TILE_ROWS) % TILE_COLUMNS;
    if column >= params.columns {
        return vec4<f16>();
    }
    if staged_row < TILE_ROWS + TILE_COLUMNS {
        return w[column * fours + input / 4u];
    }
    return gate[column * fours + input / 4u];
}

@compute @workgroup_size(32, WAVES_X, WAVES_Y)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) thread: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let rows = select(batch.tokens, batch.texts, params.rows_are_texts != 0u);
    let first_row = group.y * TILE_ROWS;
    let first_column = group.x * TILE_COLUMNS; // within the shard
    let wave_row = thread.z * FRAGMENTS_Y * 16u;
    let wave_column = thread.y * FRAGMENTS_X * 16u;
    var sums: array<coop_mat16x16<f32, C>, MATRICES * BLOCKS>;
    for (var i = 0u; i < MATRICES * BLOCKS; i++) {
        sums[i] = coop_mat16x16<f32, C>();
    }
    var moved: array<vec4<f16>, MOVES>;
    for (var i = 0u; i < MOVES; i++) {
        moved[i] = load(index + i * THREADS, first_row, first_column, rows, 0u);
    }
    for (var step = 0u; step < params.inputs; step += STEP) {
        for (var i = 0u; i < MOVES; i++) {
            let place = index + i * THREADS;
            if place < STAGED * FOURS {
                staged[(place / FOURS) * PITCH + place % FOURS] = moved[i];
            }
        }
        workgroupBarrier();
        if step + STEP < params.inputs {
            for (var i = 0u; i < MOVES; i++) {
                moved[i] = load(index + i * THREADS, first_row, first_column, rows, step + STEP);
            }
        }
        for (var k = 0u; k < FOURS; k += 4u) {
            for (var m = 0u; m < MATRICES; m++) {
                for (var c = 0u; c < FRAGMENTS_X; c++) {
                    let w_at = (TILE_ROWS + m * TILE_COLUMNS + wave_column + 16u * c) * PITCH + k;
                    let w_block = coopLoad<coop_mat16x16<f16, B>>(&staged[w_at], PITCH);
                    for (var r = 0u; r < FRAGMENTS_Y; r++) {
                        let x_at = (wave_row + 16u * r) * PITCH + k;
                        let x_block = coopLoadT<coop_mat16x16<f16, A>>(&staged[x_at], PITCH);
                        let s = (m * FRAGMENTS_Y + r) * FRAGMENTS_X + c;
                        sums[s] = coopMultiplyAdd(x_block, w_block, sums[s]);
                    }
                }
            }
        }
        workgroupBarrier();
    }

    // Block by block: each subgroup has a place of its own, from which a thread takes 8 results.
    let wave = (thread.z * WAVES_X + thread.y) * 256u;
    let pitch = 16u;
    var gates: array<f32, 8>;
    for (var r = 0u; r < FRAGMENTS_Y; r++) {
        for (var c = 0u; c < FRAGMENTS_X; c++) {
            let s = r * FRAGMENTS_X + c;
            if MATRICES == 2u {
                coopStoreT(sums[(MATRICES - 1u) * BLOCKS + s], &tile[wave], pitch);
                workgroupBarrier();
                for (var i = 0u; i < 8u; i++) {
                    gates[i] = tile[wave + thread.x + 32u * i];
                }
                workgroupBarrier();
            }
            coopStoreT(sums[s], &tile[wave], pitch);
            workgroupBarrier();
            for (var i = 0u; i < 8u; i++) {
                let place = thread.x + 32u * i;
                let row = first_row + wave_row + 16u * r + place / 16u;
                let column = first_column + wave_column + 16u * c + place % 16u;
                if row < rows && column < params.columns {
                    finish(row, params.first_column + column, tile[wave + place], gates[i]);
                }
            }
            workgroupBarrier();
        }
    }
}
