// out = activation(x · wᵀ + bias) * factor + residual, or with a gate
// out = activation(x · gateᵀ + gate_bias) * (x · wᵀ + bias) * factor + residual.
//
// A workgroup computes a tile of TILE_ROWS × TILE_COLUMNS results, each thread THREAD_ROWS × 4 of them in
// registers. The inputs pass by in steps of STEP: the tile's rows of x and of w are staged in workgroup
// memory, four rows side by side at each input, so that each value read from a buffer is used TILE_ROWS
// or TILE_COLUMNS times. Two stages take turns: while one is multiplied, the next is on its way from the
// buffers to registers, and one barrier a step is enough.
//
// Each result takes its products one by one in the order of the inputs, whatever tile it falls in and
// however large tiles are: so tiles can be chosen by the rows of a batch, and a text's vector does not
// depend on what shares its batch.
//
// w may be larger than a binding: it comes in shards of rows (columns of the result), one dispatch
// each. Joined with linear_params.wgsl, rows_by_four.wgsl or rows_by_one.wgsl, and activation.wgsl.

// From the host: TILE_ROWS, TILE_COLUMNS, THREAD_ROWS (4 or 8), STEP (inputs staged at once), MATRICES (2
// with a gate, else 1).
const ROW_FOURS: u32 = TILE_ROWS / 4u;
const COLUMN_FOURS: u32 = TILE_COLUMNS / 4u;
const THREADS_Y: u32 = TILE_ROWS / THREAD_ROWS;
const THREADS: u32 = COLUMN_FOURS * THREADS_Y;
// A block of 4 rows × 4 inputs is what a thread moves at once: [STEP / 4, fours of a tile].
const X_BLOCKS: u32 = ROW_FOURS * (STEP / 4u);
const W_BLOCKS: u32 = COLUMN_FOURS * (STEP / 4u);
const BLOCKS: u32 = X_BLOCKS + MATRICES * W_BLOCKS;
const MOVES: u32 = (BLOCKS + THREADS - 1u) / THREADS;
const STAGE: u32 = STEP * (ROW_FOURS + MATRICES * COLUMN_FOURS);

// Two stages of: x [STEP, ROW_FOURS], w [STEP, COLUMN_FOURS], gate [STEP, COLUMN_FOURS].
var<workgroup> stages: array<vec4<f32>, 2u * STAGE>;

// Block `b` at these inputs, transposed: column i has the four rows at input i.
fn load(b: u32, first_row: u32, first_column: u32, rows: u32, step: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    if b < X_BLOCKS {
        let input = step + 4u * (b % (STEP / 4u));
        let row = first_row + 4u * (b / (STEP / 4u));
        if input < params.inputs {
            for (var i = 0u; i < 4u; i++) {
                if row + i < rows {
                    block[i] = x_four(row + i, input);
                }
            }
        }
    } else if b < BLOCKS {
        let place = (b - X_BLOCKS) % W_BLOCKS;
        let input = step + 4u * (place % (STEP / 4u));
        let column = first_column + 4u * (place / (STEP / 4u));
        let fours = (params.inputs + 3u) / 4u;
        if input < params.inputs {
            for (var i = 0u; i < 4u; i++) {
                if column + i < params.columns {
                    let at = (column + i) * fours + input / 4u;
                    if b < X_BLOCKS + W_BLOCKS {
                        block[i] = widen(w[at]);
                    } else {
                        block[i] = widen(gate[at]);
                    }
                }
            }
        }
    }
    return transpose(block);
}

fn store(b: u32, stage: u32, block: mat4x4<f32>) {
    var first = stage * STAGE;
    var place = b;
    var fours = ROW_FOURS;
    if b >= BLOCKS {
        return;
    }
    if b >= X_BLOCKS {
        let matrix = (b - X_BLOCKS) / W_BLOCKS;
        first += STEP * (ROW_FOURS + matrix * COLUMN_FOURS);
        place = (b - X_BLOCKS) % W_BLOCKS;
        fours = COLUMN_FOURS;
    }
    let at = first + 4u * (place % (STEP / 4u)) * fours + place / (STEP / 4u);
    stages[at] = block[0];
    stages[at + fours] = block[1];
    stages[at + 2u * fours] = block[2];
    stages[at + 3u * fours] = block[3];
}

@compute @workgroup_size(COLUMN_FOURS, THREADS_Y)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) thread: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let rows = select(batch.tokens, batch.texts, params.rows_are_texts != 0u);
    let first_row = group.y * TILE_ROWS;
    let first_column = group.x * TILE_COLUMNS; // within the shard
    var sums = array<vec4<f32>, MATRICES * THREAD_ROWS>();
    var moved = array<mat4x4<f32>, MOVES>();
    for (var i = 0u; i < MOVES; i++) {
        let b = index + i * THREADS;
        store(b, 0u, load(b, first_row, first_column, rows, 0u));
    }
    workgroupBarrier();
    var stage = 0u;
    for (var step = 0u; step < params.inputs; step += STEP) {
        let more = step + STEP < params.inputs;
        if more {
            for (var i = 0u; i < MOVES; i++) {
                moved[i] = load(index + i * THREADS, first_row, first_column, rows, step + STEP);
            }
        }
        let x_stage = stage * STAGE + thread.y * (THREAD_ROWS / 4u);
        let w_stage = stage * STAGE + STEP * ROW_FOURS + thread.x;
        for (var j = 0u; j < STEP; j++) {
            for (var m = 0u; m < MATRICES; m++) {
                let w_four = stages[w_stage + (m * STEP + j) * COLUMN_FOURS];
                for (var r = 0u; r < THREAD_ROWS; r += 4u) {
                    let x_rows = stages[x_stage + j * ROW_FOURS + r / 4u];
                    let s = m * THREAD_ROWS + r;
                    sums[s] = fma(vec4<f32>(x_rows.x), w_four, sums[s]);
                    sums[s + 1u] = fma(vec4<f32>(x_rows.y), w_four, sums[s + 1u]);
                    sums[s + 2u] = fma(vec4<f32>(x_rows.z), w_four, sums[s + 2u]);
                    sums[s + 3u] = fma(vec4<f32>(x_rows.w), w_four, sums[s + 3u]);
                }
            }
        }
        stage = 1u - stage;
        if more {
            for (var i = 0u; i < MOVES; i++) {
                store(index + i * THREADS, stage, moved[i]);
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < THREAD_ROWS; r++) {
        let row = first_row + thread.y * THREAD_ROWS + r;
        for (var c = 0u; c < 4u; c++) {
            let column = first_column + thread.x * 4u + c;
            if row < rows && column < params.columns {
                let gate_sum = sums[(MATRICES - 1u) * THREAD_ROWS + r][c];
                finish(row, params.first_column + column, sums[r][c], gate_sum);
            }
        }
    }
}
