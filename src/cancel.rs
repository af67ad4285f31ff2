//! Stopping a call from another thread.

use crate::error::RequestError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stops calls that were given it. A call looks at it between batches, and returns
/// [`RequestError::Cancelled`] when it sees it.
///
/// ```
/// # #[cfg(feature = "builtin")] {
/// use taskvec::{CancelToken, Embedder, Request};
///
/// # fn main() -> taskvec::Result<()> {
/// let embedder = Embedder::builtin()?;
/// let cancel = CancelToken::new();
/// let texts = (0..).map(|i| Request::new(format!("text {i}"))); // without an end
/// let mut stream = embedder.stream(texts).cancel(&cancel);
/// assert!(stream.next().unwrap().is_ok());
/// cancel.cancel(); // from a handler of Ctrl-C, a server whose client has gone, …
/// # Ok(())
/// # }
/// # main().unwrap();
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// One that stops nothing yet.
    pub fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Stops every call that has this token or a clone of it.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if it was cancelled.
    pub(crate) fn check(&self) -> Result<(), RequestError> {
        if self.is_cancelled() { Err(RequestError::Cancelled) } else { Ok(()) }
    }
}
