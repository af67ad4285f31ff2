//! Listening: connections in, until the server is told to end.

use crate::http::{App, handle};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

/// How long a request's headers may take, and a connection stay without one.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Bytes of a request's headers.
const HEADER_BYTES: usize = 64 << 10;

/// Requests of one HTTP/2 connection at once.
const STREAMS: u32 = 1000;

/// How long a server that ends still says that it is not ready before it takes no connection more: who spreads the load notices.
const NOTICE: Duration = Duration::from_millis(200);

/// Where a server listens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Listen {
    /// A host's name or address, and a port; 0 for any that is free.
    Tcp(String, u16),
    /// A socket in the file system.
    #[cfg(unix)]
    Unix(PathBuf),
}

/// A socket that is listened on.
pub(crate) struct Listener {
    socket: Socket,
    /// How its connections are encrypted, if they are.
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsAcceptor>,
}

enum Socket {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, PathBuf),
}

/// Where clients find the server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Address {
    /// An address of the network.
    Tcp(SocketAddr),
    /// An address of the network, for encrypted connections.
    Tls(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "http://{address}"),
            Address::Tls(address) => write!(f, "https://{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listener {
    pub(crate) async fn bind(listen: &Listen) -> io::Result<Listener> {
        let socket = match listen {
            Listen::Tcp(host, port) => Socket::Tcp(tokio::net::TcpListener::bind((&**host, *port)).await?),
            #[cfg(unix)]
            Listen::Unix(path) => {
                // A socket that nobody listens on is what an earlier process left.
                if path.exists() && tokio::net::UnixStream::connect(path).await.is_err() {
                    std::fs::remove_file(path)?;
                }
                Socket::Unix(tokio::net::UnixListener::bind(path)?, path.clone())
            }
        };
        Ok(Listener {
            socket,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// The same, with encrypted connections.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(mut self, tls: tokio_rustls::TlsAcceptor) -> Listener {
        self.tls = Some(tls);
        self
    }

    pub(crate) fn address(&self) -> io::Result<Address> {
        match &self.socket {
            #[cfg(feature = "tls")]
            Socket::Tcp(listener) if self.tls.is_some() => Ok(Address::Tls(listener.local_addr()?)),
            Socket::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            #[cfg(unix)]
            Socket::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }

    /// The next connection; `None` if there is none just now, as when the process has no more files.
    async fn accept(&self) -> Option<Box<dyn Connection>> {
        let accepted: io::Result<Box<dyn Connection>> = match &self.socket {
            Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                let _ = stream.set_nodelay(true); // slower without, and not wrong
                Box::new(stream) as Box<dyn Connection>
            }),
            #[cfg(unix)]
            Socket::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Box::new(stream) as _),
        };
        match accepted {
            Ok(connection) => Some(connection),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                None
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Socket::Unix(_, path) = &self.socket {
            let _ = std::fs::remove_file(path); // the next one would take it away
        }
    }
}

/// A connection of either kind.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Serves connections until `end`; then requests under way have the settings' grace to finish.
pub(crate) async fn serve(app: Arc<App>, router: Router, listener: Listener, end: impl Future<Output = ()>) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES as u32)
        .keep_alive_interval(HEADER_TIME);
    let builder = Arc::new(builder);
    let places = Arc::new(Semaphore::new(app.settings.connections));
    let graceful = GracefulShutdown::new();
    let mut end = std::pin::pin!(end);
    let mut ending = std::pin::pin!(None);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.ok()?;
            let connection = listener.accept().await?;
            Some((place, connection))
        };
        let next = tokio::select! {
            next = accepted => next,
            () = &mut end, if ending.is_none() => {
                app.draining.store(true, Ordering::Relaxed);
                ending.set(Some(tokio::time::sleep(NOTICE)));
                continue;
            }
            () = async { if let Some(notice) = ending.as_mut().as_pin_mut() { notice.await } }, if ending.is_some() => break,
        };
        let Some((place, connection)) = next else { continue };
        let service = TowerToHyperService::new(router.clone());
        let (builder, watcher) = (builder.clone(), graceful.watcher());
        #[cfg(feature = "tls")]
        let tls = listener.tls.clone();
        tokio::spawn(async move {
            #[cfg(feature = "tls")]
            let Some(connection) = encrypted(connection, tls).await else { return };
            let connection = builder.serve_connection(TokioIo::new(connection), service);
            let _ = watcher.watch(connection).await; // who hung up needs no answer
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(app.settings.grace, graceful.shutdown()).await;
}

/// A connection, encrypted where that is wanted; `None` if the client does not shake hands in time.
#[cfg(feature = "tls")]
async fn encrypted(
    connection: Box<dyn Connection>,
    tls: Option<tokio_rustls::TlsAcceptor>,
) -> Option<Box<dyn Connection>> {
    match tls {
        None => Some(connection),
        Some(tls) => {
            let shaken = tokio::time::timeout(HEADER_TIME, tls.accept(connection)).await;
            Some(Box::new(shaken.ok()?.ok()?))
        }
    }
}

/// The router: one handler, which has the routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let router = Router::new().fallback(handle).with_state(app.clone());
    match app.settings.cors {
        false => router,
        true => {
            use axum::http::HeaderName;
            use tower_http::cors::{AllowHeaders, AllowMethods, Any, CorsLayer};
            let exposed = ["x-request-id", "retry-after", "x-truncated", "x-compute-tokens"];
            let cors = CorsLayer::new()
                .allow_origin(Any)
                .allow_methods(AllowMethods::mirror_request())
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers(exposed.map(HeaderName::from_static));
            router.layer(cors)
        }
    }
}
