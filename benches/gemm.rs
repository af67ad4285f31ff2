//! The matrix product at the sizes of all-MiniLM-L6-v2's layers, on every instruction set and in every storage.
//!
//! `cargo bench --bench gemm`; throughput is in multiply-adds.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use taskvec_kernels::{
    Activation, Epilogue, GemmScratch, Isa, Matrix, MatrixMut, PackedWeights, Storage, gemm,
};

fn products(criterion: &mut Criterion) {
    for (name, outputs, inputs, activation) in [
        ("query_key_value", 1152, 384, Activation::Identity),
        ("up", 1536, 384, Activation::GeluErf),
        ("down", 384, 1536, Activation::Identity),
    ] {
        let mut group = criterion.benchmark_group(name);
        let weights = vec![0.01; outputs * inputs];
        let bias = vec![0.1; outputs];
        let epilogue = Epilogue { bias: &bias, activation, ..Epilogue::default() };
        let storages = [Storage::F32, Storage::Bf16, Storage::Int8];
        for (isa, storage) in
            Isa::available().into_iter().flat_map(|isa| storages.map(|storage| (isa, storage)))
        {
            let packed = PackedWeights::pack(isa, storage, Matrix::new(&weights, outputs, inputs, inputs));
            for rows in [1, 16, 128, 512] {
                let x = vec![0.5; rows * inputs];
                let mut out = vec![0.0; rows * outputs];
                let mut scratch = GemmScratch::default();
                group.throughput(Throughput::Elements((rows * outputs * inputs) as u64));
                let id = BenchmarkId::new(format!("{} {storage:?}", isa.name()), rows);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        let out = MatrixMut::new(&mut out, rows, outputs, outputs);
                        let x = Matrix::new(&x, rows, inputs, inputs);
                        gemm(isa, x, &packed, 0..packed.panels(), &epilogue, out, &mut scratch);
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
