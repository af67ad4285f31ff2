//! Vectors of single texts that were asked for lately, and of those under way: people ask the same queries again, and often at the
//! same time.

use crate::caller::Caller;
use crate::fault::Fault;
use crate::schedule::{Done, Finished, Item, Schedule, Work, late};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use lru::LruCache;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a text came to, after so long a wait and so much computing.
type Outcome = Result<(Done, Duration, Duration), Fault>;
type UnderWay = Shared<BoxFuture<'static, Outcome>>;

/// A model's vectors of single texts. The options are part of what is looked up, so that a text has one for each task.
pub(crate) struct Recent {
    kept: Option<Mutex<LruCache<Item, Done>>>,
    under_way: Mutex<HashMap<Item, WeakShared<BoxFuture<'static, Outcome>>>>,
}

impl Recent {
    /// Keeps so many vectors; those under way are shared anyway.
    pub(crate) fn new(keeps: usize) -> Recent {
        let kept = NonZeroUsize::new(keeps).map(|keeps| Mutex::new(LruCache::new(keeps)));
        Recent { kept, under_way: Mutex::default() }
    }

    /// The vector of a text: kept, of who asked for the same just before, or new. Who waits past their deadline is refused; the work
    /// goes on as long as anybody waits for it.
    pub(crate) async fn vector(
        &self,
        schedule: &Schedule,
        caller: Caller,
        item: Item,
    ) -> Result<Finished, Fault> {
        if let Some(done) = self.kept.as_ref().and_then(|kept| lock(kept).get(&item).cloned()) {
            return Ok(Finished {
                results: vec![Ok(done)],
                waited: Duration::ZERO,
                computed: Duration::ZERO,
            });
        }
        let mut waiter = self.join(schedule, caller, item)?;
        let result = match (&mut waiter.shared, caller.deadline) {
            (None, _) => Err(Fault::internal("a request has nothing to wait for")),
            (Some(shared), None) => shared.await,
            (Some(shared), Some(deadline)) => {
                tokio::time::timeout_at(deadline.into(), shared).await.unwrap_or_else(|_| Err(late()))
            }
        };
        let (done, waited, computed) = result?;
        if let Some(kept) = &self.kept {
            lock(kept).put(waiter.item.clone(), done.clone());
        }
        Ok(Finished { results: vec![Ok(done)], waited, computed })
    }

    /// Waits with whoever asked for the same, or submits it.
    fn join(&self, schedule: &Schedule, caller: Caller, item: Item) -> Result<Waiter<'_>, Fault> {
        let mut under_way = lock(&self.under_way);
        let shared: UnderWay = match under_way.get(&item).and_then(WeakShared::upgrade) {
            Some(shared) => shared,
            None => {
                let pending =
                    schedule.submit(Work::Dense(vec![item.clone()]), caller.key, caller.deadline)?;
                let result = async {
                    let finished = pending.wait(None).await?;
                    let done = finished.results.into_iter().next();
                    let done = done.unwrap_or_else(|| Err(Fault::internal("a text has no result")))?;
                    Ok((done, finished.waited, finished.computed))
                };
                let shared = result.boxed().shared();
                if let Some(weak) = shared.downgrade() {
                    under_way.insert(item.clone(), weak);
                }
                shared
            }
        };
        Ok(Waiter { recent: self, item, shared: Some(shared) })
    }
}

/// One who waits. The last to go takes the text out of those under way.
struct Waiter<'r> {
    recent: &'r Recent,
    item: Item,
    shared: Option<UnderWay>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut under_way = lock(&self.recent.under_way);
        self.shared = None;
        if under_way.get(&self.item).is_some_and(|weak| weak.upgrade().is_none_or(|it| it.peek().is_some())) {
            under_way.remove(&self.item);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loaded::Loaded;
    use crate::schedule::{Content, Limits, Value};
    use std::sync::Arc;
    use std::time::Instant;
    use taskvec::{Device, EmbedOptions, Embedder, Task};

    fn schedule() -> Schedule {
        let embedder = Embedder::builder().device(Device::Cpu).builtin().unwrap();
        let limits = Limits { longest_wait: Duration::from_secs(60), bytes: 1 << 20 };
        Schedule::start(Arc::new(Loaded::Embedder(embedder)), limits).unwrap()
    }

    fn item(text: &str, task: Task) -> Item {
        let options = Arc::new(EmbedOptions::new().task(task));
        Item { content: Content::Text(text.to_owned()), title: None, options }
    }

    #[tokio::test]
    async fn who_asks_for_the_same_at_once_waits_for_one_result() {
        let (schedule, recent) = (schedule(), Recent::new(0));
        let ask = |text, task| recent.join(&schedule, Caller::default(), item(text, task)).unwrap();
        let mut waiters = [
            ask("a cat", Task::RetrievalQuery),
            ask("a cat", Task::RetrievalQuery),
            ask("a cat", Task::Clustering),
        ];
        let [first, second, other] = waiters.each_mut().map(|waiter| waiter.shared.take().unwrap());
        assert!(first.ptr_eq(&second), "one result");
        assert!(!first.ptr_eq(&other), "of each task");
        let vector = |result: Outcome| match result.unwrap().0.value {
            Value::Dense(vector) => vector,
            other => panic!("{other:?}"),
        };
        let (first, second, other) = tokio::join!(first, second, other);
        assert_eq!(vector(first), vector(second));
        assert_eq!(vector(other).len(), 384);
        drop(waiters);
        assert!(lock(&recent.under_way).is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn one_who_gives_up_takes_it_from_nobody() {
        let (schedule, recent) = (schedule(), Recent::new(1));
        let item = item("a cat", Task::RetrievalQuery);
        let late = Caller { deadline: Some(Instant::now()), ..Caller::default() };
        let patient = recent.vector(&schedule, Caller::default(), item.clone());
        let hasty = recent.vector(&schedule, late, item.clone());
        let (patient, hasty) = tokio::join!(patient, hasty);
        assert!(patient.unwrap().results[0].is_ok());
        // The clock may have found the result there already.
        if let Err(fault) = hasty {
            assert_eq!(fault.kind, crate::fault::FaultKind::Late);
        }
        assert!(lock(&recent.under_way).is_empty());
        let again = recent.vector(&schedule, late, item).await.unwrap();
        assert_eq!(again.computed, Duration::ZERO, "it is kept");
        // Nobody waits: nothing is left behind.
        drop(recent.join(&schedule, Caller::default(), self::item("a dog", Task::Clustering)).unwrap());
        assert!(lock(&recent.under_way).is_empty());
    }
}
