//! The real command, from outside: one binary, one module for what is tested.

mod bench;
mod binary;
mod commands;
mod conversation;
mod corpus;
#[cfg(unix)]
mod corpus_killed;
mod hub;
mod hub_or_folder;
mod hub_server;
mod hybrid;
mod map;
mod pieces;
mod readme;
mod results;
mod search;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "serve")]
mod serve_settings;
#[cfg(feature = "serve")]
mod served;
#[cfg(unix)]
mod signals;
