//! Where asynchronous work on devices meets callers that wait.

/// Waits for a future on this thread.
///
/// In a browser no thread may wait: the public methods that block are not for there, and their asynchronous forms
/// do not come here.
#[cfg(feature = "gpu")]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}

/// Takes what a future gives: without a GPU there is nothing that it could wait for, so that it is ready when it is
/// first asked.
#[cfg(not(feature = "gpu"))]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}
