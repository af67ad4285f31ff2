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
            if job.is_abandoned() || job.is_late() {
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
