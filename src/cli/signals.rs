//! SIGINT and SIGTERM: the first finishes what is under way, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

/// Exit code of a process that was told to end at once.
const AT_ONCE: i32 = 130;

/// Whether the process was told to stop.
#[derive(Debug, Default)]
pub struct Signals {
    stop: AtomicBool,
    running: AtomicBool,
}

impl Signals {
    /// Listens from now on. Until [`Signals::running`] is called there is nothing to finish: the first signal ends at once.
    pub fn listen() -> Result<Arc<Self>> {
        let signals = Arc::new(Self::default());
        let told = signals.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::internal("the signal runtime does not start").because(e))?;
        let wait = move || {
            runtime.block_on(async {
                while next().await {
                    told.tell()
                }
            })
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(wait)
            .map_err(|e| Error::internal("the signal thread does not start").because(e))?;
        Ok(signals)
    }

    fn tell(&self) {
        if self.stop.swap(true, Ordering::SeqCst) || !self.running.load(Ordering::SeqCst) {
            super::style::last_words("stopped at once, as told; what was committed is safe");
            std::process::exit(AT_ONCE);
        }
        tracing::info!("finishing the commits; once more to stop at once");
    }

    /// There is something to finish from now on.
    pub fn running(&self) {
        self.running.store(true, Ordering::SeqCst);
    }

    /// Whether the process was told to stop.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

async fn next() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return false;
    };
    tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
    }
}
