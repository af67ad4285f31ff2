//! How a server behaves.

use crate::call::TooLong;
#[cfg(feature = "tls")]
use std::path::PathBuf;
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

/// A key with which clients may ask, and how much they may have with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub(crate) secret: String,
    pub(crate) tokens_per_minute: Option<u64>,
}

impl Key {
    /// A key without a limit of its own.
    pub fn new(secret: impl Into<String>) -> Key {
        Key { secret: secret.into(), tokens_per_minute: None }
    }

    /// The most tokens a minute that requests with this key may have; see [`Settings::tokens_per_minute`].
    pub fn tokens_per_minute(mut self, tokens: u64) -> Key {
        self.tokens_per_minute = Some(tokens);
        self
    }
}

impl From<String> for Key {
    fn from(secret: String) -> Key {
        Key::new(secret)
    }
}

/// The key itself is never shown.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("tokens_per_minute", &self.tokens_per_minute).finish_non_exhaustive()
    }
}

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) keys: Vec<Key>,
    pub(crate) tokens_per_minute: Option<u64>,
    pub(crate) lazy: bool,
    pub(crate) max_memory: Option<u64>,
    pub(crate) cache: usize,
    /// Files of certificates and of their key.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
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
            tokens_per_minute: None,
            lazy: false,
            max_memory: None,
            cache: 0,
            #[cfg(feature = "tls")]
            tls: None,
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
    pub fn keys(mut self, keys: impl IntoIterator<Item: Into<Key>>) -> Self {
        self.keys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// The most tokens a minute for each key that has no limit of its own, or for all clients together where there are no keys. A
    /// request is let in while something is left, however large it is; those after it wait for what it took, and are told for how
    /// long (429).
    pub fn tokens_per_minute(mut self, tokens: Option<u64>) -> Self {
        self.tokens_per_minute = tokens;
        self
    }

    /// Whether a model is opened when it is first asked for, and not before clients are let in.
    pub fn lazy(mut self, lazy: bool) -> Self {
        self.lazy = lazy;
        self
    }

    /// Bytes that open models may take together, about: their weights, and what a batch needs. One that is asked for when there is
    /// no room closes those that were asked for longest ago. One model is always open, whatever it takes.
    pub fn max_memory(mut self, bytes: Option<u64>) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Vectors that each model keeps of requests of one text, those of the last ones: people ask the same queries again.
    pub fn cache(mut self, vectors: usize) -> Self {
        self.cache = vectors;
        self
    }

    /// Encrypted connections: a file of certificates in PEM, the server's own first, and one of its key. They are read when the
    /// server starts.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some((certificates.into(), key.into()));
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
