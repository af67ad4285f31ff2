//! The models that are served, by their names.

use crate::fault::{Fault, FaultKind};
use crate::loaded::Loaded;
use crate::schedule::{Limits, Schedule};
use std::sync::Arc;
use taskvec::Task;
use tokio::sync::OnceCell;

/// Opens a model, or says why it cannot be.
pub type Opener = Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// A model to serve: its name, and how it is opened.
#[derive(Clone)]
pub struct ServedModel {
    /// The name that answers and lists show.
    pub name: String,
    /// Other names that clients may use for it, such as `text-embedding-3-small`.
    pub aliases: Vec<String>,
    /// Opens it, once.
    pub open: Opener,
}

impl std::fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServedModel")
            .field("name", &self.name)
            .field("aliases", &self.aliases)
            .finish_non_exhaustive()
    }
}

/// What a request needs a model for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Embed,
    Rank,
}

/// A model that is open, with its queue.
pub(crate) struct Open {
    pub(crate) name: String,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) schedule: Schedule,
}

impl Open {
    pub(crate) fn purpose(&self) -> Purpose {
        match &*self.loaded {
            Loaded::Embedder(_) => Purpose::Embed,
            Loaded::Reranker(_) => Purpose::Rank,
        }
    }
}

/// All models.
pub(crate) struct Models {
    slots: Vec<Slot>,
    limits: Limits,
    /// Whether a name that no model has is an error even if there is one model alone.
    strict: bool,
}

struct Slot {
    model: ServedModel,
    open: OnceCell<Arc<Open>>,
}

impl Models {
    pub(crate) fn new(models: Vec<ServedModel>, limits: Limits, strict: bool) -> Models {
        let slots = models.into_iter().map(|model| Slot { model, open: OnceCell::new() }).collect();
        Models { slots, limits, strict }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.model.name.as_str())
    }

    /// The models that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Arc<Open>> {
        self.slots.iter().filter_map(|slot| slot.open.get())
    }

    /// Whether all are open.
    pub(crate) fn are_ready(&self) -> bool {
        self.slots.iter().all(|slot| slot.open.get().is_some())
    }

    /// Opens all of them.
    pub(crate) async fn open_all(&self) -> Result<(), Fault> {
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
            let open = self.open_slot(slot).await?;
            if open.purpose() == purpose {
                fitting.push(open);
            }
        }
        let known = || self.names().collect::<Vec<_>>().join(", ");
        match (fitting.as_slice(), asked) {
            ([first, ..], None) => Ok(first.clone()),
            ([only], Some(_)) if !self.strict => Ok(only.clone()),
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
        let open = self.open_slot(slot).await?;
        if open.purpose() == purpose {
            return Ok(open);
        }
        let what = match purpose {
            Purpose::Embed => "a reranker; it gives no vectors",
            Purpose::Rank => "an embedding model; name a reranker",
        };
        Err(Fault::new(FaultKind::Unsupported, format!("model '{}' is {what}", open.name)))
    }

    /// Opens a model, if it is not: whoever else asks meanwhile waits for the same.
    async fn open_slot(&self, slot: &Slot) -> Result<Arc<Open>, Fault> {
        let open = || async {
            let opener = slot.model.open.clone();
            let loaded = tokio::task::spawn_blocking(move || opener()).await;
            let loaded = loaded.map_err(|e| Fault::internal(format!("opening a model failed: {e}")))?;
            let loaded = loaded.map_err(Fault::internal)?;
            let loaded = Arc::new(loaded);
            let schedule = Schedule::start(loaded.clone(), self.limits)
                .map_err(|e| Fault::internal(format!("no thread could be started: {e}")))?;
            Ok::<_, Fault>(Arc::new(Open { name: slot.model.name.clone(), loaded, schedule }))
        };
        slot.open.get_or_try_init(open).await.cloned()
    }
}
