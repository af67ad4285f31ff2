//! How hidden states of a text's tokens become one vector, as data. Each backend computes it by itself.
//!
//! Formulas and names: sentence-transformers, `modules/pooling.py`.

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PoolingMode {
    /// The first pooled token's state.
    Cls,
    /// The largest value of each dimension.
    Max,
    /// The mean.
    Mean,
    /// The sum, divided by the square root of the number of tokens.
    MeanSqrtLen,
    /// The mean weighted by position: token i of the text (from 1) weighs i.
    WeightedMean,
    /// The last token's state.
    LastToken,
    /// A weight for each entry of the vocabulary, from the logits of a language model.
    Splade(Splade),
}

/// `max` or `Σ` over tokens of `ln(1 + max(x, 0))`, or of the logarithm taken twice.
///
/// sentence-transformers, `sparse_encoder/modules/splade_pooling.py`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Splade {
    /// The sum and not the largest.
    pub(crate) sum: bool,
    /// `ln(1 + ln(1 + max(x, 0)))`
    pub(crate) twice: bool,
}

impl PoolingMode {
    /// The modes that a pooling module can name.
    pub(crate) const NAMED: [PoolingMode; 6] = [
        PoolingMode::Cls,
        PoolingMode::Max,
        PoolingMode::Mean,
        PoolingMode::MeanSqrtLen,
        PoolingMode::WeightedMean,
        PoolingMode::LastToken,
    ];

    /// Whether it takes every pooled token, and not one of them.
    pub(crate) fn takes_all(self) -> bool {
        !matches!(self, PoolingMode::Cls | PoolingMode::LastToken)
    }

    /// Whether it takes the token at `place`, of those that are pooled.
    pub(crate) fn takes(self, place: usize, pooled: &std::ops::Range<usize>) -> bool {
        match self {
            PoolingMode::Cls => place == pooled.start,
            PoolingMode::LastToken => place + 1 == pooled.end,
            _ => pooled.contains(&place),
        }
    }

    /// Its `pooling_mode` in a model's pooling configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            PoolingMode::Cls => "cls",
            PoolingMode::Max => "max",
            PoolingMode::Mean => "mean",
            PoolingMode::MeanSqrtLen => "mean_sqrt_len_tokens",
            PoolingMode::WeightedMean => "weightedmean",
            PoolingMode::LastToken => "lasttoken",
            PoolingMode::Splade(Splade { sum: false, .. }) => "splade max",
            PoolingMode::Splade(Splade { sum: true, .. }) => "splade sum",
        }
    }

    /// The mode of that [`name`](PoolingMode::name).
    pub(crate) fn from_name(name: &str) -> Option<PoolingMode> {
        PoolingMode::NAMED.into_iter().find(|mode| mode.name() == name)
    }
}
