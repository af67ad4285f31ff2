//! The real command, from outside: one binary, one module for what is tested.

mod bench;
mod binary;
mod commands;
mod hub;
mod pieces;
mod results;
#[cfg(unix)]
mod signals;
