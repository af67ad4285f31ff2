//! A model as a list of steps.

use super::builder::Builder;
use super::step::{Buffer, BufferId, Rows, Step};
use crate::error::ModelResult as Result;
use crate::model::{EncoderSpec, OutputHead};
use std::ops::Range;

/// The steps of a model, and the buffers they use.
pub(crate) struct Plan {
    /// Runs first to last: first those that all outputs need, then those of each end.
    pub(crate) steps: Vec<Step>,
    /// How many steps all outputs share.
    pub(crate) shared: usize,
    /// What the model gives for a text.
    pub(crate) outputs: Vec<PlanOutput>,
    /// All buffers of the steps.
    pub(crate) buffers: Vec<Buffer>,
    /// The most tokens of a text: what tables of positions were made for.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    pub(crate) max_tokens: usize,
    /// Whether values of these buffers exceed what f16 has numbers for.
    #[cfg_attr(not(feature = "gpu"), allow(dead_code))]
    pub(crate) overflows_f16: bool,
}

/// One result of a plan.
pub(crate) struct PlanOutput {
    /// Its own steps.
    pub(crate) steps: Range<usize>,
    /// Where its result is: `[texts, width]` or `[tokens, width]`.
    pub(crate) output: BufferId,
}

impl Plan {
    /// The plan of a model for texts of up to `max_tokens` tokens.
    pub(crate) fn new(encoder: &EncoderSpec, outputs: &[OutputHead], max_tokens: usize) -> Result<Plan> {
        let mut builder = Builder::new(encoder, max_tokens);
        builder.embed(encoder);
        if let Some(embeddings) = &encoder.per_layer_embeddings {
            builder.per_layer_embeddings(embeddings);
        }
        for (n, layer) in encoder.layers.iter().enumerate() {
            builder.layer(layer)?;
            if let Some(input) = &layer.per_layer_input {
                builder.per_layer_input(input, n);
            }
        }
        builder.finish_tokens(encoder);
        let shared = builder.steps.len();
        let outputs = outputs.iter().map(|head| {
            let first = builder.steps.len();
            let output = builder.output(head, encoder.width());
            PlanOutput { steps: first..builder.steps.len(), output }
        });
        let outputs = outputs.collect();
        let Builder { steps, buffers, .. } = builder;
        Ok(Plan { steps, shared, outputs, buffers, max_tokens, overflows_f16: encoder.overflows_f16 })
    }

    /// The steps that some of the outputs need, with their places in [`Plan::steps`].
    pub(crate) fn steps_for<'a>(&'a self, outputs: &'a [usize]) -> impl Iterator<Item = (usize, &'a Step)> {
        let own = outputs.iter().flat_map(|&output| self.outputs[output].steps.clone());
        (0..self.shared).chain(own).map(|place| (place, &self.steps[place]))
    }

    /// Whether a step after the one at `place` reads what `buffer` has then.
    #[cfg(feature = "gpu")]
    pub(crate) fn is_read_after(&self, place: usize, buffer: BufferId) -> bool {
        for step in &self.steps[place + 1..] {
            if step.reads().contains(&buffer) {
                return true;
            }
            if step.writes() == buffer {
                return false;
            }
        }
        self.outputs.iter().any(|head| head.output == buffer)
    }

    /// How rows of positions are counted: the first, and the token that is not counted.
    #[cfg(feature = "gpu")]
    pub(crate) fn position_rows(&self) -> (usize, Option<u32>) {
        let position = self.steps.iter().find_map(|step| match step {
            Step::Embed { position, .. } => position.as_ref(),
            _ => None,
        });
        position.map_or((0, None), |position| (position.first, position.uncounted))
    }

    /// Multiply-adds with weight matrices that each token needs, those of the outputs apart.
    pub(crate) fn macs_per_token(&self) -> usize {
        let products = |step: &Step| match step {
            Step::Linear { linear, gate, .. } => {
                linear.outputs() * linear.inputs() * if gate.is_some() { 2 } else { 1 }
            }
            // Of the experts' matrices, a row uses those of its choice.
            Step::ExpertUp { input, output, .. } | Step::ExpertDown { input, output, .. } => {
                self.width(*input) * self.width(*output)
            }
            _ => 0,
        };
        self.steps[..self.shared].iter().map(products).sum()
    }

    /// Values of a row of `buffer`.
    pub(crate) fn width(&self, buffer: BufferId) -> usize {
        self.buffers[buffer.0].width
    }

    /// Bytes of all buffers for a batch of this many tokens and texts.
    pub(crate) fn buffer_bytes(&self, tokens: usize, texts: usize) -> usize {
        let rows = |buffer: &Buffer| if buffer.rows == Rows::Tokens { tokens } else { texts };
        self.buffers.iter().map(|buffer| rows(buffer) * buffer.width * size_of::<f32>()).sum()
    }
}
