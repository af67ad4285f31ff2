//! The protocol of the comparison: a program loads a model, then answers lines on standard input.
//!
//! `time FILE N` embeds the lines of FILE N times and prints the median of the seconds from texts to vectors,
//! tokenisation included; `save FILE OUT` embeds them and writes the vectors as lines of numbers.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

/// What a program is started with.
pub struct Arguments {
    /// The model's folder.
    pub model: String,
    /// f32, bf16 or int8.
    pub precision: String,
    /// CPU threads.
    pub threads: usize,
}

impl Arguments {
    /// Reads `MODEL PRECISION THREADS`.
    pub fn read() -> Result<Arguments> {
        let all: Vec<String> = std::env::args().skip(1).collect();
        let [model, precision, threads] = <[String; 3]>::try_from(all)
            .map_err(|all| anyhow::anyhow!("expected MODEL PRECISION THREADS, found {all:?}"))?;
        Ok(Arguments { model, precision, threads: threads.parse()? })
    }
}

/// Answers lines until there are no more.
pub fn serve(mut embed: impl FnMut(&[String]) -> Result<Vec<Vec<f32>>>) -> Result<()> {
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let file = words.get(1).context("no file")?;
        let texts: Vec<String> = std::fs::read_to_string(file)?.lines().map(str::to_owned).collect();
        match words[..] {
            ["time", _, times] => {
                let mut seconds = Vec::new();
                for _ in 0..times.parse()? {
                    let start = Instant::now();
                    embed(&texts)?;
                    seconds.push(start.elapsed().as_secs_f64());
                }
                seconds.sort_by(f64::total_cmp);
                println!("{}", seconds[seconds.len() / 2]);
            }
            ["save", _, out] => {
                let vectors = embed(&texts)?;
                let mut out = std::io::BufWriter::new(std::fs::File::create(out)?);
                for vector in vectors {
                    let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
                    writeln!(out, "{}", numbers.join(" "))?;
                }
                out.flush()?;
                println!("saved");
            }
            _ => bail!("no such command: {line}"),
        }
    }
    Ok(())
}

/// A padded batch.
pub struct Batch {
    /// `[rows, columns]`
    pub ids: Vec<u32>,
    /// 1 for a token, 0 for padding: `[rows, columns]`.
    pub mask: Vec<u32>,
    /// Texts.
    pub rows: usize,
    /// Tokens of the longest.
    pub columns: usize,
}

/// For peers that take padded batches: answers with texts sorted by length, 32 at a time.
pub fn serve_batches(folder: &Path, mut run: impl FnMut(Batch) -> Result<Vec<Vec<f32>>>) -> Result<()> {
    let mut tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).map_err(anyhow::Error::msg)?;
    tokenizer.with_padding(Some(PaddingParams::default()));
    tokenizer
        .with_truncation(Some(TruncationParams { max_length: 256, ..TruncationParams::default() }))
        .map_err(anyhow::Error::msg)?;
    serve(|texts| {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&i| texts[i].len());
        let mut vectors = vec![Vec::new(); texts.len()];
        for chunk in order.chunks(32) {
            let batch: Vec<&str> = chunk.iter().map(|&i| texts[i].as_str()).collect();
            let encodings = tokenizer.encode_batch(batch, true).map_err(anyhow::Error::msg)?;
            let batch = Batch {
                ids: encodings.iter().flat_map(|encoding| encoding.get_ids()).copied().collect(),
                mask: encodings.iter().flat_map(|encoding| encoding.get_attention_mask()).copied().collect(),
                rows: encodings.len(),
                columns: encodings[0].len(),
            };
            for (&i, vector) in chunk.iter().zip(run(batch)?) {
                vectors[i] = vector;
            }
        }
        Ok(vectors)
    })
}
