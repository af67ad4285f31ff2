//! taskvec.

use taskvec::{Device, EmbedOptions, Embedder, Precision};
use taskvec_peers::{Arguments, serve};

fn main() -> anyhow::Result<()> {
    let Arguments { model, precision, threads } = Arguments::read()?;
    let precision: Precision = precision.parse()?;
    let embedder =
        Embedder::builder().device(Device::Cpu).threads(threads).precision(precision).open(model)?;
    serve(|texts| {
        let embeddings = embedder.embed_batch(texts, EmbedOptions::new())?;
        Ok(embeddings.into_iter().map(|embedding| embedding.value).collect())
    })
}
