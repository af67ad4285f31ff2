//! taskvec.

use taskvec::{Device, EmbedOptions, Embedder, Precision};
use taskvec_peers::{Arguments, serve};

fn main() -> anyhow::Result<()> {
    let Arguments { model, precision, threads } = Arguments::read()?;
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        "int8" => Precision::Int8,
        other => anyhow::bail!("no precision {other}"),
    };
    let embedder =
        Embedder::builder().device(Device::Cpu).threads(threads).precision(precision).open(model)?;
    serve(|texts| {
        let embeddings = embedder.embed_batch(texts, EmbedOptions::new())?;
        Ok(embeddings.into_iter().map(|embedding| embedding.vector).collect())
    })
}
