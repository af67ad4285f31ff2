//! Who is served next: of the people, and of the programs, those of the key that has had least.

use super::job::{Class, Job, WorkKind, late};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Some texts of a job that are computed together.
pub(crate) struct Slice {
    pub(crate) job: Arc<Job>,
    pub(crate) texts: std::ops::Range<usize>,
    pub(crate) tokens: u64,
}

/// Jobs that wait. The queue knows no clock: it is asked when a device is free.
#[derive(Default)]
pub(crate) struct Queue {
    interactive: Lanes,
    bulk: Lanes,
    /// The most tokens of a text.
    most: usize,
}

/// Jobs of a class, by key.
#[derive(Default)]
struct Lanes {
    lanes: BTreeMap<usize, Lane>,
    /// What the key that was served last had had: one that comes later begins there.
    level: u64,
    tokens: u64,
    bytes: usize,
}

#[derive(Default)]
struct Lane {
    /// Tokens that its key has been given.
    had: u64,
    jobs: VecDeque<Waiting>,
}

/// A job of which some texts may be done.
struct Waiting {
    job: Arc<Job>,
    next: usize,
}

impl Queue {
    pub(crate) fn new(most: usize) -> Queue {
        Queue { most, ..Queue::default() }
    }

    pub(crate) fn push(&mut self, job: Arc<Job>) {
        let tokens = (0..job.work.len()).map(|i| job.work.tokens(i, self.most)).sum::<u64>();
        let lanes = self.lanes(job.class);
        lanes.tokens += tokens;
        lanes.bytes += job.work.bytes();
        let level = lanes.level;
        let lane = lanes.lanes.entry(job.key).or_default();
        if lane.jobs.is_empty() {
            lane.had = lane.had.max(level);
        }
        lane.jobs.push_back(Waiting { job, next: 0 });
    }

    /// Texts of a class to compute together: of one kind, and about so many tokens, but at least one text.
    pub(crate) fn take(&mut self, class: Class, tokens: u64) -> Vec<Slice> {
        let most = self.most;
        let mut slices: Vec<Slice> = Vec::new();
        let mut room = tokens;
        while room > 0 {
            let kind = slices.first().map(|slice| slice.job.work.kind());
            // A cross-encoder takes one query at a time.
            if kind == Some(WorkKind::Scores) {
                break;
            }
            let Some(slice) = self.lanes(class).next(kind, room, most) else { break };
            room = room.saturating_sub(slice.tokens.max(1));
            slices.push(slice);
        }
        slices
    }

    /// Tokens of a class that wait, about.
    pub(crate) fn waiting(&self, class: Class) -> u64 {
        match class {
            Class::Interactive => self.interactive.tokens,
            Class::Bulk => self.bulk.tokens,
        }
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.interactive.tokens + self.bulk.tokens
    }

    /// Bytes of texts that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.interactive.bytes + self.bulk.bytes
    }

    /// All jobs, which are not to be done.
    pub(crate) fn drain(&mut self) -> Vec<Arc<Job>> {
        let mut jobs = Vec::new();
        for lanes in [&mut self.interactive, &mut self.bulk] {
            for lane in std::mem::take(lanes).lanes.into_values() {
                jobs.extend(lane.jobs.into_iter().map(|waiting| waiting.job));
            }
        }
        jobs
    }

    fn lanes(&mut self, class: Class) -> &mut Lanes {
        match class {
            Class::Interactive => &mut self.interactive,
            Class::Bulk => &mut self.bulk,
        }
    }
}

impl Lanes {
    /// The next texts of the key that has had least.
    fn next(&mut self, kind: Option<WorkKind>, room: u64, most: usize) -> Option<Slice> {
        loop {
            let fits = |lane: &Lane| {
                let first = lane.jobs.front();
                first.is_some_and(|first| kind.is_none_or(|kind| first.job.work.kind() == kind))
            };
            let lane = self.lanes.values_mut().filter(|lane| fits(lane)).min_by_key(|lane| lane.had)?;
            let waiting = lane.jobs.front_mut()?;
            let job = waiting.job.clone();
            let from = waiting.next;
            let cost = |i: usize| job.work.tokens(i, most);
            if job.is_abandoned() {
                let left: u64 = (from..job.work.len()).map(cost).sum();
                lane.jobs.pop_front();
                self.tokens = self.tokens.saturating_sub(left);
                self.bytes = self.bytes.saturating_sub(job.work.bytes());
                job.fail(&late());
                continue;
            }
            let (mut to, mut tokens) = (from, 0);
            while to < job.work.len() && (to == from || tokens + cost(to) <= room) {
                tokens += cost(to);
                to += 1;
            }
            waiting.next = to;
            lane.had += tokens;
            self.level = lane.had;
            if to == job.work.len() {
                lane.jobs.pop_front();
                self.bytes = self.bytes.saturating_sub(job.work.bytes());
            }
            self.tokens = self.tokens.saturating_sub(tokens);
            self.forget();
            job.begin();
            return Some(Slice { job, texts: from..to, tokens });
        }
    }

    /// Keys without work are forgotten, so that however many there have been cost nothing.
    fn forget(&mut self) {
        if self.lanes.len() > 64 {
            let level = self.level;
            self.lanes.retain(|_, lane| !lane.jobs.is_empty() || lane.had > level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::{Content, Done, Item, Value, Work};
    use super::*;

    const TOKENS: u64 = 18; // of 40 bytes, with what stands around them

    fn items(count: usize) -> Vec<Item> {
        let item = Item { content: Content::Text("x".repeat(40)), title: None, options: Default::default() };
        vec![item; count]
    }

    fn job(
        count: usize,
        key: usize,
    ) -> (Arc<Job>, tokio::sync::oneshot::Receiver<super::super::job::Finished>) {
        Job::new(Work::Dense(items(count)), Class::Bulk, key)
    }

    fn taken(slices: &[Slice]) -> Vec<(usize, std::ops::Range<usize>)> {
        slices.iter().map(|slice| (slice.job.key, slice.texts.clone())).collect()
    }

    #[test]
    fn keys_share_by_tokens_and_each_keeps_its_order() {
        let mut queue = Queue::new(512);
        let jobs = [job(100, 1), job(100, 1), job(10, 2), job(10, 3)];
        jobs.iter().for_each(|(job, _)| queue.push(job.clone()));
        assert_eq!(queue.waiting(Class::Bulk), 220 * TOKENS);
        assert_eq!(taken(&queue.take(Class::Bulk, 5 * TOKENS)), [(1, 0..5)]);
        // Those that have had nothing come first, and then all take turns.
        assert_eq!(taken(&queue.take(Class::Bulk, 5 * TOKENS)), [(2, 0..5)]);
        assert_eq!(taken(&queue.take(Class::Bulk, 5 * TOKENS)), [(3, 0..5)]);
        let mut had = [0; 4];
        for _ in 0..6 {
            queue
                .take(Class::Bulk, 5 * TOKENS)
                .iter()
                .for_each(|slice| had[slice.job.key] += slice.texts.len());
        }
        assert_eq!(had, [0, 20, 5, 5], "the small ones are done, the large one has the rest");
        // One that comes later begins where the others are, and not with all that it did not use.
        let late = job(50, 2);
        queue.push(late.0.clone());
        let mut had = [0; 4];
        for _ in 0..6 {
            queue
                .take(Class::Bulk, 5 * TOKENS)
                .iter()
                .for_each(|slice| had[slice.job.key] += slice.texts.len());
        }
        assert!(had[1] >= 10 && had[2] >= 10, "{had:?}");
        while !queue.take(Class::Bulk, 1000).is_empty() {}
        assert_eq!((queue.tokens(), queue.bytes()), (0, 0));
    }

    #[test]
    fn a_batch_has_one_kind_and_at_least_one_text() {
        let mut queue = Queue::new(512);
        let dense = Job::new(Work::Dense(items(2)), Class::Interactive, 0);
        let sparse = Job::new(Work::Sparse(items(2)), Class::Interactive, 0);
        let scores = |query: &str| {
            let documents = vec!["a".into(), "b".into()];
            let work = Work::Scores { query: query.into(), documents, options: Default::default() };
            Job::new(work, Class::Interactive, 0)
        };
        let jobs = [dense, sparse, scores("one"), scores("two")];
        jobs.iter().for_each(|(job, _)| queue.push(job.clone()));
        assert_eq!(taken(&queue.take(Class::Bulk, 1000)), []);
        assert_eq!(taken(&queue.take(Class::Interactive, 1)), [(0, 0..1)]);
        for (texts, kind) in [
            (1..2, WorkKind::Dense),
            (0..2, WorkKind::Sparse),
            (0..2, WorkKind::Scores),
            (0..2, WorkKind::Scores),
        ] {
            let slices = queue.take(Class::Interactive, 1000);
            assert_eq!((slices.len(), slices[0].texts.clone(), slices[0].job.work.kind()), (1, texts, kind));
        }
        assert!(queue.take(Class::Interactive, 1000).is_empty());
    }

    #[test]
    fn what_nobody_waits_for_is_left_out() {
        let mut queue = Queue::new(512);
        let abandoned = job(10, 0);
        let mut last = job(1, 0);
        for (job, _) in [&abandoned, &last] {
            queue.push(job.clone());
        }
        abandoned.0.abandon();
        let slices = queue.take(Class::Bulk, 1000);
        assert_eq!(taken(&slices), [(0, 0..1)]);
        assert_eq!((queue.tokens(), queue.bytes()), (0, 0));
        let mut of_abandoned = abandoned.1;
        let told = of_abandoned.try_recv().unwrap().results;
        assert!(told.iter().all(|result| result.is_err()) && told.len() == 10);
        assert!(last.1.try_recv().is_err(), "it is not done yet");
        slices[0].job.set(0, Ok(Done { value: Value::Score(1.0), tokens: 1, untruncated_tokens: 1 }));
        assert!(last.1.try_recv().unwrap().results[0].is_ok());
        // A batch that failed is computed again: what was finished in it stays as it was handed on.
        assert!(last.0.is_finished());
        last.0.set(0, Ok(Done { value: Value::Score(2.0), tokens: 1, untruncated_tokens: 1 }));
        last.0.fail(&late());
    }

    #[test]
    fn many_keys_cost_nothing_when_they_are_gone() {
        let mut queue = Queue::new(512);
        for key in 0..10_000 {
            queue.push(job(1, key).0);
            queue.take(Class::Bulk, 1000);
        }
        assert!(queue.bulk.lanes.len() < 200, "{}", queue.bulk.lanes.len());
    }
}
