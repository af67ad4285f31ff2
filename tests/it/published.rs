//! Vectors that others have published of models that are too large to be here. Give a folder with
//! models and run
//!
//! ```sh
//! TASKVEC_MODELS=/path/to/models cargo test --release --test it published -- --ignored --nocapture
//! ```
//!
//! Each model is looked for as `{name}`, `{org}/{name}` and as the Hub's cache keeps it
//! (`models--{org}--{name}/snapshots/*`). Those that are not there are named.
//!
//! The values are those of fastembed's tests, first components for "hello world", to 1e-3.

use std::path::{Path, PathBuf};
use taskvec::{EmbedOptions, Embedder, Task};

/// What a value was published for.
struct Published {
    model: &'static str,
    text: &'static str,
    how: fn() -> EmbedOptions,
    first: &'static [f32],
}

fn plain() -> EmbedOptions {
    EmbedOptions::new().prompt("")
}

fn raw() -> EmbedOptions {
    plain().normalize(false)
}

fn query() -> EmbedOptions {
    Task::RetrievalQuery.into()
}

fn document() -> EmbedOptions {
    Task::RetrievalDocument.into()
}

/// jina-v3's adapters by themselves, without the instruction.
fn adapter(name: &str) -> EmbedOptions {
    EmbedOptions::new().prompt("").adapter(name)
}

const HELLO: &str = "hello world";

const PUBLISHED: &[Published] = &[
    Published {
        model: "BAAI/bge-small-en-v1.5",
        text: HELLO,
        how: plain,
        first: &[0.0152, -0.0227, 0.0086, -0.0742, 0.0039],
    },
    Published {
        model: "BAAI/bge-base-en-v1.5",
        text: HELLO,
        how: plain,
        first: &[0.0113, 0.0549, 0.0262, 0.0033, 0.0300],
    },
    Published {
        model: "BAAI/bge-large-en-v1.5",
        text: HELLO,
        how: plain,
        first: &[0.0343, 0.0332, 0.0219, -0.0371, -0.0158],
    },
    Published {
        model: "sentence-transformers/all-MiniLM-L6-v2",
        text: HELLO,
        how: plain,
        first: &[-0.0345, 0.0310, 0.0067, 0.0261, -0.0394],
    },
    Published {
        model: "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        text: HELLO,
        how: plain,
        first: &[0.0361, 0.1862, 0.2776, 0.2461, -0.1904],
    },
    Published {
        model: "intfloat/multilingual-e5-large",
        text: HELLO,
        how: raw,
        first: &[0.4544, -0.0968, 0.1054, -1.3753, 0.1500],
    },
    Published {
        model: "jinaai/jina-embeddings-v2-base-en",
        text: HELLO,
        how: plain,
        first: &[-0.0332, -0.0509, 0.0287, -0.0043, -0.0077],
    },
    Published {
        model: "mixedbread-ai/mxbai-embed-large-v1",
        text: HELLO,
        how: plain,
        first: &[0.0230, 0.0320, 0.0165, -0.0403, -0.0220],
    },
    Published {
        model: "Snowflake/snowflake-arctic-embed-m",
        text: HELLO,
        how: plain,
        first: &[-0.0329, 0.0364, 0.0481, 0.0016, 0.0328],
    },
    Published {
        model: "thenlper/gte-base",
        text: HELLO,
        how: plain,
        first: &[0.0038, 0.0355, 0.0181, 0.0092, 0.0654],
    },
    Published {
        model: "Qwen/Qwen3-Embedding-0.6B",
        text: HELLO,
        how: plain,
        first: &[-0.0148, 0.0172, -0.0120, -0.0728, 0.0028],
    },
    Published {
        model: "Qwen/Qwen3-Embedding-0.6B",
        text: HELLO,
        how: query,
        first: &[-0.0191, 0.0164, -0.0036, -0.0395, -0.0139],
    },
    Published {
        model: "google/embeddinggemma-300m",
        text: HELLO,
        how: document,
        first: &[-0.0818, 0.0214, 0.0512, -0.0369, -0.0255],
    },
    Published {
        model: "google/embeddinggemma-300m",
        text: HELLO,
        how: query,
        first: &[-0.2299, 0.0331, 0.0429, -0.0356, -0.0140],
    },
    Published {
        model: "jinaai/jina-embeddings-v3",
        text: "Hello World",
        how: || adapter("retrieval.query"),
        first: &[0.0623, -0.0402, 0.1706],
    },
    Published {
        model: "jinaai/jina-embeddings-v3",
        text: "Hello World",
        how: || adapter("retrieval.passage"),
        first: &[0.0513, -0.0247, 0.1751],
    },
    Published {
        model: "jinaai/jina-embeddings-v3",
        text: "Hello World",
        how: || adapter("separation"),
        first: &[0.0940, -0.1065, 0.1305],
    },
    Published {
        model: "jinaai/jina-embeddings-v3",
        text: "Hello World",
        how: || adapter("classification"),
        first: &[0.0606, -0.0877, 0.1384],
    },
    Published {
        model: "jinaai/jina-embeddings-v3",
        text: "Hello World",
        how: || adapter("text-matching"),
        first: &[0.0911, -0.0341, 0.1305],
    },
];

fn folder(root: &Path, model: &str) -> Option<PathBuf> {
    let (_, name) = model.split_once('/')?;
    let cached = root.join(format!("models--{}", model.replace('/', "--"))).join("snapshots");
    let snapshots = std::fs::read_dir(cached).into_iter().flatten().flatten().map(|entry| entry.path());
    [root.join(model), root.join(name)]
        .into_iter()
        .chain(snapshots)
        .find(|folder| folder.join("config.json").is_file())
}

fn check(embedder: &Embedder, published: &Published) {
    let vector = embedder.embed(published.text, (published.how)()).unwrap().value;
    let worst = vector.iter().zip(published.first).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{:60} worst difference of the first {}: {worst:.1e}", published.model, published.first.len());
    assert!(
        worst <= 1e-3,
        "{}: {:?}, published {:?}",
        published.model,
        &vector[..published.first.len()],
        published.first
    );
}

#[test]
#[ignore = "it needs models that are not here: TASKVEC_MODELS names a folder of them"]
fn vectors_are_those_that_others_have_published() {
    let root = std::env::var_os("TASKVEC_MODELS").expect("TASKVEC_MODELS names a folder of models");
    let mut found = 0;
    for published in PUBLISHED {
        match folder(Path::new(&root), published.model) {
            Some(folder) => {
                let embedder = Embedder::open(folder).unwrap_or_else(|e| panic!("{}: {e}", published.model));
                check(&embedder, published);
                found += 1;
            }
            None => println!("{:60} not there", published.model),
        }
    }
    assert!(found > 0, "none of the models is in {}", root.display());
}

/// The one whose weights are here shows that the test can fail.
#[cfg(feature = "builtin")]
#[test]
fn the_built_in_model_has_its_published_vectors() {
    let embedder = Embedder::builtin().unwrap();
    let here = PUBLISHED.iter().filter(|published| published.model.ends_with("/all-MiniLM-L6-v2"));
    assert_eq!(here.map(|published| check(&embedder, published)).count(), 1);
}
