//! What an encoder is, as data: every family is described by the same few structs.
//!
//! A family file fills these in from a model's configuration and tensors; [`crate::plan`] turns
//! them into steps. Nothing here computes.

pub(crate) use super::parts::{LinearSpec, NormKind, NormSpec};
use super::relative::{RelativeBiasSpec, RelativePositionsSpec};
use super::tensor::Tensor;
pub(crate) use taskvec_kernels::{Activation, RareActivation};

/// A whole encoder: token ids in, one vector a token out.
#[derive(Debug)]
pub(crate) struct EncoderSpec {
    /// The `model_type` it was made from.
    pub(crate) family: &'static str,
    /// Size of a token's vector.
    pub(crate) hidden: usize,
    /// The most tokens that a text may have, where the architecture sets a limit.
    pub(crate) max_tokens: Option<usize>,
    /// What happens before the first layer.
    pub(crate) embedding: EmbeddingSpec,
    /// The layers, first to last.
    pub(crate) layers: Vec<LayerSpec>,
    /// Applied after the last layer.
    pub(crate) final_norm: Option<NormSpec>,
    /// Applied to each token's vector at the end: `[width, hidden]`.
    pub(crate) output: Option<LinearSpec>,
    /// What each layer's [`PerLayerInputSpec`] multiplies with.
    pub(crate) per_layer_embeddings: Option<PerLayerEmbeddingsSpec>,
    /// Whether activations exceed f16's largest number, 65504, so that they cannot be stored as f16: those of T5's
    /// feed-forward blocks and Gemma's hidden states do.
    pub(crate) overflows_f16: bool,
}

impl EncoderSpec {
    /// An encoder of embeddings and layers and nothing else.
    pub(crate) fn new(
        family: &'static str,
        hidden: usize,
        max_tokens: Option<usize>,
        embedding: EmbeddingSpec,
        layers: Vec<LayerSpec>,
    ) -> EncoderSpec {
        EncoderSpec {
            family,
            hidden,
            max_tokens,
            embedding,
            layers,
            final_norm: None,
            output: None,
            per_layer_embeddings: None,
            overflows_f16: false,
        }
    }

    /// Size of a token's vector at the end.
    pub(crate) fn width(&self) -> usize {
        self.output.as_ref().map_or(self.hidden, LinearSpec::outputs)
    }
}

impl EncoderSpec {
    /// The encoder up to the hidden states of a layer, as transformers counts them: 0 are the embeddings, and the last
    /// are those after the final norm; negative ones count from the end.
    pub(crate) fn up_to_layer(mut self, layer: Option<i64>) -> Result<EncoderSpec, String> {
        let Some(layer) = layer else { return Ok(self) };
        let last = self.layers.len() as i64;
        let place = if layer < 0 { layer + last + 1 } else { layer };
        if !(0..=last).contains(&place) {
            return Err(format!("hidden states of layer {layer} are asked for, but there are {last} layers"));
        }
        if self.output.is_some() {
            return Err(
                "hidden states of a layer are asked for, but the model projects the last ones".to_owned()
            );
        }
        if place < last {
            self.layers.truncate(place as usize);
            self.final_norm = None;
        }
        Ok(self)
    }

    /// All tensors; shared ones several times.
    pub(crate) fn tensors(&self) -> Vec<&Tensor> {
        let EncoderSpec { embedding, layers, final_norm, output, per_layer_embeddings, .. } = self;
        let mut tensors = vec![&embedding.word];
        tensors.extend(embedding.position.as_ref().map(|position| &position.table));
        tensors.extend(&embedding.token_type);
        tensors.extend(embedding.norm.iter().chain(final_norm).flat_map(NormSpec::tensors));
        tensors.extend(embedding.projection.iter().chain(output).flat_map(LinearSpec::tensors));
        if let Some(signal) = per_layer_embeddings {
            tensors.extend(signal.projection.tensors().chain(signal.norm.tensors()));
        }
        for layer in layers {
            tensors.extend(layer.linears().into_iter().flat_map(LinearSpec::tensors));
            tensors.extend(layer.norms().flat_map(NormSpec::tensors));
            match &layer.mixer {
                MixerSpec::Attention(attention) => {
                    if let Some(RelativeBiasSpec::Buckets { table, .. }) = &attention.relative_bias {
                        tensors.push(table);
                    }
                    tensors.extend(attention.relative_positions.iter().flat_map(|it| it.tensors()));
                }
                MixerSpec::ShortConv(conv) => tensors.push(&conv.taps),
            }
            if let MlpSpec::Experts(experts) = &layer.mlp {
                tensors.extend([&experts.up, &experts.down].into_iter().chain(&experts.bias));
            }
        }
        tensors
    }
}

/// A signal computed once from the embeddings, of which each layer takes a part ("per-layer
/// embeddings").
#[derive(Debug)]
pub(crate) struct PerLayerEmbeddingsSpec {
    /// `[layers · size, hidden]`
    pub(crate) projection: LinearSpec,
    /// Applied to each layer's part, `[size]`.
    pub(crate) norm: NormSpec,
}

/// A third block of a layer: `x + norm(project(activation(gate(x)) ⊙ signal))`, where the signal is
/// the layer's part of the [`PerLayerEmbeddingsSpec`].
#[derive(Debug)]
pub(crate) struct PerLayerInputSpec {
    /// `[size, hidden]`
    pub(crate) gate: LinearSpec,
    /// See above.
    pub(crate) activation: Activation,
    /// `[hidden, size]`
    pub(crate) project: LinearSpec,
    /// `[hidden]`
    pub(crate) norm: NormSpec,
    /// Multiplies the hidden states at the end of the layer.
    pub(crate) scale: f32,
}

/// `scale · word[id] + position[row] + token_type[0]`, then a norm, then a projection.
#[derive(Debug)]
pub(crate) struct EmbeddingSpec {
    /// `[vocabulary, width]`, where the width is `hidden` unless there is a projection.
    pub(crate) word: Tensor,
    /// Multiplies the word's row.
    pub(crate) scale: f32,
    /// Learned positions.
    pub(crate) position: Option<PositionSpec>,
    /// `[types, width]`; a single text is of type 0 throughout.
    pub(crate) token_type: Option<Tensor>,
    /// Applied to the sum.
    pub(crate) norm: Option<NormSpec>,
    /// From the embeddings' own width: `[hidden, width]`.
    pub(crate) projection: Option<LinearSpec>,
}

/// A learned vector for each position.
#[derive(Clone, Debug)]
pub(crate) struct PositionSpec {
    /// `[positions, width]`
    pub(crate) table: Tensor,
    /// The row of a text's first token.
    pub(crate) first: usize,
    /// Tokens with this id are not counted, and have the row before the first (RoBERTa's padding id, which
    /// a text may hold).
    pub(crate) uncounted: Option<u32>,
}

/// One transformer layer: attention, then the feed-forward network, each added to its input.
///
/// Norms stand before a block (`pre`), on its result (`out`), after the addition (`post`), or at
/// several of these places.
#[derive(Debug)]
pub(crate) struct LayerSpec {
    /// Before attention, on the way in only: `x + attention(norm(x))`.
    pub(crate) attention_pre_norm: Option<NormSpec>,
    /// What lets tokens see each other. (Where the other names say attention, this is meant.)
    pub(crate) mixer: MixerSpec,
    /// On what attention adds: `x + norm(attention(x))`.
    pub(crate) attention_out_norm: Option<NormSpec>,
    /// After attention: `norm(x + attention(x))`.
    pub(crate) attention_post_norm: Option<NormSpec>,
    /// Before the feed-forward network, on the way in only.
    pub(crate) mlp_pre_norm: Option<NormSpec>,
    /// The feed-forward network.
    pub(crate) mlp: MlpSpec,
    /// On what the feed-forward network adds.
    pub(crate) mlp_out_norm: Option<NormSpec>,
    /// After the feed-forward network.
    pub(crate) mlp_post_norm: Option<NormSpec>,
    /// A third block.
    pub(crate) per_layer_input: Option<PerLayerInputSpec>,
}

impl LayerSpec {
    /// A layer without norms.
    pub(crate) fn new(mixer: impl Into<MixerSpec>, mlp: impl Into<MlpSpec>) -> LayerSpec {
        LayerSpec {
            attention_pre_norm: None,
            mixer: mixer.into(),
            attention_out_norm: None,
            attention_post_norm: None,
            mlp_pre_norm: None,
            mlp: mlp.into(),
            mlp_out_norm: None,
            mlp_post_norm: None,
            per_layer_input: None,
        }
    }

    /// Its attention, if it has some.
    pub(crate) fn attention(&self) -> Option<&AttentionSpec> {
        match &self.mixer {
            MixerSpec::Attention(attention) => Some(attention),
            MixerSpec::ShortConv(_) => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn attention_mut(&mut self) -> Option<&mut AttentionSpec> {
        match &mut self.mixer {
            MixerSpec::Attention(attention) => Some(attention),
            MixerSpec::ShortConv(_) => None,
        }
    }

    /// All linear layers.
    fn linears(&self) -> Vec<&LinearSpec> {
        let mut linears = match &self.mixer {
            MixerSpec::Attention(attention) => vec![&attention.query_key_value, &attention.output],
            MixerSpec::ShortConv(conv) => vec![&conv.input, &conv.output],
        };
        match &self.mlp {
            MlpSpec::Dense(mlp) => linears.extend([&mlp.up, &mlp.down].into_iter().chain(&mlp.gate)),
            MlpSpec::Experts(experts) => linears.push(&experts.router),
        }
        if let Some(side) = &self.per_layer_input {
            linears.extend([&side.gate, &side.project]);
        }
        linears
    }

    /// All norms.
    fn norms(&self) -> impl Iterator<Item = &NormSpec> {
        let of_heads = self.attention().map(|it| [&it.query_norm, &it.key_norm, &it.value_norm]);
        let places = [
            &self.attention_pre_norm,
            &self.attention_out_norm,
            &self.attention_post_norm,
            &self.mlp_pre_norm,
            &self.mlp_out_norm,
            &self.mlp_post_norm,
        ];
        let places = places.into_iter().chain(of_heads.into_iter().flatten());
        places.flatten().chain(self.per_layer_input.iter().map(|side| &side.norm))
    }
}

/// What lets the tokens of a text see each other.
#[derive(Debug)]
pub(crate) enum MixerSpec {
    /// Each sees all others, or those of a window.
    Attention(Box<AttentionSpec>),
    /// Each sees its next neighbours.
    ShortConv(ShortConvSpec),
}

impl From<AttentionSpec> for MixerSpec {
    fn from(attention: AttentionSpec) -> MixerSpec {
        MixerSpec::Attention(Box::new(attention))
    }
}

impl From<ShortConvSpec> for MixerSpec {
    fn from(conv: ShortConvSpec) -> MixerSpec {
        MixerSpec::ShortConv(conv)
    }
}

/// A gated convolution along the text, each column by itself: with `B, C, X` the thirds of `input(x)` and `z = B ⊙ X`,
/// `output(C ⊙ y)` where `y[t] = Σⱼ taps[j] ⊙ z[t - before + j]`. Beyond the ends of a text z is 0.
#[derive(Debug)]
pub(crate) struct ShortConvSpec {
    /// `[3 · hidden, hidden]`
    pub(crate) input: LinearSpec,
    /// `[hidden, 1, taps]`
    pub(crate) taps: Tensor,
    /// How many of the taps are those of tokens before: all but one, or half of them.
    pub(crate) before: usize,
    /// `[hidden, hidden]`
    pub(crate) output: LinearSpec,
}

/// Self-attention: `output(softmax(scale · Q·Kᵀ + bias, over the window keys) · V)`.
#[derive(Debug)]
pub(crate) struct AttentionSpec {
    /// Query heads.
    pub(crate) heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads in a row.
    pub(crate) kv_heads: usize,
    /// Size of a head.
    pub(crate) head_dim: usize,
    /// Multiplies the scores.
    pub(crate) scale: f32,
    /// The projections to queries, keys and values, stacked in this order:
    /// `[(heads + 2 · kv_heads) · head_dim, hidden]`.
    pub(crate) query_key_value: LinearSpec,
    /// `[hidden, heads · head_dim]`
    pub(crate) output: LinearSpec,
    /// Applied to each query head, `[head_dim]`, or to all of them together, `[heads · head_dim]`.
    pub(crate) query_norm: Option<NormSpec>,
    /// The same for the keys.
    pub(crate) key_norm: Option<NormSpec>,
    /// Applied to each value head, `[head_dim]`.
    pub(crate) value_norm: Option<NormSpec>,
    /// Rotates queries and keys by their position.
    pub(crate) rotary: Option<RotarySpec>,
    /// Added to the scores by distance.
    pub(crate) relative_bias: Option<RelativeBiasSpec>,
    /// Vectors by distance that queries and keys are multiplied with.
    pub(crate) relative_positions: Option<RelativePositionsSpec>,
    /// Which keys a query sees.
    pub(crate) window: AttentionWindow,
}

/// Which keys a query sees, by position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AttentionWindow {
    /// How many keys before its own position; `None`: all.
    pub(crate) before: Option<usize>,
    /// How many keys after its own position; `None`: all.
    pub(crate) after: Option<usize>,
}

impl AttentionWindow {
    /// Every key.
    pub(crate) const ALL: AttentionWindow = AttentionWindow { before: None, after: None };
    /// No key after its own position.
    pub(crate) const CAUSAL: AttentionWindow = AttentionWindow { before: None, after: Some(0) };
}

/// Rotary position embedding over the whole head, in the half-rotation form.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RotarySpec {
    /// Radians a position, `[head_dim / 2]`.
    pub(crate) inverse_frequencies: Vec<f32>,
    /// What changes for texts longer than those the model was trained with.
    pub(crate) longer: Option<LongerSpec>,
    /// Multiplies cosine and sine.
    pub(crate) attention_factor: f32,
    /// Multiplies queries by their position.
    pub(crate) query_growth: Option<QueryGrowth>,
}

/// Queries are multiplied by `1 + beta · ln(1 + ⌊position / trained⌋)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct QueryGrowth {
    /// See above.
    pub(crate) beta: f32,
    /// See above.
    pub(crate) trained: usize,
}

impl QueryGrowth {
    /// The factor of a query.
    pub(crate) fn at(self, position: usize) -> f32 {
        1.0 + self.beta * ((1 + position / self.trained) as f32).ln()
    }
}

/// Frequencies that depend on the text's length n beyond `trained` tokens.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum LongerSpec {
    /// Those of the base `theta · (factor · n / trained - (factor - 1))^(head_dim / (head_dim - 2))` (dynamic NTK).
    DynamicNtk {
        /// The base up to there.
        theta: f64,
        /// See above.
        factor: f64,
        /// See above.
        trained: usize,
    },
    /// Others, whatever the length is (LongRoPE).
    Frequencies {
        /// `[head_dim / 2]`
        of_long: Vec<f32>,
        /// See above.
        trained: usize,
    },
}

impl RotarySpec {
    /// The usual frequencies `theta^(-2i / head_dim)`.
    pub(crate) fn from_theta(theta: f64, head_dim: usize) -> RotarySpec {
        // In f32 like PyTorch: the exponent and the power are each rounded.
        let frequency = |i| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            1.0 / theta.powf(f64::from(exponent)) as f32
        };
        RotarySpec {
            inverse_frequencies: (0..head_dim / 2).map(frequency).collect(),
            longer: None,
            attention_factor: 1.0,
            query_growth: None,
        }
    }

    /// The frequencies for a text of `tokens` tokens.
    pub(crate) fn for_length(&self, tokens: usize) -> RotarySpec {
        match &self.longer {
            Some(LongerSpec::DynamicNtk { theta, factor, trained }) if tokens > *trained => {
                let head_dim = 2 * self.inverse_frequencies.len();
                let growth = factor * tokens as f64 / *trained as f64 - (factor - 1.0);
                let theta = theta * growth.powf(head_dim as f64 / (head_dim as f64 - 2.0));
                RotarySpec {
                    attention_factor: self.attention_factor,
                    query_growth: self.query_growth,
                    ..RotarySpec::from_theta(theta, head_dim)
                }
            }
            Some(LongerSpec::Frequencies { of_long, trained }) if tokens > *trained => {
                RotarySpec { inverse_frequencies: of_long.clone(), longer: None, ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    /// The same with every frequency changed.
    pub(crate) fn map(mut self, change: impl Fn(f32) -> f32) -> RotarySpec {
        self.inverse_frequencies.iter_mut().for_each(|frequency| *frequency = change(*frequency));
        self
    }
}

/// The feed-forward network of a layer.
#[derive(Debug)]
pub(crate) enum MlpSpec {
    /// The same for every token.
    Dense(DenseMlpSpec),
    /// Several experts; each token takes a few of them.
    Experts(Box<ExpertsSpec>),
}

/// `down(activation(up(x)))`, or with a gate `down(activation(gate(x)) ⊙ up(x))`.
#[derive(Debug)]
pub(crate) struct DenseMlpSpec {
    /// `[intermediate, hidden]`
    pub(crate) up: LinearSpec,
    /// `[intermediate, hidden]`
    pub(crate) gate: Option<LinearSpec>,
    /// See above.
    pub(crate) activation: Activation,
    /// `[hidden, intermediate]`
    pub(crate) down: LinearSpec,
}

impl From<DenseMlpSpec> for MlpSpec {
    fn from(dense: DenseMlpSpec) -> MlpSpec {
        MlpSpec::Dense(dense)
    }
}

/// A mixture of experts: with p = softmax(router(x)), `Σ p_e · activation(x · upₑᵀ) · downₑ + bias`
/// over the `top` experts of largest p.
#[derive(Debug)]
pub(crate) struct ExpertsSpec {
    /// `[experts, hidden]`
    pub(crate) router: LinearSpec,
    /// Experts that a token takes.
    pub(crate) top: usize,
    /// All experts' matrices below each other: `[experts · intermediate, hidden]`
    pub(crate) up: Tensor,
    /// The same, with the outputs as columns: `[experts · intermediate, hidden]`
    pub(crate) down: Tensor,
    /// See above.
    pub(crate) activation: Activation,
    /// `[hidden]`
    pub(crate) bias: Option<Tensor>,
}
