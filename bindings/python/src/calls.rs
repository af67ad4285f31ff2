//! Calls without Python's lock, which Ctrl-C ends.

use crate::errors::{exception, raised};
use pyo3::prelude::*;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use taskvec::CancelToken;

/// How long a signal may wait.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Runs work without Python's lock. A short call runs where it is; beside a long one Python looks for signals, and one that
/// raises, as Ctrl-C does, ends the work between two batches.
pub(crate) fn call<T: Send>(
    py: Python<'_>,
    is_short: bool,
    work: impl FnOnce(&CancelToken) -> taskvec::Result<T> + Send,
) -> PyResult<T> {
    let cancel = CancelToken::new();
    if is_short {
        return py.detach(|| work(&cancel)).map_err(|error| raised(py, &error));
    }
    std::thread::scope(|scope| {
        let (send, receive) = channel();
        let receive = Mutex::new(receive);
        let token = &cancel;
        scope.spawn(move || {
            let _ = send.send(work(token)); // who waits for it is there until it comes
        });
        let wait = |time: Duration| {
            py.detach(|| match receive.lock() {
                Ok(receive) => receive.recv_timeout(time),
                Err(_) => Err(RecvTimeoutError::Disconnected),
            })
        };
        loop {
            match wait(BETWEEN_LOOKS) {
                Ok(result) => return result.map_err(|error| raised(py, &error)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(exception(py, "TaskvecError", "the call ended without a result".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(signal) = py.check_signals() {
                        cancel.cancel();
                        let _ = wait(Duration::MAX); // a batch is under way
                        return Err(signal);
                    }
                }
            }
        }
    })
}
