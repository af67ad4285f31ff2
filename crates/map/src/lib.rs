//! A map of a corpus: its vectors in two dimensions, for eyes.
//!
//! Vectors are placed by [`Method::Pca`] or [`Method::Tsne`], put into [`Groups`] by a label or by k-means, and drawn as
//! SVG or as one HTML file that needs nothing else. The same vectors give the same picture.
//!
//! ```
//! use taskvec_map::{Groups, Map, Method, Placement, Vectors, clusters};
//!
//! # fn main() -> Result<(), taskvec_map::MapError> {
//! let vectors = Vectors::new(vec![1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9], 2)?;
//! let texts: Vec<String> = ["a cat", "a kitten", "a stock", "a share"].map(str::to_owned).into();
//! let found = clusters(&vectors, 2);
//! let names = found.typical.iter().map(|row| texts[*row].clone()).collect();
//! let map = Map {
//!     title: "Four texts".to_owned(),
//!     about: "all-MiniLM-L6-v2".to_owned(),
//!     placement: Placement::of(&vectors, Method::Pca),
//!     groups: Groups::of_clusters(&found.of_rows, names),
//!     texts,
//! };
//! assert!(map.svg().contains("<circle"));
//! assert!(map.html().starts_with("<!doctype html>"));
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `vectors.rs` | vectors at unit length |
//! | `pca.rs` | their two principal components |
//! | `neighbours.rs` | the nearest of each, exactly |
//! | `placement.rs` | where each stands in the picture |
//! | `clusters.rs` | k-means, and the most typical vector of each cluster |
//! | `groups.rs` | which rows share a colour and a form |
//! | `svg.rs`, `html.rs`, `page.html` | the picture |
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clusters;
mod groups;
mod html;
mod map;
mod neighbours;
mod pca;
mod placement;
mod svg;
mod vectors;

pub use clusters::{Clusters, clusters};
pub use groups::{Group, Groups};
pub use map::Map;
pub use placement::{Method, Placement};
pub use vectors::{MapError, Vectors};
