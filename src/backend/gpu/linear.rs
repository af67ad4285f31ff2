//! Linear layers: which variant of which shader computes them.
//!
//! | variant | where |
//! |---|---|
//! | linear_matrix.wgsl | weights and activations in f16, an adapter with cooperative matrices that passed [the check](super::check::matrices), rows a multiple of four values |
//! | linear.wgsl, four values at a time | rows a multiple of four values |
//! | linear.wgsl, one value at a time | the rest |
//!
//! Which of them depends on the layer and the device alone. How large tiles are depends on the batch too:
//! the largest that give a device enough workgroups, else the smallest, which let a short text fill more of
//! it. Each result is the same whatever its tile: the inputs of one result are never split among
//! workgroups.

use super::dispatch::{Binding, Grid, Prepared, activation_code, values_of};
use super::lowering::Lowering;
use super::shader::{Formats, MATRIX_TILES, Shader, ShaderVariant, TILES, Tile, Values, Weights};
use super::upload::{Shard, shards};
use crate::error::Result;
use crate::model::LinearSpec;
use crate::plan::{Rows, Step};
use std::sync::Arc;

/// Workgroups that make larger tiles worth while: one for each of a large device's processors. The smaller
/// the tile, the more often is each value read.
const ENOUGH_GROUPS: usize = 128;

impl Lowering<'_> {
    pub(super) fn linear(&mut self, step: &Step) -> Result<usize> {
        let Step::Linear { linear, gate, activation, input, factor, residual, exact, output } = step else {
            unreachable!("called for linear steps");
        };
        let rows = self.rows(*output);
        let formats = match (rows, exact) {
            (Rows::Texts, _) => Formats::EXACT,
            (Rows::Tokens, true) => Formats { weights: Weights::F32, ..self.formats },
            (Rows::Tokens, false) => self.formats,
        };
        let bias = linear.bias()?;
        let bias_binding = self.values_or_unused("bias", bias.as_deref())?;
        let gate_bias = match gate {
            Some(gate) => gate.bias()?,
            None => None,
        };
        let gate_bias_binding = self.values_or_unused("gate bias", gate_bias.as_deref())?;
        let tensors =
            |linear: &LinearSpec| linear.parts.iter().map(|(weight, _)| weight.clone()).collect::<Vec<_>>();
        let mut gates = match gate {
            Some(gate) => shards(self.gpu, &tensors(gate), formats.weights)?,
            None => Vec::new(),
        }
        .into_iter();
        for Shard { first, rows: columns, buffer } in shards(self.gpu, &tensors(linear), formats.weights)? {
            // A gate has the same shape, so the same shards.
            let gate_shard = gates.next().map(|shard| Arc::new(shard.buffer));
            self.weight_bytes +=
                buffer.size() as usize + gate_shard.as_ref().map_or(0, |gate| gate.size() as usize);
            let params = [
                linear.inputs() as u32,
                linear.outputs() as u32,
                first as u32,
                columns as u32,
                u32::from(rows == Rows::Texts),
                activation_code(*activation),
                u32::from(bias.is_some()),
                u32::from(gate_bias.is_some()),
                u32::from(residual.is_some()),
                u32::from(factor.is_some()),
                factor.map_or(0, |(buffer, _)| self.width(buffer)),
                factor.map_or(0, |(_, column)| column as u32),
            ];
            let bindings = vec![
                Binding::Plan(*input),
                Binding::Constant(Arc::new(buffer)),
                bias_binding.clone(),
                Binding::Constant(gate_shard.unwrap_or_else(|| self.unused.clone())),
                gate_bias_binding.clone(),
                self.plan_or_unused(factor.map(|(buffer, _)| buffer)),
                self.plan_or_unused(*residual),
                Binding::Plan(*output),
            ];
            let variants = self.variants(formats, linear.inputs(), columns, gate.is_some(), rows);
            self.push_variants(variants, &params, bindings)?;
        }
        Ok(1)
    }

    /// The variants of a layer, with tiles of all sizes that the adapter has room for.
    fn variants(
        &self,
        formats: Formats,
        inputs: usize,
        columns: usize,
        gated: bool,
        rows: Rows,
    ) -> Vec<(ShaderVariant, Grid)> {
        let formats = Formats { values: values_of(formats, rows), ..formats };
        let by_four = inputs.is_multiple_of(4);
        let half = formats == Formats { values: Values::F16, weights: Weights::F16 };
        let (shader, tiles): (_, &[Tile]) = match self.matrices.linear && half && by_four {
            true => (Shader::LinearMatrix, &MATRIX_TILES),
            false => (Shader::Linear { by_four }, &TILES),
        };
        let matrices = if gated { 2 } else { 1 };
        let room = self.gpu.workgroup_bytes();
        let fits = |tile: &&Tile| tile.workgroup_bytes(shader, matrices) <= room;
        let variant = |tile: &Tile| {
            let variant = ShaderVariant::new(shader, formats, tile.constants(matrices as u32));
            (variant, Grid::Tiles { rows, columns, tile: [tile.rows, tile.columns] })
        };
        tiles.iter().filter(fits).map(variant).collect()
    }
}

/// The variant for this many rows: the first whose tiles give enough workgroups, else the last.
pub(super) fn variant_for(variants: &[Prepared], rows: usize) -> Option<&Prepared> {
    let enough = |variant: &&Prepared| match variant.grid {
        Grid::Tiles { columns, tile, .. } => {
            rows.div_ceil(tile[0]) * columns.div_ceil(tile[1]) >= ENOUGH_GROUPS
        }
        _ => true,
    };
    variants.iter().find(enough).or(variants.last())
}
