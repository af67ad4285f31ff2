//! A server, as programs have it.

use crate::budget::Budget;
use crate::error::ServerError;
use crate::http::App;
use crate::metrics::Metrics;
use crate::models::{Keeping, Models};
use crate::schedule::Limits;
use crate::serve::{Address, Listen, Listener, router, serve};
use crate::served_model::ServedModel;
use crate::settings::{Key, Settings};
use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{SystemTime, UNIX_EPOCH};

/// Serves models over HTTP.
pub struct Server {
    app: Arc<App>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let models: Vec<&str> = self.app.models.names().collect();
        f.debug_struct("Server").field("models", &models).finish_non_exhaustive()
    }
}

impl Server {
    /// A server of these models, none of which is open yet.
    ///
    /// # Errors
    /// If there is none, or two have one name.
    pub fn new(models: Vec<ServedModel>, settings: Settings) -> Result<Server, ServerError> {
        if models.is_empty() {
            return Err(ServerError::NoModel);
        }
        let mut names = HashSet::new();
        for name in models.iter().flat_map(|model| std::iter::once(&model.name).chain(&model.aliases)) {
            if !names.insert(name.to_lowercase()) {
                return Err(ServerError::SameName(name.clone()));
            }
        }
        let limits = Limits { longest_wait: settings.longest_wait, bytes: settings.queue_bytes };
        let how = Keeping {
            limits,
            strict: settings.strict,
            lazy: settings.lazy,
            max_memory: settings.max_memory,
            cache: settings.cache,
        };
        // Of all clients together without keys, and of each key.
        let unlimited = [Key::new("")];
        let keys = if settings.keys.is_empty() { &unlimited[..] } else { &settings.keys };
        let budget = |key: &Key| key.tokens_per_minute.or(settings.tokens_per_minute).map(Budget::new);
        let budgets = keys.iter().map(budget).collect();
        let metrics = Metrics::new().map_err(|e| ServerError::SetUp(e.to_string()))?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let app = App {
            models: Models::new(models, how),
            budgets,
            settings,
            metrics,
            #[cfg(feature = "otel")]
            traces: crate::traces::Traces::of_environment()?,
            draining: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
            id_prefix: format!("{:x}", started.as_millis() ^ (u128::from(std::process::id()) << 20)),
        };
        Ok(Server { app: Arc::new(app) })
    }

    /// All routes, to be mounted in another program's server. A model is opened when it is first asked for.
    pub fn router(&self) -> axum::Router {
        router(&self.app)
    }

    /// Serves until `end`, on threads of its own, and returns when requests under way are answered. All models are opened before
    /// `ready` is told where clients find it, unless [`Settings::lazy`] is set.
    ///
    /// # Errors
    /// If it cannot be listened there, or a model cannot be opened.
    pub fn run(
        &self,
        listen: &Listen,
        ready: impl FnOnce(&Address),
        end: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let set_up = |e: std::io::Error| ServerError::SetUp(e.to_string());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("taskvec-http")
            .enable_all()
            .build()
            .map_err(set_up)?;
        let ended = runtime.block_on(async {
            let at = match listen {
                Listen::Tcp(host, port) => format!("{host}:{port}"),
                #[cfg(unix)]
                Listen::Unix(path) => path.display().to_string(),
            };
            let listener =
                Listener::bind(listen).await.map_err(|source| ServerError::Listen { address: at, source })?;
            let address = listener.address().map_err(set_up)?;
            #[cfg(feature = "tls")]
            let listener = match &self.app.settings.tls {
                None => listener,
                Some((certificates, key)) => listener.with_tls(crate::tls::acceptor(certificates, key)?),
            };
            self.app.models.open_at_start().await.map_err(|fault| ServerError::Model(fault.message))?;
            ready(&address);
            serve(self.app.clone(), router(&self.app), listener, end).await;
            Ok(())
        });
        runtime.shutdown_background();
        ended
    }
}
