//! A model's place: closed, or open with its queue.

use crate::fault::Fault;
use crate::loaded::Loaded;
use crate::recent::Recent;
use crate::schedule::{Limits, Schedule};
use crate::served_model::{Purpose, ServedModel};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// A model that is open, with its queue.
pub(crate) struct Open {
    pub(crate) name: String,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) schedule: Schedule,
    /// Vectors that were asked for lately.
    pub(crate) recent: Recent,
}

/// What is known of a model once it was open, and stays known when it is closed.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) purpose: Purpose,
    /// Memory that it takes, about.
    pub(crate) bytes: u64,
    pub(crate) max_tokens: usize,
}

/// A model's place.
pub(crate) struct Slot {
    pub(crate) model: ServedModel,
    open: RwLock<Option<Arc<Open>>>,
    /// Held by who opens it: whoever else asks meanwhile waits for the same.
    pub(super) opening: tokio::sync::Mutex<()>,
    known: OnceLock<Known>,
    /// When it was asked for last, in a count of all requests.
    used: AtomicU64,
}

impl Slot {
    pub(crate) fn new(model: ServedModel) -> Slot {
        Slot {
            model,
            open: RwLock::new(None),
            opening: tokio::sync::Mutex::new(()),
            known: OnceLock::new(),
            used: AtomicU64::new(0),
        }
    }

    pub(crate) fn known(&self) -> Option<Known> {
        self.known.get().copied()
    }

    pub(crate) fn get(&self) -> Option<Arc<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of the model, if it is open.
    pub(crate) fn bytes(&self) -> u64 {
        match self.get() {
            Some(_) => self.known().map_or(0, |known| known.bytes),
            None => 0,
        }
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn use_at(&self, moment: u64) {
        self.used.store(moment, Ordering::Relaxed);
    }

    /// Opens the model. The caller holds `opening`.
    pub(crate) async fn open(&self, limits: Limits, keeps: usize) -> Result<Arc<Open>, Fault> {
        let opener = self.model.open.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let loaded = opener()?;
            let bytes = loaded.bytes();
            Ok::<_, String>((Arc::new(loaded), bytes))
        });
        let opened = opened.await.map_err(|e| Fault::internal(format!("opening a model failed: {e}")))?;
        let (loaded, bytes) = opened.map_err(Fault::internal)?;
        let schedule = Schedule::start(loaded.clone(), limits)
            .map_err(|e| Fault::internal(format!("no thread could be started: {e}")))?;
        let purpose = match *loaded {
            Loaded::Embedder(_) => Purpose::Embed,
            Loaded::Reranker(_) => Purpose::Rank,
        };
        let max_tokens = loaded.max_tokens();
        self.known.get_or_init(|| Known { purpose, bytes, max_tokens });
        let open =
            Arc::new(Open { name: self.model.name.clone(), loaded, schedule, recent: Recent::new(keeps) });
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(open.clone());
        Ok(open)
    }

    /// Closes the model. Requests that have it keep it until they are answered.
    pub(crate) fn close(&self) {
        drop(self.open.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}
