//! What attention makes of the distance between a query and a key, as data.

use super::parts::{LinearSpec, NormSpec};
use super::tensor::Tensor;

/// A bias that depends on the distance between key and query.
#[derive(Clone, Debug)]
pub(crate) enum RelativeBiasSpec {
    /// Learned, by bucketed distance (T5, MPNet).
    Buckets {
        /// `[buckets, heads]`
        table: Tensor,
        /// From this distance on, all fall into the last bucket of their side.
        max_distance: usize,
    },
    /// `-slope(head) · |key - query|` (ALiBi).
    Linear,
}

/// Vectors by distance that attention multiplies queries and keys with (DeBERTa). The score of query i and key j is
/// `scale · (q[i] · k[j] + q[i] · K[u] + k[j] · Q[u])`, where u is the row of `i - j`, and K and Q are `keys` and `queries`
/// of the rows.
#[derive(Clone, Debug)]
pub(crate) struct RelativePositionsSpec {
    /// `[2 · span, hidden]`; row `span` is that of distance 0.
    pub(crate) rows: Tensor,
    /// Applied to each row first.
    pub(crate) norm: Option<NormSpec>,
    /// `[heads · head_dim, hidden]`; `None`: that product is left out.
    pub(crate) keys: Option<LinearSpec>,
    /// The same for Q.
    pub(crate) queries: Option<LinearSpec>,
    /// Distances of half a span and more share rows, in ranges that grow up to this distance; `None`: they do not, and those
    /// that are too large have the last row.
    pub(crate) shared_up_to: Option<usize>,
}

impl RelativePositionsSpec {
    /// All tensors that belong to it alone or are shared.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let linears = self.keys.iter().chain(&self.queries).flat_map(LinearSpec::tensors);
        std::iter::once(&self.rows).chain(self.norm.iter().flat_map(NormSpec::tensors)).chain(linears)
    }

    /// The row of each distance `query - key` from `-reach` to `reach`, and beyond that of the last on its side. It grows with
    /// the distance.
    pub(crate) fn rows_by_distance(&self, tokens: usize) -> Vec<u32> {
        let span = self.rows.rows() as i64 / 2;
        let row = |distance: i64| {
            let bucket = self.shared_up_to.map_or(distance, |farthest| bucket(distance, span, farthest));
            (bucket + span).clamp(0, 2 * span - 1) as u32
        };
        let still_changes =
            |distance: &i64| row(1 - distance) > 0 || i64::from(row(distance - 1)) < 2 * span - 1;
        let most = tokens.saturating_sub(1) as i64;
        let reach = (1..=most).take_while(still_changes).last().unwrap_or(0);
        (-reach..=reach).map(row).collect()
    }
}

/// A distance up to `span / 2` is its own bucket; from there on they grow as powers, up to `span` beyond `farthest`.
///
/// `make_log_bucket_position` of `transformers`' `modeling_deberta_v2.py`, in its f32 arithmetic.
fn bucket(distance: i64, span: i64, farthest: usize) -> i64 {
    let half = span / 2;
    if distance.abs() <= half {
        return distance;
    }
    let ratio =
        (distance.unsigned_abs() as f32 / half as f32).ln() / ((farthest as f32 - 1.0) / half as f32).ln();
    distance.signum() * ((ratio * (half - 1) as f32).ceil() as i64 + half)
}

#[cfg(test)]
mod tests {
    use super::bucket;

    /// Some that transformers' function gives for DeBERTa-v3's 256 buckets and 512 positions.
    #[test]
    fn buckets_are_the_published_ones() {
        let published = [
            (0, 0),
            (127, 127),
            (128, 128),
            (129, 129),
            (131, 131),
            (140, 137),
            (141, 137),
            (200, 169),
            (201, 170),
            (255, 192),
            (256, 192),
            (300, 207),
            (400, 233),
            (510, 255),
            (511, 255),
            (512, 256),
            (599, 270),
        ];
        for (distance, want) in published {
            assert_eq!(bucket(distance, 256, 512), want, "{distance}");
            assert_eq!(bucket(-distance, 256, 512), -want, "-{distance}");
        }
    }
}
