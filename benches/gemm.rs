//! The matrix product at the sizes of all-MiniLM-L6-v2's layers, on every instruction set.
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
        for isa in Isa::available() {
            let weights = vec![0.01; outputs * inputs];
            let packed =
                PackedWeights::pack(isa, Storage::F32, Matrix::new(&weights, outputs, inputs, inputs));
            let bias = vec![0.1; outputs];
            let epilogue = Epilogue { bias: &bias, activation, ..Epilogue::default() };
            for rows in [1, 16, 128, 512] {
                let x = vec![0.5; rows * inputs];
                let mut out = vec![0.0; rows * outputs];
                let mut scratch = GemmScratch::default();
                group.throughput(Throughput::Elements((rows * outputs * inputs) as u64));
                group.bench_function(BenchmarkId::new(isa.name(), rows), |bencher| {
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
