//! The whole transformer as a flat list of steps over a few buffers.
//!
//! [`Plan::new`] turns a model's description into steps; each backend (`backend/reference.rs`,
//! `backend/cpu/`, `backend/gpu/`) is an interpreter of them. Reading
//! `network.rs` and `builder.rs` from top to bottom is reading the network:
//!
//! ```text
//! embed ─► layer 0: attention, mlp (, per-layer input) ─► layer 1 … ─► final norm ─┬─► pool ─► heads
//!                                                                      └─► other outputs
//! ```
//!
//! What a model gives for a text are its outputs: most have one, the vector. They share the steps up to
//! the hidden states, and each has steps of its own.
//!
//! No step reads a buffer that it writes, except [`Step::HeadNorm`] and [`Step::Rotary`], which
//! work in place on a part of the columns.

mod builder;
mod describe;
mod network;
mod step;
mod tables;

pub(crate) use describe::Described;
pub(crate) use network::Plan;
pub(crate) use step::{BufferId, Rows, Step};
pub(crate) use tables::{RelativePositions, RotaryTable};
