//! The models that are served, by their names.

use crate::fault::{Fault, FaultKind};
use crate::schedule::Limits;
use crate::served_model::{Purpose, ServedModel};
use crate::slot::{Known, Open, Slot};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use taskvec::Task;

/// All models.
pub(crate) struct Models {
    slots: Vec<Slot>,
    how: Keeping,
    /// Counts requests, so that it is known which model was asked for last.
    requests: AtomicU64,
}

/// How models are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) limits: Limits,
    /// Whether a name that no model has is an error even if there is one model alone.
    pub(crate) strict: bool,
    /// Whether a model is opened when it is first asked for, and not at the start.
    pub(crate) lazy: bool,
    /// Bytes that open models may take together, about.
    pub(crate) max_memory: Option<u64>,
    /// Vectors of queries that each model keeps.
    pub(crate) cache: usize,
}

impl Models {
    pub(crate) fn new(models: Vec<ServedModel>, how: Keeping) -> Models {
        Models { slots: models.into_iter().map(Slot::new).collect(), how, requests: AtomicU64::new(1) }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.model.name.as_str())
    }

    /// The models that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = Arc<Open>> {
        self.slots.iter().filter_map(Slot::get)
    }

    /// The names of all models, with what is known of those that have been open.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, Option<Known>)> {
        self.slots.iter().map(|slot| (slot.model.name.as_str(), slot.known()))
    }

    /// Whether requests can be answered: each model was open once, unless models are opened when they are asked for.
    pub(crate) fn are_ready(&self) -> bool {
        self.how.lazy || self.slots.iter().all(|slot| slot.known().is_some())
    }

    /// Opens all of them, as far as memory allows, so that one that is broken is found; none if they are to be opened when they are
    /// asked for.
    pub(crate) async fn open_at_start(&self) -> Result<(), Fault> {
        if self.how.lazy {
            return Ok(());
        }
        for slot in &self.slots {
            self.open_slot(slot).await?;
        }
        Ok(())
    }

    /// The model that a request names, and the task that its name says: `e5-small@query`.
    pub(crate) async fn find(
        &self,
        asked: Option<&str>,
        purpose: Purpose,
    ) -> Result<(Arc<Open>, Option<Task>), Fault> {
        let Some(asked) = asked.filter(|name| !name.is_empty()) else {
            return Ok((self.only(purpose, None).await?, None));
        };
        if let Some(slot) = self.named(asked) {
            return Ok((self.of_purpose(slot, purpose).await?, None));
        }
        let suffix = asked.rsplit_once('@').and_then(|(name, task)| Some((name, task.parse::<Task>().ok()?)));
        if let Some((name, task)) = suffix {
            let open = match self.named(name) {
                Some(slot) => self.of_purpose(slot, purpose).await?,
                None => self.only(purpose, Some(asked)).await?,
            };
            return Ok((open, Some(task)));
        }
        // A misspelt task must not pass for a name that any model answers to.
        if let Some((name, task)) = asked.rsplit_once('@').filter(|(name, _)| self.named(name).is_some()) {
            let known = Task::ALL.map(Task::name).join(", ");
            let message =
                format!("model '{asked}' not found: '{name}' is, but '{task}' is no task; tasks are {known}");
            return Err(Fault { kind: FaultKind::UnknownModel, message, field: Some("model".to_owned()) });
        }
        Ok((self.only(purpose, Some(asked)).await?, None))
    }

    /// The model of this name, of one of its aliases, or of what both have in common: the part behind the owner, and no `:latest`.
    fn named(&self, asked: &str) -> Option<&Slot> {
        let asked = asked.strip_suffix(":latest").unwrap_or(asked);
        let asked = asked.strip_prefix("models/").unwrap_or(asked);
        let any = |slot: &Slot, fits: &dyn Fn(&str) -> bool| {
            let ServedModel { name, aliases, .. } = &slot.model;
            std::iter::once(name).chain(aliases).any(|name| fits(name))
        };
        let is = |slot: &&Slot| any(slot, &|name| name.eq_ignore_ascii_case(asked));
        let ends = |slot: &&Slot| {
            any(slot, &|name| name.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(asked)))
        };
        self.slots.iter().find(is).or_else(|| self.slots.iter().find(ends))
    }

    /// The one model that serves a purpose, whatever a request calls it; without a name the first one.
    async fn only(&self, purpose: Purpose, asked: Option<&str>) -> Result<Arc<Open>, Fault> {
        let mut fitting = Vec::new();
        for slot in &self.slots {
            if self.purpose(slot).await? == purpose {
                fitting.push(slot);
            }
            if asked.is_none() && !fitting.is_empty() {
                break;
            }
        }
        let known = || self.names().collect::<Vec<_>>().join(", ");
        match (fitting.as_slice(), asked) {
            ([first, ..], None) => self.open_slot(first).await,
            ([only], Some(_)) if !self.how.strict => self.open_slot(only).await,
            ([], None) => Err(Fault::new(
                FaultKind::Unsupported,
                match purpose {
                    Purpose::Rank => format!(
                        "no reranker is served, only {}: start the server with one more --model",
                        known()
                    ),
                    Purpose::Embed => format!("no embedding model is served, only {}", known()),
                },
            )),
            (_, Some(asked)) => Err(Fault {
                kind: FaultKind::UnknownModel,
                message: format!("model '{asked}' not found; served are {}", known()),
                field: Some("model".to_owned()),
            }),
        }
    }

    async fn of_purpose(&self, slot: &Slot, purpose: Purpose) -> Result<Arc<Open>, Fault> {
        if self.purpose(slot).await? == purpose {
            return self.open_slot(slot).await;
        }
        let what = match purpose {
            Purpose::Embed => "a reranker; it gives no vectors",
            Purpose::Rank => "an embedding model; name a reranker",
        };
        Err(Fault::new(FaultKind::Unsupported, format!("model '{}' is {what}", slot.model.name)))
    }

    /// What a model is for: to know that it must have been open once.
    async fn purpose(&self, slot: &Slot) -> Result<Purpose, Fault> {
        if let Some(known) = slot.known() {
            return Ok(known.purpose);
        }
        self.open_slot(slot).await?;
        let known = slot.known().ok_or_else(|| Fault::internal("a model that was opened is not known"))?;
        Ok(known.purpose)
    }

    /// Opens a model, if it is not: whoever else asks meanwhile waits for the same.
    async fn open_slot(&self, slot: &Slot) -> Result<Arc<Open>, Fault> {
        slot.use_at(self.requests.fetch_add(1, Ordering::Relaxed));
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        let _opening = slot.opening.lock().await;
        if let Some(open) = slot.get() {
            return Ok(open);
        }
        self.make_room(slot, slot.known().map_or(0, |known| known.bytes));
        let open = slot.open(self.how.limits, self.how.cache).await?;
        self.make_room(slot, 0); // what it takes is known now
        Ok(open)
    }

    /// A model failed so. One whose GPU is gone is closed, so that the next request opens it again, on a device that is there.
    pub(crate) fn failed(&self, open: &Arc<Open>, fault: &Fault) {
        if fault.kind == FaultKind::Lost {
            let has_it = |slot: &&Slot| slot.get().is_some_and(|it| Arc::ptr_eq(&it, open));
            self.slots.iter().filter(has_it).for_each(Slot::close);
        }
    }

    /// Closes models, those first that were asked for longest ago, until the others and `more` fit into memory. `keep` stays open.
    fn make_room(&self, keep: &Slot, more: u64) {
        let Some(most) = self.how.max_memory else { return };
        loop {
            let taken: u64 = self.slots.iter().map(Slot::bytes).sum();
            let others = self.slots.iter().filter(|slot| !std::ptr::eq(*slot, keep) && slot.get().is_some());
            let Some(oldest) = others.min_by_key(|slot| slot.last_used()) else { return };
            if taken + more <= most {
                return;
            }
            oldest.close();
        }
    }
}
