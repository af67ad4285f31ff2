//! Results that a device hands to a callback, as futures.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a callback will be given.
pub(super) struct Callback<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T: Send + 'static> Callback<T> {
    /// The future, and the callback that ends it.
    pub(super) fn new() -> (Callback<T>, impl FnOnce(T) + Send + 'static) {
        let state = Arc::new(Mutex::new(State { value: None, waker: None }));
        let shared = state.clone();
        let callback = move |value| {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.value = Some(value);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        };
        (Callback(state), callback)
    }
}

impl<T> Future for Callback<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// What a future gives, if it is ready already.
pub(super) fn now_or_never<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_ends_its_future_whichever_comes_first() {
        let (mut early, callback) = Callback::new();
        callback(3);
        assert_eq!(now_or_never(&mut early), Some(3));
        let (mut late, callback) = Callback::new();
        assert_eq!(now_or_never(&mut late), None);
        let waiting = std::thread::spawn(move || pollster::block_on(late));
        callback(4);
        assert_eq!(waiting.join().expect("a thread"), 4);
    }
}
