//! How a server behaves.

use crate::call::TooLong;
use std::time::Duration;

/// What happens to token ids in OpenAI's `input`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum TokenIds {
    /// They are refused: most clients that send them made them with another vocabulary.
    #[default]
    Refuse,
    /// They are the model's.
    Model,
}

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) keys: Vec<String>,
    pub(crate) too_long: Option<TooLong>,
    pub(crate) token_ids: TokenIds,
    pub(crate) cors: bool,
    pub(crate) log: bool,
    pub(crate) largest_body: usize,
    pub(crate) longest_wait: Duration,
    pub(crate) queue_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) strict: bool,
    pub(crate) grace: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            keys: Vec::new(),
            too_long: None,
            token_ids: TokenIds::Refuse,
            cors: false,
            log: false,
            largest_body: 64 << 20,
            longest_wait: Duration::from_secs(30),
            queue_bytes: 1 << 30,
            connections: 4096,
            strict: false,
            grace: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// Requests need one of these keys; without any, whatever a client sends is taken.
    pub fn keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.keys = keys.into_iter().collect();
        self
    }

    /// Whether texts that are too long are cut, for requests that do not say: `None` leaves it to each dialect, as its vendor has it.
    pub fn truncate(mut self, truncate: Option<bool>) -> Self {
        self.too_long = truncate.map(TooLong::cut);
        self
    }

    /// What happens to token ids in OpenAI's `input`.
    pub fn token_ids(mut self, how: TokenIds) -> Self {
        self.token_ids = how;
        self
    }

    /// Whether pages of other origins may ask.
    pub fn cors(mut self, allow: bool) -> Self {
        self.cors = allow;
        self
    }

    /// Whether each request is a line of JSON on standard error: its id, path, status, tokens and times, and never its texts.
    pub fn log(mut self, log: bool) -> Self {
        self.log = log;
        self
    }

    /// The most bytes of a request's body.
    pub fn largest_body(mut self, bytes: usize) -> Self {
        self.largest_body = bytes;
        self
    }

    /// A request that would wait longer than this is refused with the time after which it would not.
    pub fn longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// Bytes of texts that may wait.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Connections that are held at once; others wait until one ends.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Whether a model's name must be known even where one model alone is served.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// How long requests under way may take when the server is told to end.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}
