//! The protocol of the comparison: a program loads a model, then answers lines on standard input.
//!
//! `time FILE N` embeds the lines of FILE N times and prints the median of the seconds from texts to vectors,
//! tokenisation included; `save FILE OUT` embeds them and writes the vectors as lines of numbers.

#[cfg(any(feature = "candle", feature = "rten"))]
mod batches;

#[cfg(any(feature = "candle", feature = "rten"))]
pub use batches::{Batch, serve_batches};

use anyhow::{Context, Result, bail};
use std::io::{BufRead, Write};
use std::time::Instant;

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
