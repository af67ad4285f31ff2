//! Load on a server: an open loop, in which requests come when they come and not when the one before is answered.
//!
//! ```text
//! cargo run --release -p taskvec-server --example load -- --taskvec BINARY --texts FILE [--seconds 20] [--overload 20] [--json FILE]
//! ```
//!
//! It starts `BINARY serve` with the built-in model, and measures in turn: what a request adds to the library's own call; the texts a
//! second of many clients at once beside the library's on the same texts; how long a query takes at half of what the server can do,
//! alone and beside one request of very many texts; and what ten times too many requests do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use taskvec::{Device, Embedder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Options {
    taskvec: String,
    texts: String,
    seconds: f64,
    /// How long it is asked for far more than it can do.
    overload: f64,
    json: Option<String>,
}

fn options() -> Result<Options, Failure> {
    let mut options =
        Options { taskvec: String::new(), texts: String::new(), seconds: 20.0, overload: 0.0, json: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or("an option has no value")?;
        match word.as_str() {
            "--taskvec" => options.taskvec = value,
            "--texts" => options.texts = value,
            "--seconds" => options.seconds = value.parse()?,
            "--overload" => options.overload = value.parse()?,
            "--json" => options.json = Some(value),
            _ => return Err(format!("{word} is not known").into()),
        }
    }
    if options.taskvec.is_empty() || options.texts.is_empty() {
        return Err("--taskvec and --texts are needed".into());
    }
    Ok(options)
}

/// The server, until this is dropped.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(binary: &str) -> Result<Served, Failure> {
        let mut process = Command::new(binary)
            .args(["serve", "--port", "0", "--device", "cpu", "--longest-wait", "2"])
            .stderr(Stdio::piped())
            .spawn()?;
        let said = process.stderr.take().ok_or("the server says nothing")?;
        for line in BufReader::new(said).lines() {
            if let Some((_, address)) = line?.split_once("listening on http://") {
                return Ok(Served { process, address: address.to_owned() });
            }
        }
        Err("the server ended".into())
    }

    /// Bytes that the process holds in memory.
    fn resident(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection that stays.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn new(address: &str) -> Result<Client, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, read: Vec::new() })
    }

    /// Sends texts; gives the status, when the whole answer is read.
    async fn embed(&mut self, texts: &[&str]) -> Result<u16, Failure> {
        let body = serde_json::json!({"input": texts, "encoding_format": "base64"}).to_string();
        let head =
            format!("POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        self.stream.write_all(format!("{head}{body}").as_bytes()).await?;
        self.read.clear();
        let mut part = vec![0; 64 << 10];
        loop {
            let count = self.stream.read(&mut part).await?;
            if count == 0 {
                return Err("the server hung up".into());
            }
            self.read.extend_from_slice(&part[..count]);
            let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.read[..end])?.to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.ok_or("no length")?.trim().parse()?;
            if self.read.len() >= end + 4 + length {
                return Ok(head.split(' ').nth(1).ok_or("no status")?.parse()?);
            }
        }
    }
}

fn quantile(times: &mut [f64], of: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(((times.len() as f64 - 1.0) * of) as usize).copied().unwrap_or(f64::NAN)
}

/// What came of a load: seconds of those that were answered, and of those that were refused.
#[derive(Default)]
struct Came {
    answered: Vec<f64>,
    refused: Vec<f64>,
    failed: usize,
}

impl Came {
    fn add(&mut self, mut other: Came) {
        self.answered.append(&mut other.answered);
        self.refused.append(&mut other.refused);
        self.failed += other.failed;
    }

    fn print(&mut self, what: &str) -> serde_json::Value {
        let (count, refused) = (self.answered.len(), self.refused.len());
        let (p50, p99) = (quantile(&mut self.answered, 0.5) * 1e3, quantile(&mut self.answered, 0.99) * 1e3);
        let refused_p99 = quantile(&mut self.refused, 0.99) * 1e3;
        println!(
            "{what}: {count} answered, p50 {p50:.2} ms, p99 {p99:.2} ms; {refused} refused, p99 {refused_p99:.2} ms; {} failed",
            self.failed
        );
        serde_json::json!({"answered": count, "p50_ms": p50, "p99_ms": p99, "refused": refused, "refused_p99_ms": refused_p99, "failed": self.failed})
    }
}

/// Queries at a rate, each when its time has come; a connection that is free takes it, or a new one, up to a limit.
async fn open_loop(address: &str, queries: &Arc<Vec<String>>, rate: f64, seconds: f64) -> Came {
    let came = Arc::new(std::sync::Mutex::new(Came::default()));
    let free = Arc::new(tokio::sync::Mutex::new(Vec::<Client>::new()));
    let under_way = Arc::new(AtomicUsize::new(0));
    let (begun, mut next, mut number) = (Instant::now(), 0.0f64, 0u64);
    let mut tasks = Vec::new();
    while next < seconds {
        // Arrivals of a Poisson process, from a fixed stream of numbers.
        number += 1;
        let random = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1u64 << 53) as f64;
        next += -(1.0 - random).max(1e-12).ln() / rate;
        let due = begun + Duration::from_secs_f64(next);
        if due > Instant::now() + Duration::from_micros(500) {
            tokio::time::sleep_until((due - Duration::from_micros(500)).into()).await;
        }
        let (came, free, under_way, queries) =
            (came.clone(), free.clone(), under_way.clone(), queries.clone());
        let address = address.to_owned();
        if under_way.fetch_add(1, Ordering::Relaxed) > 2000 {
            under_way.fetch_sub(1, Ordering::Relaxed);
            if let Ok(mut came) = came.lock() {
                came.failed += 1;
            }
            continue;
        }
        let query = number as usize % queries.len();
        tasks.push(tokio::spawn(async move {
            let client = free.lock().await.pop();
            let result = async {
                let mut client = match client {
                    Some(client) => client,
                    None => Client::new(&address).await?,
                };
                let sent = Instant::now().max(due);
                let status = client.embed(&[&queries[query]]).await?;
                Ok::<_, Failure>((client, status, sent.elapsed().as_secs_f64()))
            };
            let result = result.await;
            under_way.fetch_sub(1, Ordering::Relaxed);
            let client = match (result, came.lock()) {
                (Ok((client, status, taken)), Ok(mut came)) => {
                    match status {
                        200 => came.answered.push(taken),
                        429 => came.refused.push(taken),
                        _ => came.failed += 1,
                    }
                    Some(client)
                }
                (Err(_), Ok(mut came)) => {
                    came.failed += 1;
                    None
                }
                _ => None,
            };
            if let Some(client) = client {
                free.lock().await.push(client);
            }
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
    came.lock().map(|mut came| std::mem::take(&mut *came)).unwrap_or_default()
}

/// Many clients, each with a request of some texts under way: texts a second.
async fn closed_loop(
    address: &str,
    texts: &Arc<Vec<String>>,
    clients: usize,
    each: usize,
) -> Result<f64, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (next, texts, mut client) = (next.clone(), texts.clone(), Client::new(address).await?);
        tasks.push(tokio::spawn(async move {
            loop {
                let from = next.fetch_add(each, Ordering::Relaxed);
                if from >= texts.len() {
                    return Ok::<(), Failure>(());
                }
                let part: Vec<&str> =
                    texts[from..(from + each).min(texts.len())].iter().map(String::as_str).collect();
                while client.embed(&part).await? == 429 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(texts.len() as f64 / begun.elapsed().as_secs_f64())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let options = options()?;
    let texts: Vec<String> = std::fs::read_to_string(&options.texts)?.lines().map(str::to_owned).collect();
    let texts = Arc::new(texts);
    let queries: Vec<String> =
        texts.iter().map(|text| text.split_whitespace().take(10).collect::<Vec<_>>().join(" ")).collect();
    let queries = Arc::new(queries);
    let served = Served::start(&options.taskvec)?;
    let address = served.address.clone();
    let mut results = serde_json::Map::new();

    // In turns: the library's call, and the request.
    let embedder = Embedder::builder().device(Device::Cpu).builtin()?;
    let mut client = Client::new(&address).await?;
    let (mut alone, mut asked) = (Vec::new(), Vec::new());
    for i in 0..2000 {
        let query = &queries[i % queries.len()];
        let begun = Instant::now();
        embedder.embed(query, taskvec::EmbedOptions::new())?;
        alone.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        client.embed(&[query]).await?;
        asked.push(begun.elapsed().as_secs_f64());
    }
    let (library, request) = (quantile(&mut alone, 0.5) * 1e3, quantile(&mut asked, 0.5) * 1e3);
    let unloaded = quantile(&mut asked, 0.99) * 1e3;
    println!("one query: library {library:.3} ms, request {request:.3} ms (p99 {unloaded:.3})");
    results.insert(
        "one_query_ms".into(),
        serde_json::json!({"library": library, "request": request, "request_p99": unloaded}),
    );

    let mut rates = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let begun = Instant::now();
        embedder.embed_batch(&texts[..], taskvec::EmbedOptions::new())?;
        rates.0.push(texts.len() as f64 / begun.elapsed().as_secs_f64());
        rates.1.push(closed_loop(&address, &texts, 16, 32).await?);
    }
    let (library, server) = (quantile(&mut rates.0, 0.5), quantile(&mut rates.1, 0.5));
    println!("corpus: library {library:.0} texts/s, server {server:.0} texts/s: {:.3}", server / library);
    results
        .insert("corpus_texts_per_second".into(), serde_json::json!({"library": library, "server": server}));
    drop(embedder);

    let capacity = closed_loop(&address, &queries, 32, 1).await?;
    println!("queries: {capacity:.0} a second at most");
    results.insert("queries_per_second".into(), capacity.into());
    let mut light = open_loop(&address, &queries, 20.0, options.seconds).await;
    results.insert("light".into(), light.print("20 queries a second"));
    let mut half = open_loop(&address, &queries, capacity / 2.0, options.seconds).await;
    results.insert("half".into(), half.print("half of that"));

    let bulk = {
        let (address, texts) = (address.clone(), texts.clone());
        tokio::spawn(async move {
            let many: Vec<&str> = texts.iter().map(String::as_str).cycle().take(100_000).collect();
            let mut client = Client::new(&address).await?;
            client.embed(&many).await
        })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut beside = open_loop(&address, &queries, 20.0, options.seconds).await;
    results
        .insert("beside_bulk".into(), beside.print("20 queries a second beside a request of 100,000 texts"));
    println!(
        "the large request was {}",
        if bulk.is_finished() { "over too early" } else { "under way all the time" }
    );
    bulk.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;

    // In parts of half a minute, with the memory that the server has after each.
    let mut resident = vec![served.resident() >> 20];
    let mut left = options.overload.max(options.seconds);
    let mut over = Came::default();
    while left > 0.0 {
        let part = open_loop(&address, &queries, 10.0 * capacity, left.min(30.0)).await;
        over.add(part);
        resident.push(served.resident() >> 20);
        left -= 30.0;
    }
    results.insert("ten_times".into(), over.print("ten times as many as it can do"));
    println!("resident {resident:?} MiB");
    results.insert("resident_mib".into(), serde_json::json!(resident));
    if let Some(path) = options.json {
        std::fs::write(path, format!("{}\n", serde_json::Value::Object(results)))?;
    }
    Ok(())
}
