//! The shaders of `shaders/`: which file a step runs, in which of its variants, and the text of each.
//!
//! A variant is the file with a few others joined to it (what activations and weights are stored as, shared
//! functions) and some constants in front. No other text is made here.

/// A shader by the name of its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Shader {
    Embed,
    Norm,
    HeadNorm,
    /// With the input's rows a multiple of four values, or not.
    Linear {
        by_four: bool,
    },
    LinearMatrix,
    Rotary,
    ShortConv,
    Attention,
    AttentionMatrix,
    Pool,
    Normalize,
    Route,
    ExpertUp,
    ExpertDown,
    PeakFma,
    PeakCopy,
    Turns,
    PeakMatrix,
}

impl Shader {
    /// Whether it is joined with one of the two files of sums.
    pub(super) fn has_sums(self) -> bool {
        matches!(self, Shader::Embed | Shader::Norm | Shader::HeadNorm | Shader::Pool | Shader::Normalize)
    }

    /// Whether it needs cooperative matrices.
    pub(super) fn is_on_matrices(self) -> bool {
        matches!(self, Shader::LinearMatrix | Shader::AttentionMatrix | Shader::PeakMatrix)
    }
}

/// What the activations of tokens are stored as. Those of texts, from the pooling on, are f32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Values {
    F32,
    F16,
}

impl Values {
    /// Bytes of one.
    pub(super) fn bytes(self) -> usize {
        match self {
            Values::F32 => 4,
            Values::F16 => 2,
        }
    }
}

/// What weight matrices are stored as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Weights {
    F32,
    F16,
    Bf16,
}

/// What a device stores.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Formats {
    pub(super) values: Values,
    pub(super) weights: Weights,
}

impl Formats {
    /// As in the oracle.
    pub(super) const EXACT: Formats = Formats { values: Values::F32, weights: Weights::F32 };
}

/// How the threads of a workgroup add up their values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Sums {
    /// In halves, through workgroup memory.
    InMemory,
    /// With subgroup operations.
    BySubgroup,
}

/// A shader in one of its variants.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct ShaderVariant {
    pub(super) shader: Shader,
    pub(super) formats: Formats,
    pub(super) sums: Sums,
    /// Constants that the file leaves to the host.
    pub(super) constants: Vec<(&'static str, u32)>,
}

/// A file of `shaders/`.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../shaders/", $name, ".wgsl"))
    };
}

/// What stands before everything else in shaders with cooperative matrices.
const ENABLE_MATRICES: &str = "enable wgpu_cooperative_matrix;\n";

impl ShaderVariant {
    /// A variant that has no sums, or has them in memory.
    pub(super) fn new(
        shader: Shader,
        formats: Formats,
        constants: Vec<(&'static str, u32)>,
    ) -> ShaderVariant {
        ShaderVariant { shader, formats, sums: Sums::InMemory, constants }
    }

    /// Its name, for messages.
    pub(super) fn name(&self) -> String {
        let Formats { values, weights } = self.formats;
        let constants: Vec<String> =
            self.constants.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let constants = constants.join(", ");
        format!(
            "{:?}, values {values:?}, weights {weights:?}, sums {:?}, {constants}",
            self.shader, self.sums
        )
    }

    /// Its text.
    pub(super) fn source(&self) -> String {
        let values = match self.formats.values {
            Values::F32 => file!("values_f32"),
            Values::F16 => file!("values_f16"),
        };
        let weights = match self.formats.weights {
            Weights::F32 => file!("weights_f32"),
            Weights::F16 => file!("weights_f16"),
            Weights::Bf16 => file!("weights_bf16"),
        };
        let on_matrices = self.shader.is_on_matrices();
        let extension = if on_matrices { ENABLE_MATRICES } else { "" };
        let mut source = [extension, values].concat();
        for (name, value) in &self.constants {
            source += &format!("const {name}: u32 = {value}u;\n");
        }
        let activation = file!("activation");
        let reduce = match self.sums {
            Sums::InMemory => file!("reduce"),
            Sums::BySubgroup => file!("reduce_subgroups"),
        };
        let files: &[&str] = match self.shader {
            Shader::Embed => &[weights, reduce, file!("embed")],
            Shader::Norm => &[reduce, file!("norm")],
            Shader::HeadNorm => &[reduce, file!("head_norm")],
            Shader::Linear { by_four } => &[
                weights,
                file!("linear_params"),
                if by_four { file!("rows_by_four") } else { file!("rows_by_one") },
                activation,
                file!("linear"),
            ],
            Shader::LinearMatrix => &[weights, file!("linear_params"), activation, file!("linear_matrix")],
            Shader::Rotary => &[file!("rotary")],
            Shader::ShortConv => &[file!("short_conv")],
            Shader::Attention => &[file!("attention_params"), file!("attention")],
            Shader::AttentionMatrix => &[file!("attention_params"), file!("attention_matrix")],
            Shader::Pool => &[reduce, file!("pool")],
            Shader::Normalize => &[reduce, file!("normalize")],
            Shader::Route => &[file!("route")],
            Shader::ExpertUp => &[weights, activation, file!("expert_up")],
            Shader::ExpertDown => &[weights, file!("expert_down")],
            Shader::PeakFma => &[file!("peak_fma")],
            Shader::PeakCopy => &[file!("peak_copy")],
            Shader::Turns => &[file!("turns")],
            Shader::PeakMatrix => &[file!("peak_matrix")],
        };
        files.iter().for_each(|file| source += file);
        source
    }
}

/// The size of the tiles that a linear layer's workgroups compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tile {
    pub(super) rows: usize,
    pub(super) columns: usize,
    constants: [(&'static str, u32); 4],
}

impl Tile {
    const fn plain(rows: u32, columns: u32, thread_rows: u32) -> Tile {
        let constants =
            [("TILE_ROWS", rows), ("TILE_COLUMNS", columns), ("THREAD_ROWS", thread_rows), ("STEP", 16)];
        Tile { rows: rows as usize, columns: columns as usize, constants }
    }

    const fn matrix(waves: [u32; 2], fragments: [u32; 2]) -> Tile {
        let constants = [
            ("WAVES_X", waves[0]),
            ("WAVES_Y", waves[1]),
            ("FRAGMENTS_X", fragments[0]),
            ("FRAGMENTS_Y", fragments[1]),
        ];
        Tile {
            rows: (16 * waves[1] * fragments[1]) as usize,
            columns: (16 * waves[0] * fragments[0]) as usize,
            constants,
        }
    }

    /// The constants of the variant with `matrices` weight matrices: 2 with a gate, else 1.
    pub(super) fn constants(&self, matrices: u32) -> Vec<(&'static str, u32)> {
        self.constants.into_iter().chain([("MATRICES", matrices)]).collect()
    }

    /// Bytes of workgroup memory, as the shader declares it.
    pub(super) fn workgroup_bytes(&self, shader: Shader, matrices: usize) -> usize {
        let staged_rows = self.rows + matrices * self.columns;
        match shader {
            Shader::LinearMatrix => {
                let waves = (self.constants[0].1 * self.constants[1].1) as usize;
                staged_rows * 40 * 2 + waves * 256 * 4
            }
            _ => 2 * 16 * staged_rows * 4,
        }
    }
}

/// Tiles of linear.wgsl, largest first: the first for many rows, the last for a short text.
pub(super) const TILES: [Tile; 2] = [Tile::plain(64, 64, 8), Tile::plain(16, 32, 4)];

/// Tiles of linear_matrix.wgsl, largest first.
pub(super) const MATRIX_TILES: [Tile; 3] =
    [Tile::matrix([4, 2], [2, 4]), Tile::matrix([2, 2], [2, 2]), Tile::matrix([4, 1], [1, 1])];

/// Queries of a tile of attention.wgsl whose workgroup memory this many bytes are enough for.
pub(super) fn attention_queries(head_dim: usize, workgroup_bytes: usize) -> Option<usize> {
    [32, 16, 8, 4]
        .into_iter()
        .find(|queries| 4 * head_dim * queries + 4096 + 128 * queries <= workgroup_bytes)
}

/// Bytes of workgroup memory of attention_matrix.wgsl; `None`: it does not take heads of this size.
pub(super) fn attention_matrix_bytes(head_dim: usize, queries: usize) -> Option<usize> {
    let fits = head_dim.is_multiple_of(16) && queries.is_multiple_of(16);
    let pitch = 2 * (head_dim + 8);
    fits.then_some((queries + 32) * pitch + queries * (32 * 4 + 40 * 2 + 2 * 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use naga::back::{hlsl, msl, spv};
    use naga::valid::{Capabilities, ModuleInfo, SubgroupOperationSet, ValidationFlags, Validator};

    /// Every variant that a device may be given.
    fn variants() -> Vec<ShaderVariant> {
        let all = [
            Formats::EXACT,
            Formats { values: Values::F32, weights: Weights::Bf16 },
            Formats { values: Values::F16, weights: Weights::F16 },
            Formats { values: Values::F16, weights: Weights::F32 },
        ];
        let mut variants = Vec::new();
        for formats in all {
            let mut add = |shader: Shader, constants: Vec<_>| {
                if shader.has_sums() {
                    let sums = Sums::BySubgroup;
                    variants.push(ShaderVariant { shader, formats, sums, constants: constants.clone() });
                }
                variants.push(ShaderVariant::new(shader, formats, constants));
            };
            for shader in [
                Shader::Embed,
                Shader::Norm,
                Shader::HeadNorm,
                Shader::Rotary,
                Shader::ShortConv,
                Shader::Pool,
                Shader::Normalize,
                Shader::Route,
                Shader::ExpertUp,
                Shader::ExpertDown,
                Shader::PeakFma,
                Shader::PeakCopy,
                Shader::Turns,
            ] {
                add(shader, Vec::new());
            }
            if formats.values == Values::F16 {
                add(Shader::PeakMatrix, Vec::new());
            }
            for (head_dim, queries) in [(12, 32), (64, 32), (128, 32), (256, 16), (512, 8)] {
                for has_bias in [0, 1, 2, 4, 6] {
                    let constants = [("HEAD_DIM", head_dim), ("QUERIES", queries), ("HAS_BIAS", has_bias)];
                    add(Shader::Attention, constants.to_vec());
                    let on_matrices = attention_matrix_bytes(head_dim as usize, queries as usize);
                    if formats.values == Values::F16 && on_matrices.is_some() && has_bias < 2 {
                        add(Shader::AttentionMatrix, constants.to_vec());
                    }
                }
            }
            for matrices in [1, 2] {
                for (tile, by_four) in TILES.iter().flat_map(|tile| [(tile, true), (tile, false)]) {
                    add(Shader::Linear { by_four }, tile.constants(matrices));
                }
                if formats.weights == Weights::F16 {
                    MATRIX_TILES.iter().for_each(|tile| add(Shader::LinearMatrix, tile.constants(matrices)));
                }
            }
        }
        variants
    }

    fn validated(variant: &ShaderVariant) -> (naga::Module, ModuleInfo) {
        let source = variant.source();
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{}: {}", variant.name(), e.emit_to_string(&source)));
        // No capability beyond WebGPU's own but those that the variant is for.
        let mut capabilities = Capabilities::empty();
        if variant.formats.values == Values::F16 {
            capabilities |= Capabilities::SHADER_FLOAT16;
        }
        if variant.shader.is_on_matrices() {
            capabilities |= Capabilities::COOPERATIVE_MATRIX;
        }
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        if variant.sums == Sums::BySubgroup {
            validator = Validator::new(ValidationFlags::all(), capabilities | Capabilities::SUBGROUP);
            validator.subgroup_operations(SubgroupOperationSet::all());
        }
        let info = validator
            .validate(&module)
            .unwrap_or_else(|e| panic!("{}: {}", variant.name(), e.emit_to_string(&source)));
        (module, info)
    }

    #[test]
    fn every_form_is_valid_and_translates_to_vulkan() {
        for variant in variants() {
            let (module, info) = validated(&variant);
            let options = spv::Options { lang_version: (1, 4), ..spv::Options::default() };
            let words = spv::write_vec(&module, &info, &options, None);
            assert!(!words.unwrap_or_else(|e| panic!("{}: {e}", variant.name())).is_empty());
        }
    }

    /// Metal's matrix units multiply blocks of 8 × 8, DirectX has none through wgpu.
    fn elsewhere() -> impl Iterator<Item = ShaderVariant> {
        variants().into_iter().filter(|variant| !variant.shader.is_on_matrices())
    }

    #[test]
    fn every_form_translates_to_metal() {
        for variant in elsewhere() {
            let (module, info) = validated(&variant);
            let options = msl::Options { fake_missing_bindings: true, ..msl::Options::default() };
            let text = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
            let (text, _) = text.unwrap_or_else(|e| panic!("{}: {e}", variant.name()));
            assert!(text.contains("kernel void"), "{}", variant.name());
        }
    }

    #[test]
    fn every_form_translates_to_directx() {
        for variant in elsewhere() {
            let (module, info) = validated(&variant);
            // f16 came with shader model 6.2.
            let shader_model = hlsl::ShaderModel::V6_2;
            let options = hlsl::Options { fake_missing_bindings: true, shader_model, ..Default::default() };
            let mut text = String::new();
            let pipeline = hlsl::PipelineOptions::default();
            let result = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None);
            result.unwrap_or_else(|e| panic!("{}: {e}", variant.name()));
            assert!(text.contains("numthreads"), "{}", variant.name());
        }
    }

    /// What the host counts as a tile's workgroup memory is what the shader declares.
    #[test]
    fn workgroup_memory_is_as_declared() {
        for variant in variants() {
            let (module, _) = validated(&variant);
            let mut layouter = naga::proc::Layouter::default();
            layouter.update(module.to_ctx()).expect("valid modules have layouts");
            let declared: u32 = module
                .global_variables
                .iter()
                .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
                .map(|(_, variable)| layouter[variable.ty].size)
                .sum();
            let constant =
                |name| variant.constants.iter().find(|(other, _)| *other == name).map_or(0, |c| c.1);
            let matrices = constant("MATRICES") as usize;
            let counted = match variant.shader {
                Shader::Linear { .. } | Shader::LinearMatrix => {
                    let mut tiles = TILES.iter().chain(&MATRIX_TILES);
                    let tile = tiles.find(|tile| tile.constants(matrices as u32) == variant.constants);
                    tile.expect("one of the tiles").workgroup_bytes(variant.shader, matrices)
                }
                Shader::Attention => {
                    let (dim, queries) = (constant("HEAD_DIM") as usize, constant("QUERIES") as usize);
                    assert_eq!(attention_queries(dim, declared as usize), Some(queries));
                    continue;
                }
                Shader::AttentionMatrix => {
                    let (dim, queries) = (constant("HEAD_DIM") as usize, constant("QUERIES") as usize);
                    attention_matrix_bytes(dim, queries).expect("one that it takes")
                }
                _ => continue,
            };
            assert_eq!(declared as usize, counted, "{}", variant.name());
        }
    }
}
