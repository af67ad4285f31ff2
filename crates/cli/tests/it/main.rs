//! The real command, from outside: one binary, one module for what is tested.

mod bench;
mod binary;
mod commands;
mod hub;
mod hub_or_folder;
mod hub_server;
mod pieces;
mod results;
#[cfg(unix)]
mod signals;
