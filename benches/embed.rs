//! The built-in model from text to vector: one query, and a batch.
//!
//! `cargo bench --bench embed`; throughput is in tokens.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use taskvec::{Device, EmbedOptions, Embedder};

fn texts(criterion: &mut Criterion) {
    let embedder = match Embedder::builder().device(Device::Cpu).builtin() {
        Ok(embedder) => embedder,
        Err(error) => panic!("the built-in model: {error}"),
    };
    let mut group = criterion.benchmark_group("built-in model on the cpu");
    group.sample_size(20);
    let query = "which of these documents says how a transformer works".to_owned();
    // Different ones: equal texts are computed once.
    let long = (1..=32).map(|i| "many ".repeat(i) + &"word ".repeat(126 - i)).collect::<Vec<String>>();
    for (name, texts) in [("one query", vec![query]), ("32 texts of 128 tokens", long)] {
        let embed = || embedder.embed_batch(&texts, EmbedOptions::new());
        let tokens: usize = embed().map_or(0, |all| all.iter().map(|embedding| embedding.tokens).sum());
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(name, |bencher| bencher.iter(embed));
    }
    group.finish();
}

criterion_group!(benches, texts);
criterion_main!(benches);
