//! Vectors over HTTP, in the words of every vendor's client: OpenAI, Azure, text-embeddings-inference, Gemini, Vertex, Cohere, Jina,
//! Voyage, Mistral, Nomic and Ollama. The task of a request reaches the model's prompt.
//!
//! ```no_run
//! use std::sync::Arc;
//! use taskvec_server::{Listen, Loaded, ServedModel, Server, Settings};
//!
//! # fn main() -> Result<(), taskvec_server::ServerError> {
//! let open = || match taskvec::Embedder::open("path/to/e5-small-v2") {
//!     Ok(embedder) => Ok(Loaded::Embedder(embedder)),
//!     Err(error) => Err(error.to_string()),
//! };
//! let model = ServedModel { name: "e5-small-v2".into(), aliases: vec![], open: Arc::new(open) };
//! let server = Server::new(vec![model], Settings::default())?;
//! server.run(&Listen::Tcp("127.0.0.1".into(), 8080), |address| eprintln!("{address}"), std::future::pending())?;
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod answer;
mod budget;
mod call;
mod caller;
mod dialects;
mod error;
mod fault;
mod http;
mod json;
mod loaded;
mod metrics;
mod models;
mod numbers;
mod openapi;
mod recent;
mod routes;
mod schedule;
mod serve;
mod served_model;
mod server;
mod settings;
mod slot;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "otel")]
mod traces;

pub use error::ServerError;
pub use loaded::Loaded;

pub use serve::{Address, Listen};
pub use served_model::{Opener, ServedModel};
pub use server::Server;
pub use settings::{Key, Settings, TokenIds};
