//! fastembed-rs on a model of its user's: `onnx/PRECISION.onnx` in the model's folder, which gives the
//! hidden states.

use anyhow::{Context, Result};
use fastembed::{InitOptionsUserDefined, Pooling, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use taskvec_peers::{Arguments, serve};

fn main() -> Result<()> {
    let Arguments { model: folder, precision, .. } = Arguments::read()?;
    let read = |name: &str| std::fs::read(format!("{folder}/{name}")).context(name.to_owned());
    let files = TokenizerFiles {
        tokenizer_file: read("tokenizer.json")?,
        config_file: read("config.json")?,
        special_tokens_map_file: read("special_tokens_map.json")?,
        tokenizer_config_file: read("tokenizer_config.json")?,
    };
    let model = UserDefinedEmbeddingModel::new(read(&format!("onnx/hidden-{precision}.onnx"))?, files)
        .with_pooling(Pooling::Mean);
    let options = InitOptionsUserDefined::new().with_max_length(256);
    let mut model = TextEmbedding::try_new_from_user_defined(model, options)?;
    serve(|texts| {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| texts[i].len());
        let sorted: Vec<&str> = order.iter().map(|&i| texts[i].as_str()).collect();
        let mut vectors = vec![Vec::new(); texts.len()];
        for (&i, vector) in order.iter().zip(model.embed(sorted, Some(32))?) {
            vectors[i] = vector;
        }
        Ok(vectors)
    })
}
