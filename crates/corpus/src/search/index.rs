//! Files of vectors, searched together.

use super::columns;
use super::file::{self, VectorFile};
use super::filter::{self, Condition};
use super::hit::Hit;
use super::sample::{self, Sample};
use super::scoring::Scoring;
use super::sparse::{self, Weights};
use super::stored::Values;
use super::top::Top;
use crate::error::{CorpusError, Result};
use arrow_array::RecordBatch;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use taskvec::{DenseAndSparse, Fingerprint, OutputType, Similarity, SparseVector};
use taskvec_kernels::Isa;

/// Of how many times the wanted hits the stored bits are compared with the query itself, for vectors of bits.
const RESCORED: usize = 8;

/// Of how many times the wanted hits, and of how many at least, the ranks of a hybrid search are looked at.
const CANDIDATES: usize = 10;
const FEWEST_CANDIDATES: usize = 100;

/// What is added to a rank before it counts as its reciprocal: the paper's value.
const RANK: f32 = 60.0;

/// The best of several lists by the sum of their reciprocal ranks.
fn fused(lists: [&Vec<Hit>; 2], count: usize) -> Vec<Hit> {
    let mut scores: HashMap<(usize, u64), f32> = HashMap::new();
    for list in lists {
        for (rank, hit) in list.iter().enumerate() {
            *scores.entry((hit.file, hit.row)).or_default() += 1.0 / (RANK + 1.0 + rank as f32);
        }
    }
    let mut top = Top::new(count);
    scores.into_iter().for_each(|((file, row), score)| top.offer(Hit { score, file, row }));
    top.best_first()
}

/// Files of vectors that were made alike, to be searched.
///
/// ```no_run
/// use taskvec::{Embedder, Similarity, Task};
/// use taskvec_corpus::Index;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let index = Index::open(&["faq.parquet"])?;
/// let embedder = Embedder::builtin()?;
/// let query = embedder.embed("How do I get a new password?", Task::RetrievalQuery)?;
/// index.check_comparable(&query.space.fingerprint())?;
/// for hit in index.search(&query.value, 10)? {
///     println!("{:.4}  row {} of {}", hit.score, hit.row, index.files()[hit.file].display());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Index {
    files: Vec<VectorFile>,
    paths: Vec<PathBuf>,
    similarity: Similarity,
    /// Of each file, which rows may be found; empty: all.
    allowed: Vec<Vec<bool>>,
}

impl Index {
    /// Opens files that a [`Job`](crate::Job) wrote as Parquet or Arrow, or folders of them. Nothing of their vectors is
    /// read yet.
    ///
    /// # Errors
    /// If a file cannot be read, has no vectors, or they were made in another way than those of the files before it.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Index> {
        let mut files: Vec<VectorFile> = Vec::new();
        for path in file::find(paths)? {
            let opened = VectorFile::open(&path)?;
            if let Some(first) = files.first() {
                opened.check_made_as(first)?;
            }
            files.push(opened);
        }
        let paths: Vec<PathBuf> = files.iter().map(|file| file.layout.path.clone()).collect();
        if files.is_empty() {
            return Err(CorpusError::NoInput("there is nothing to search: no file was named".to_owned()));
        }
        Ok(Index { files, paths, similarity: Similarity::Cosine, allowed: Vec::new() })
    }

    /// How vectors are compared; [`Similarity::Cosine`] unless said otherwise. Cosine and dot product can be searched by.
    pub fn by(mut self, similarity: Similarity) -> Index {
        self.similarity = similarity;
        self
    }

    /// Only rows that fulfil all conditions can be found.
    ///
    /// # Errors
    /// If a column is not there, or its values cannot be compared so.
    pub fn only(mut self, conditions: &[Condition]) -> Result<Index> {
        for condition in conditions {
            let rows: Vec<Vec<bool>> =
                self.files.iter().map(|file| filter::rows(file, condition)).collect::<Result<_>>()?;
            if self.allowed.is_empty() {
                self.allowed = rows;
                continue;
            }
            for (allowed, rows) in self.allowed.iter_mut().flatten().zip(rows.iter().flatten()) {
                *allowed &= rows;
            }
        }
        Ok(self)
    }

    /// The files, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Vectors.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Values of a vector, before it was brought to another type.
    pub fn dimensions(&self) -> usize {
        self.first().dimensions
    }

    /// The type of stored values.
    pub fn output_type(&self) -> OutputType {
        self.first().layout.output_type
    }

    /// What the files say of how their vectors were made: model, task, prompt, precision and so on.
    pub fn about(&self) -> &Value {
        &self.first().about
    }

    /// Bytes of vectors that a search reads.
    pub fn vector_bytes(&self) -> u64 {
        let first = self.first();
        self.rows() * first.layout.row_bytes() as u64
    }

    fn first(&self) -> &VectorFile {
        &self.files[0] // there is one, or `open` fails
    }

    /// Checks that a query of this fingerprint may be compared with the vectors.
    ///
    /// # Errors
    /// If it may not, or the files do not say their fingerprint.
    pub fn check_comparable(&self, query: &Fingerprint) -> Result<()> {
        let stored = self.about()["fingerprint"].as_str().ok_or_else(|| {
            let problem = "its rows were made for several tasks, or it has no fingerprint, so that it is not known whether a query fits";
            CorpusError::file(&self.paths[0], problem)
        })?;
        let stored: Fingerprint = stored.parse()?;
        Ok(query.check_comparable(&stored)?)
    }

    /// Whether there are dense vectors.
    pub fn has_dense(&self) -> bool {
        self.first().dense
    }

    /// Whether there are sparse vectors.
    pub fn has_sparse(&self) -> bool {
        self.first().sparse
    }

    /// The vectors most like a query, best first: at most `count`. Of equal ones those that stand first.
    ///
    /// Every vector is compared. For values of f32 and f16 the score is the similarity of the stored vector; for int8 and
    /// uint8 that of the middle of its steps. Of bits the nearest by Hamming distance are taken first, eight times
    /// `count`, and sorted by the product of the query with them as -1 and 1.
    ///
    /// # Errors
    /// If the query has another size, or a file is damaged.
    pub fn search(&self, query: &[f32], count: usize) -> Result<Vec<Hit>> {
        Ok(self.search_all(&[query], count)?.pop().unwrap_or_default())
    }

    /// The same for many queries: each vector is read once for all of them.
    ///
    /// # Errors
    /// As [`Index::search`].
    pub fn search_all<Q: AsRef<[f32]>>(&self, queries: &[Q], count: usize) -> Result<Vec<Vec<Hit>>> {
        if !self.has_dense() {
            return Err(CorpusError::Options(
                "the files have sparse vectors only: search by these".to_owned(),
            ));
        }
        let scoring = Scoring::new(self.first(), self.similarity, queries)?;
        let wanted = if scoring.is_of_bits() { count.saturating_mul(RESCORED) } else { count };
        let isa = Isa::best();
        let asked = queries.len();
        let tops = self.tops(asked, wanted, |tops, (file, group)| {
            let mut scores = Vec::new();
            self.files[file].each_block(group, &mut |row, values| {
                scoring.score(isa, values, &mut scores);
                let allowed = self.allowed.get(file);
                for (i, scores) in scores.chunks_exact(asked.max(1)).enumerate() {
                    if allowed.is_some_and(|rows| rows.get(row as usize + i) != Some(&true)) {
                        continue;
                    }
                    for (top, score) in tops.iter_mut().zip(scores) {
                        top.offer(Hit { score: *score, file, row: row + i as u64 });
                    }
                }
            })
        })?;
        let hits: Vec<Vec<Hit>> = tops.into_iter().map(Top::best_first).collect();
        if !scoring.is_of_bits() {
            return Ok(hits);
        }
        hits.into_iter()
            .enumerate()
            .map(|(query, hits)| self.rescored(&scoring, query, hits, count))
            .collect()
    }

    /// The best of each query, of what `scan` offers of each group.
    fn tops(
        &self,
        queries: usize,
        wanted: usize,
        scan: impl Fn(&mut [Top], (usize, usize)) -> Result<()> + Sync,
    ) -> Result<Vec<Top>> {
        let groups: Vec<(usize, usize)> = self
            .files
            .iter()
            .enumerate()
            .flat_map(|(file, opened)| (0..opened.groups()).map(move |group| (file, group)))
            .collect();
        let empty = || vec![Top::new(wanted); queries];
        let scan = |mut tops: Vec<Top>, &place: &(usize, usize)| scan(&mut tops, place).map(|()| tops);
        let joined = |mut one: Vec<Top>, other: Vec<Top>| {
            one.iter_mut().zip(other).for_each(|(one, other)| one.join(other));
            Ok(one)
        };
        groups.par_iter().try_fold(empty, scan).try_reduce(empty, joined)
    }

    /// The sparse vectors that have the largest products with each query, best first: at most `count`, and none that
    /// has no entry in common with it.
    ///
    /// # Errors
    /// If the files have no sparse vectors, or one is damaged.
    pub fn search_sparse(&self, queries: &[SparseVector], count: usize) -> Result<Vec<Vec<Hit>>> {
        if !self.has_sparse() {
            return Err(CorpusError::Options(
                "the files have no sparse vectors; write them with `taskvec embed --give sparse` or `both`"
                    .to_owned(),
            ));
        }
        let weights: Vec<Weights> = queries.iter().map(Weights::of).collect();
        let tops = self.tops(queries.len(), count, |tops, (file, group)| {
            let allowed = self.allowed.get(file);
            sparse::each(&self.files[file], group, &mut |row, indices, values| {
                if allowed.is_some_and(|rows| rows.get(row as usize) != Some(&true)) {
                    return;
                }
                for (top, weights) in tops.iter_mut().zip(&weights) {
                    if let Some(score) = weights.dot(indices, values) {
                        top.offer(Hit { score, file, row });
                    }
                }
            })
        })?;
        Ok(tops.into_iter().map(Top::best_first).collect())
    }

    /// What dense and sparse vectors find together, best first: at most `count`. The ranks that a vector has among the
    /// best of both count, and not scores of two kinds: reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009).
    ///
    /// # Errors
    /// As [`Index::search_all`] and [`Index::search_sparse`].
    pub fn search_hybrid(&self, queries: &[DenseAndSparse], count: usize) -> Result<Vec<Vec<Hit>>> {
        let candidates = count.saturating_mul(CANDIDATES).max(FEWEST_CANDIDATES);
        let dense: Vec<&[f32]> = queries.iter().map(|query| &query.dense[..]).collect();
        let sparse: Vec<SparseVector> = queries.iter().map(|query| query.sparse.clone()).collect();
        let (dense, sparse) =
            (self.search_all(&dense, candidates)?, self.search_sparse(&sparse, candidates)?);
        Ok(dense.iter().zip(&sparse).map(|(dense, sparse)| fused([dense, sparse], count)).collect())
    }

    /// The hits by the product with the query itself, and the best of them.
    fn rescored(&self, scoring: &Scoring, query: usize, hits: Vec<Hit>, count: usize) -> Result<Vec<Hit>> {
        let (mut top, bits) = (Top::new(count), self.bits(&hits)?);
        for hit in hits {
            if let Some(bits) = bits.get(&(hit.file, hit.row)) {
                top.offer(Hit { score: scoring.product_with_bits(query, bits), ..hit });
            }
        }
        Ok(top.best_first())
    }

    /// The stored bits of hits' vectors, by file and row.
    fn bits(&self, hits: &[Hit]) -> Result<HashMap<(usize, u64), Vec<u8>>> {
        let wanted: BTreeSet<(usize, u64)> = hits.iter().map(|hit| (hit.file, hit.row)).collect();
        let groups: BTreeSet<(usize, usize)> =
            hits.iter().map(|hit| (hit.file, self.files[hit.file].source.group_of(hit.row))).collect();
        let mut found = HashMap::new();
        for (file, group) in groups {
            let width = self.files[file].layout.width;
            self.files[file].each_block(group, &mut |start, values| {
                let Values::Bytes(bytes) = values else { return };
                let end = start + (bytes.len() / width) as u64;
                for &(_, row) in wanted.range((file, start)..(file, end)) {
                    let bits = &bytes[(row - start) as usize * width..][..width];
                    found.insert((file, row), bits.iter().map(|byte| byte.cast_unsigned()).collect());
                }
            })?;
        }
        Ok(found)
    }

    /// At most so many of the vectors as numbers, evenly spread over the rows that may be found; those without a vector are
    /// left out.
    ///
    /// # Errors
    /// If a file is damaged, or does not say the ranges of its 8-bit values.
    pub fn sample(&self, most: usize) -> Result<Sample> {
        if !self.has_dense() {
            return Err(CorpusError::Options(
                "the files have sparse vectors only, which have no place in it".to_owned(),
            ));
        }
        sample::take(&self.files, &self.allowed, most)
    }

    /// The columns beside the vectors of what was found, in its order; of files whose columns differ, those that all have.
    ///
    /// # Errors
    /// If a file is damaged.
    pub fn columns(&self, hits: &[Hit]) -> Result<RecordBatch> {
        columns::of(&self.files, hits)
    }
}
