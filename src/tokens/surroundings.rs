//! Special tokens around one text, and around two that are read together.

use super::added::NamedTokens;
use super::file::TokenizerFile;
use super::lookup::id_of;
use super::rebuild;
use crate::error::ModelResult as Result;
use crate::source::Json;
use tokenizers::pipeline::{PipelinePostProcessor, PipelineToken};

/// Special tokens around one text, and around two that are read together.
#[derive(Default, Debug)]
pub(super) struct Surroundings {
    /// Before and after a text.
    pub(super) prefix: Vec<u32>,
    pub(super) suffix: Vec<u32>,
    /// Before, between and after two texts.
    pub(super) before: Vec<u32>,
    pub(super) between: Vec<u32>,
    pub(super) after: Vec<u32>,
    /// The type of the second of two texts.
    pub(super) second_type: u8,
}

impl Surroundings {
    /// As tokenizer.json's post-processor says.
    pub(super) fn of_file(processor: &PipelinePostProcessor) -> Surroundings {
        let ids = |run: &[(PipelineToken, u8)]| run.iter().map(|&(id, _)| id.into()).collect();
        let (single, pair) = (&processor.single, &processor.pair);
        Surroundings {
            prefix: ids(&single.prefix),
            suffix: ids(&single.suffix),
            before: ids(&pair.prefix),
            between: ids(&pair.infix),
            after: ids(&pair.suffix),
            second_type: pair.b_type_id.unwrap_or(0),
        }
    }

    /// As a class puts them.
    pub(super) fn of_class(
        texts: &rebuild::Surroundings,
        file: &TokenizerFile<'_>,
    ) -> std::result::Result<Surroundings, String> {
        let id = |text: &String| {
            id_of(file, text).ok_or_else(|| {
                format!("it does not have the token `{text}`, which its class puts around texts")
            })
        };
        let before: Vec<u32> = texts.before.iter().map(id).collect::<std::result::Result<_, _>>()?;
        let after = vec![id(&texts.after)?];
        Ok(Surroundings {
            prefix: before.clone(),
            suffix: after.clone(),
            before,
            between: texts.between.iter().map(id).collect::<std::result::Result<_, _>>()?,
            after,
            second_type: texts.second_type,
        })
    }

    /// What tokenizer_config.json asks for with `add_bos_token` and `add_eos_token`, where the template lacks it.
    ///
    /// transformers 5 does not heed these beside a tokenizer.json, and gives other vectors than models such as
    /// e5-mistral were trained with. It does heed what sentence_bert_config.json's `arguments` say: these stand for
    /// the template.
    pub(super) fn add_asked_for(
        &mut self,
        settings: &Json,
        arguments: &Json,
        named: &NamedTokens,
        file: &TokenizerFile<'_>,
    ) -> Result<()> {
        let ends = ["bos_token", "eos_token"];
        if ends.iter().any(|end| arguments.get(&format!("add_{end}")).is_some()) {
            *self = Surroundings { second_type: 1, ..Surroundings::default() };
        }
        let [bos, eos] = ends.map(|end| -> Result<Option<u32>> {
            if !settings.flag_or(&format!("add_{end}"), false)? {
                return Ok(None);
            }
            let Some(text) = named.get(end) else {
                return Err(settings.error(format!("`add_{end}` is true, but there is no `{end}`")));
            };
            let missing =
                || settings.error(format!("`{end}` is `{text}`, which tokenizer.json does not have"));
            id_of(file, text).map(Some).ok_or_else(missing)
        });
        self.prefix.splice(0..0, bos?.filter(|id| !self.prefix.contains(id)));
        self.suffix.extend(eos?.filter(|id| !self.suffix.contains(id)));
        Ok(())
    }

    /// Special tokens of a pair.
    pub(super) fn pair_special(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }
}
