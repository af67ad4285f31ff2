//! From the rows that a model gives for a text to the value that a caller asked for.

use super::outputs::{AllVectors, DenseAndSparse, Piece, SparseVector, TokenVectors};
use super::request::{Shape, TokenizedRequest};
use crate::batch::TokenizedText;
use crate::engine::{Engine, TextResults};
use crate::error::{Error, RequestError, RequestResult, Result};
use crate::model::OutputKind;
use crate::options::EmbedOptions;
use crate::vector::{Finish, normalize};
use std::collections::BTreeMap;

/// What a call can give for a text: a dense vector (`Vec<f32>`), a [`SparseVector`], [`DenseAndSparse`], [`TokenVectors`],
/// [`Piece`]s of a text (`Vec<Piece>`), or [`AllVectors`] that the model has.
pub trait Value: FromRows + Send {}

impl Value for Vec<f32> {}
impl Value for SparseVector {}
impl Value for DenseAndSparse {}
impl Value for TokenVectors {}
impl Value for Vec<Piece> {}
impl Value for AllVectors {}

/// How a value is made. Only for this crate: what a model gives is closed.
#[allow(private_interfaces)]
pub trait FromRows: Sized {
    /// What its tokens are wanted for.
    const SHAPE: Shape;

    /// The model's outputs that it is made of: positions in [`Model::outputs`](crate::model::Model::outputs).
    fn outputs(engine: &Engine) -> Result<Vec<usize>>;

    /// The value, from the rows of each part of the text; `outputs` are those above.
    fn from_rows(
        engine: &Engine,
        request: &TokenizedRequest,
        outputs: &[usize],
        parts: Vec<TextResults>,
    ) -> Result<Self>;
}

/// Checks that options fit what is asked for, before anything is computed.
pub(super) fn check_options<T: Value>(engine: &Engine, options: &EmbedOptions) -> Result<()> {
    for output in T::outputs(engine)? {
        finish(engine, options, output)?;
    }
    Ok(())
}

/// What is done to an output's vectors at the end.
pub(super) fn finish(engine: &Engine, options: &EmbedOptions, output: usize) -> RequestResult<Finish> {
    let model = &engine.model;
    if matches!(model.outputs[output].kind, OutputKind::Vocabulary | OutputKind::TokenWeights) {
        // Weights of the vocabulary's entries: there is nothing to cut or to bring to unit length.
        let dimensions = model.encoder.embedding.word.rows();
        return Ok(Finish {
            dimensions,
            whole: false,
            layer_norm: false,
            unit_length: false,
            cut_last: None,
        });
    }
    let all = model.width(output);
    let invalid = |found: usize, expected| RequestError::InvalidOption {
        option: "dimensions",
        found: found.to_string(),
        expected,
    };
    let dimensions = match options.dimensions {
        None => all,
        Some(wanted) if wanted != all && model.dense_folders.contains(&wanted) => {
            let expected = format!(
                "{all}: the model has a projection of its own for {wanted}, so open it with Builder::dimensions({wanted})"
            );
            return Err(invalid(wanted, expected));
        }
        Some(wanted) if (1..=all).contains(&wanted) => wanted,
        Some(wanted) => {
            return Err(invalid(wanted, format!("1 to {all}, the size of the model's vectors")));
        }
    };
    let unit_length = options.normalize.unwrap_or(model.outputs[output].unit_length);
    // sentence-transformers cuts without a change of length.
    let cut_last = model.truncate_dimensions.filter(|_| options.dimensions.is_none());
    let whole = model.outputs[output].whole;
    Ok(Finish { dimensions, whole, layer_norm: model.prompts.layer_norm_before_cut(), unit_length, cut_last })
}

/// The rows of one part's output, of a model that gives what it says.
fn rows_of(parts: Vec<TextResults>, output: usize) -> Result<Vec<f32>> {
    let rows = parts.into_iter().next().and_then(|part| part.into_iter().nth(output));
    rows.ok_or(Error::Internal { what: "the backend gave no rows for a text" })
}

#[allow(private_interfaces)]
impl FromRows for Vec<f32> {
    const SHAPE: Shape = Shape::Pooled;

    fn outputs(engine: &Engine) -> Result<Vec<usize>> {
        Ok(vec![engine.model.require_output(OutputKind::Dense)?])
    }

    fn from_rows(
        engine: &Engine,
        request: &TokenizedRequest,
        outputs: &[usize],
        parts: Vec<TextResults>,
    ) -> Result<Vec<f32>> {
        let finish = finish(engine, &request.options, outputs[0])?;
        let vectors: Vec<Vec<f32>> = parts.into_iter().flatten().collect();
        let mut vector = weighted_mean(&request.parts, vectors, finish);
        finish.apply(&mut vector);
        Ok(vector)
    }
}

#[allow(private_interfaces)]
impl FromRows for SparseVector {
    const SHAPE: Shape = Shape::Whole;

    fn outputs(engine: &Engine) -> Result<Vec<usize>> {
        let model = &engine.model;
        let vocabulary = model.output(OutputKind::Vocabulary);
        Ok(vec![vocabulary.map_or_else(|| model.require_output(OutputKind::TokenWeights), Ok)?])
    }

    fn from_rows(
        engine: &Engine,
        request: &TokenizedRequest,
        outputs: &[usize],
        parts: Vec<TextResults>,
    ) -> Result<SparseVector> {
        if let Some(query) = &request.looked_up {
            return Ok(of_table(engine, query));
        }
        let rows = rows_of(parts, 0)?;
        Ok(sparse(engine, &request.parts[0], outputs[0], &rows))
    }
}

#[allow(private_interfaces)]
impl FromRows for DenseAndSparse {
    const SHAPE: Shape = Shape::Whole;

    fn outputs(engine: &Engine) -> Result<Vec<usize>> {
        Ok([Vec::<f32>::outputs(engine)?, SparseVector::outputs(engine)?].concat())
    }

    fn from_rows(
        engine: &Engine,
        request: &TokenizedRequest,
        outputs: &[usize],
        parts: Vec<TextResults>,
    ) -> Result<DenseAndSparse> {
        let missing = || Error::Internal { what: "the backend gave no rows for a text" };
        let mut rows = parts.into_iter().next().unwrap_or_default().into_iter();
        let (mut dense, weights) = rows.next().zip(rows.next()).ok_or_else(missing)?;
        finish(engine, &request.options, outputs[0])?.apply(&mut dense);
        Ok(DenseAndSparse { dense, sparse: sparse(engine, &request.parts[0], outputs[1], &weights) })
    }
}

#[allow(private_interfaces)]
impl FromRows for TokenVectors {
    const SHAPE: Shape = Shape::Whole;

    fn outputs(engine: &Engine) -> Result<Vec<usize>> {
        Ok(vec![engine.model.require_output(OutputKind::TokenVectors)?])
    }

    fn from_rows(
        engine: &Engine,
        request: &TokenizedRequest,
        outputs: &[usize],
        parts: Vec<TextResults>,
    ) -> Result<TokenVectors> {
        token_vectors(engine, request, outputs[0], &rows_of(parts, 0)?)
    }
}

#[allow(private_interfaces)]
impl FromRows for AllVectors {
    const SHAPE: Shape = Shape::Whole;

    fn outputs(engine: &Engine) -> Result<Vec<usize>> {
        Ok((0..engine.model.outputs.len()).collect())
    }

    fn from_rows(
        engine: &Engine,
        request: &TokenizedRequest,
        outputs: &[usize],
        parts: Vec<TextResults>,
    ) -> Result<AllVectors> {
        let looked_up = request.looked_up.as_ref().map(|query| of_table(engine, query));
        let mut all = AllVectors { sparse: looked_up, ..AllVectors::default() };
        for (&output, mut rows) in outputs.iter().zip(parts.into_iter().flatten()) {
            match engine.model.outputs[output].kind {
                OutputKind::Dense | OutputKind::Labels => {
                    finish(engine, &request.options, output)?.apply(&mut rows);
                    all.dense = Some(rows);
                }
                OutputKind::Vocabulary | OutputKind::TokenWeights => {
                    all.sparse = Some(sparse(engine, &request.parts[0], output, &rows));
                }
                OutputKind::TokenVectors => {
                    all.tokens = Some(token_vectors(engine, request, output, &rows)?);
                }
            }
        }
        Ok(all)
    }
}

#[allow(private_interfaces)]
impl FromRows for Vec<Piece> {
    const SHAPE: Shape = Shape::Pieces;

    fn outputs(engine: &Engine) -> Result<Vec<usize>> {
        let model = &engine.model;
        let output = model.require_output(OutputKind::Dense)?;
        let pooling = model.outputs[output].pooling.as_ref();
        if !pooling.is_some_and(|pooling| pooling.modes.iter().all(|mode| mode.takes_all())) {
            return Err(RequestError::InvalidOption {
                option: "late chunking",
                found: "a model that pools one token".to_owned(),
                expected: "a model that pools all tokens; embed the pieces as texts of their own".to_owned(),
            }
            .into());
        }
        Ok(vec![output])
    }

    fn from_rows(
        engine: &Engine,
        request: &TokenizedRequest,
        outputs: &[usize],
        parts: Vec<TextResults>,
    ) -> Result<Vec<Piece>> {
        let finish = finish(engine, &request.options, outputs[0])?;
        let rows = rows_of(parts, 0)?;
        let mut start = 0;
        let mut piece = |((row, pool), &end): ((&[f32], &std::ops::Range<usize>), &usize)| {
            let mut vector = row.to_vec();
            finish.apply(&mut vector);
            let piece = Piece { bytes: start..end, tokens: pool.len(), vector };
            start = end;
            piece
        };
        let rows = rows.chunks_exact(engine.model.width(outputs[0]));
        Ok(rows.zip(&request.parts[0].pools).zip(&request.pieces).map(&mut piece).collect())
    }
}

/// The mean of the parts' vectors, weighted by their tokens. A single part's vector stays as it is. Where
/// vectors are brought to unit length, only directions count, so each part goes in at unit length.
fn weighted_mean(parts: &[TokenizedText], mut vectors: Vec<Vec<f32>>, finish: Finish) -> Vec<f32> {
    if vectors.len() == 1 {
        return vectors.swap_remove(0);
    }
    let total: usize = parts.iter().map(|part| part.ids.len()).sum();
    let mut mean = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for (part, vector) in parts.iter().zip(&mut vectors) {
        if finish.unit_length {
            normalize(vector);
        }
        let weight = part.ids.len() as f32 / total as f32;
        mean.iter_mut().zip(vector).for_each(|(m, v)| *m += weight * *v);
    }
    mean
}

fn sparse(engine: &Engine, text: &TokenizedText, output: usize, weights: &[f32]) -> SparseVector {
    match engine.model.outputs[output].kind {
        OutputKind::TokenWeights => of_tokens(engine, text, weights),
        _ => of_vocabulary(weights, engine.model.max_active.unwrap_or(usize::MAX)),
    }
}

/// SPLADE: the entries of the vocabulary that weigh something, the `most` largest of them.
fn of_vocabulary(weights: &[f32], most: usize) -> SparseVector {
    let entries = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
    let mut entries: Vec<(u32, f32)> = entries.map(|(index, weight)| (index as u32, *weight)).collect();
    if entries.len() > most {
        entries.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        entries.truncate(most);
        entries.sort_unstable_by_key(|(index, _)| *index);
    }
    let (indices, values) = entries.into_iter().unzip();
    SparseVector { indices, values }
}

/// A query that is looked up: the weight of each entry of the vocabulary that it has, however often.
fn of_table(engine: &Engine, query: &TokenizedText) -> SparseVector {
    let table = engine.model.static_queries.as_ref().map_or(&[][..], |queries| &queries.weights);
    let weight = |id: &u32| table.get(*id as usize).filter(|weight| **weight != 0.0);
    let entries: BTreeMap<u32, f32> = query.ids.iter().filter_map(|id| Some((*id, *weight(id)?))).collect();
    let (indices, values) = entries.into_iter().unzip();
    SparseVector { indices, values }
}

/// bge-m3: the largest weight of each token id, special ones left out.
fn of_tokens(engine: &Engine, text: &TokenizedText, weights: &[f32]) -> SparseVector {
    let mut max: BTreeMap<u32, f32> = BTreeMap::new();
    for (&id, &weight) in text.ids.iter().zip(weights) {
        if weight > 0.0 && !engine.tokenizer.has_no_weight(id) {
            let entry = max.entry(id).or_insert(weight);
            *entry = entry.max(weight);
        }
    }
    let (indices, values) = max.into_iter().unzip();
    SparseVector { indices, values }
}

fn token_vectors(
    engine: &Engine,
    request: &TokenizedRequest,
    output: usize,
    rows: &[f32],
) -> Result<TokenVectors> {
    let finish = finish(engine, &request.options, output)?;
    let width = engine.model.width(output);
    let skip_first = engine.model.late_interaction.as_ref().is_some_and(|late| late.skip_first);
    let mut vectors = TokenVectors { dimensions: finish.size(), ..TokenVectors::default() };
    for (i, (&id, row)) in request.parts[0].ids.iter().zip(rows.chunks_exact(width)).enumerate() {
        if (i == 0 && skip_first) || (!request.prompt.is_query && engine.tokenizer.skipped(id)) {
            continue;
        }
        let mut row = row.to_vec();
        finish.apply(&mut row);
        vectors.ids.push(id);
        vectors.values.extend(row);
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_weight_are_left_out() {
        let of = |weights: &[f32], most| of_vocabulary(weights, most);
        assert_eq!(of(&[0.0, 0.5, 0.0], 9), SparseVector { indices: vec![1], values: vec![0.5] });
        let two = SparseVector { indices: vec![1, 3], values: vec![0.5, 0.7] };
        assert_eq!(of(&[0.1, 0.5, 0.0, 0.7], 2), two);
    }
}
