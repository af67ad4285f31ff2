//! Says how much of its cores the machine gives: a virtual machine's may be one core's two threads for a while,
//! or stand still for another's work.
//!
//! `arithmetic THREADS` answers each line on standard input with the multiply-adds a second of that many threads
//! together, over those of as many alone: 1 where each has a core of its own, 0.5 where two share one.

use std::io::BufRead;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;
use taskvec_kernels::{Isa, Storage, multiply_in_registers};

/// Times of all sums, some 6 ms.
const TIMES: usize = 2_000_000;

fn main() -> anyhow::Result<()> {
    let threads: usize = std::env::args().nth(1).unwrap_or_default().parse()?;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        line?;
        // The best of some: a new thread may wait for its core.
        println!("{}", (0..4).map(|_| share(threads)).fold(0.0, f64::max));
    }
    Ok(())
}

fn share(threads: usize) -> f64 {
    let alone = seconds();
    let start = Barrier::new(threads);
    let work = || {
        start.wait();
        seconds()
    };
    let together = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        others.into_iter().map(|other| other.join().unwrap_or(f64::INFINITY)).fold(own, f64::max)
    });
    alone / together
}

fn seconds() -> f64 {
    let start = Instant::now();
    std::hint::black_box(multiply_in_registers(Isa::best(), Storage::F32, TIMES));
    start.elapsed().as_secs_f64()
}
