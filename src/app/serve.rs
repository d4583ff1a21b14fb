//! The HTTP server: its own tokio runtime, bound before anything else is started.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::api::{self, ApiState};
use crate::priority::Behind;
use crate::{Error, Kind, Result};

/// How long requests under way may take to end.
const DRAIN: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    runtime: Runtime,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

/// Binds the address.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|e| {
        let advice = if e.kind() == std::io::ErrorKind::AddrInUse {
            "another process listens there: stop it, or set instance.listen to another port"
        } else {
            "set instance.listen to an address of this machine"
        };
        Error::new(Kind::Refused, format!("cannot listen on {address}")).because(e).advise(advice)
    })
}

impl Server {
    /// Serves on `listener`.
    pub(super) fn start(listener: TcpListener, state: ApiState) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(api::http_threads(&state.settings.api))
            .thread_name("http")
            .on_thread_start(|| Behind::Answers.put_this_thread())
            .enable_all()
            .build()
            .map_err(|e| Error::internal("the HTTP runtime does not start").because(e))?;
        listener.set_nonblocking(true)?;
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        state.cluster.start(state.broker.clone(), runtime.handle());
        let router = api::router(state);
        drop(entered);
        let served = runtime.spawn(async move {
            if let Err(e) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::error!(error = %e, "the HTTP server ended");
            }
        });
        Ok(Self { runtime, stop, served })
    }

    /// Takes no more requests, lets those under way end for a while.
    pub(super) fn stop(self) {
        self.stop.cancel();
        let _ = self.runtime.block_on(async { tokio::time::timeout(DRAIN, self.served).await });
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
