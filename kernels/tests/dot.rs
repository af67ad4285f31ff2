//! Dot products and Hamming distances of stored vectors on every instruction set of this CPU, against plain f64.

mod common;

use common::values;
use taskvec_kernels::*;

/// Of all sizes around those of registers, for any number of queries, in f64.
#[test]
fn products_are_the_oracles_on_every_instruction_set() {
    for isa in Isa::available() {
        let sizes: &[usize] = &[1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 100, 384, 385];
        for &dimensions in if cfg!(miri) { &sizes[4..9] } else { sizes } {
            for count in [1, 2, 4, 5, 9] {
                let rows = values(7, 5 * dimensions);
                let queries = values(11, count * dimensions);
                let halves: Vec<u16> = rows.iter().map(|v| half::f16::from_f32(*v).to_bits()).collect();
                let bytes: Vec<i8> = rows.iter().map(|v| (v * 128.0) as i8).collect();
                let check = |of: &dyn Fn(usize) -> f64, found: &[f32], name: &str| {
                    for r in 0..5 {
                        for q in 0..count {
                            let terms = (0..dimensions)
                                .map(|i| of(r * dimensions + i) * f64::from(queries[q * dimensions + i]));
                            let (want, size) =
                                terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
                            let off = (want - f64::from(found[r * count + q])).abs();
                            assert!(
                                off <= 3e-7 * size,
                                "{name} {isa:?} {dimensions} {count}: {off} of {size}"
                            );
                        }
                    }
                };
                let mut out = vec![0.0; 5 * count];
                dots(isa, &rows, &queries, dimensions, &mut out);
                check(&|i| f64::from(rows[i]), &out, "f32");
                let unaligned: Vec<[u8; 4]> = rows.iter().map(|value| value.to_le_bytes()).collect();
                let aligned = out.clone();
                dots_of_unaligned(isa, &unaligned, &queries, dimensions, &mut out);
                assert_eq!(out, aligned);
                dots_of_halves(isa, &halves, &queries, dimensions, &mut out);
                check(&|i| half::f16::from_bits(halves[i]).to_f64(), &out, "f16");
                dots_of_bytes(isa, &bytes, &queries, dimensions, &mut out);
                check(&|i| f64::from(bytes[i]), &out, "int8");
            }
        }
    }
}

#[test]
fn a_query_finds_the_same_alone_and_among_others() {
    for isa in Isa::available() {
        for dimensions in [5, 64, 100, 384] {
            let (rows, queries) = (values(3, 7 * dimensions), values(4, 6 * dimensions));
            let mut together = vec![0.0; 7 * 6];
            dots(isa, &rows, &queries, dimensions, &mut together);
            for (q, query) in queries.chunks_exact(dimensions).enumerate() {
                let mut alone = vec![0.0; 7];
                dots(isa, &rows, query, dimensions, &mut alone);
                assert!((0..7).all(|r| alone[r].to_bits() == together[r * 6 + q].to_bits()), "{isa:?}");
            }
        }
    }
}

#[test]
fn bits_that_differ_are_counted() {
    for isa in Isa::available() {
        for width in [1, 7, 8, 9, 48, 100] {
            let rows: Vec<u8> = values(5, 6 * width).iter().map(|v| (v * 127.0) as i8 as u8).collect();
            let query = rows[2 * width..3 * width].to_vec();
            let mut out = vec![9; 6];
            hamming_distances(isa, &rows, &query, &mut out);
            for (row, found) in rows.chunks_exact(width).zip(out) {
                let want: u32 = row.iter().zip(&query).map(|(a, b)| (a ^ b).count_ones()).sum();
                assert_eq!(found, want, "{isa:?} {width}");
            }
        }
    }
}
