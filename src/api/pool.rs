//! Bounded places for blocking work. Nothing that may wait for a broker, or for long, runs on a thread that serves HTTP.
//!
//! Pools of their own, so that none starves another: searches (CPU-bound: as many as `api.search_threads`), lookups, appends, and
//! for streams of changes one that asks the broker where they begin and one that writes their events. Lookups have a pool of their own: a RocksDB read is microseconds from memory but milliseconds from a busy disk,
//! and a tokio worker that waits so long stalls every connection it serves; in the search pool a point read would queue behind
//! searches. Handing over costs some 10 µs, more where processors must be woken. So short searches, and lookups of few keys, run where
//! they are asked for while one thread of HTTP is left for the rest ([`Near`]); else lookups try what memory has before they are handed
//! over.
//! Threads are tokio's blocking threads; the permits bound how many of them the API can hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::problem::{Problem, Reason};
use crate::config::ApiSettings;

/// A bounded number of jobs at a time, and a bounded queue before them.
#[derive(Debug)]
pub(crate) struct Pool {
    name: &'static str,
    permits: Arc<Semaphore>,
    queued: AtomicUsize,
    max_queued: usize,
    max_wait: Duration,
}

/// Threads that serve HTTP: one more than there are places near by.
pub(crate) fn http_threads(api: &ApiSettings) -> usize {
    api.search_threads.max(1) + 1
}

/// Places for short jobs that run where the request is served: one fewer than there are threads of HTTP, so that one is left to serve the
/// rest, whatever these jobs wait for.
#[derive(Debug)]
pub(crate) struct Near(Semaphore);

impl Near {
    pub(crate) fn new(api: &ApiSettings) -> Self {
        Self(Semaphore::new(http_threads(api) - 1))
    }

    /// Runs a job here, if a place is free.
    pub(crate) fn run<T>(&self, job: impl FnOnce() -> T) -> Option<T> {
        let _place = self.0.try_acquire().ok()?;
        Some(job())
    }
}

/// Counts a job that waits, for as long as it waits.
struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// A pool of `threads` jobs at a time, where `max_queued` more may wait, each at most `max_wait`.
    pub(crate) fn new(name: &'static str, threads: usize, max_queued: usize, max_wait: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(threads.max(1)));
        Self { name, permits, queued: AtomicUsize::new(0), max_queued, max_wait }
    }

    /// Runs a blocking job. The job holds its place until it is done, even if the caller gives up before.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = self.permit().await?;
        let span = tracing::Span::current();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            span.in_scope(job)
        });
        done.await.unwrap_or_else(|e| {
            tracing::error!(pool = self.name, error = %e, "a job of the API panicked");
            Err(Problem::new(
                Reason::Internal,
                format!("the {} ended unexpectedly", self.name),
                "report it, with the log",
            ))
        })
    }

    async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => self.wait().await,
        }
    }

    async fn wait(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
        let before = self.queued.fetch_add(1, Ordering::Relaxed);
        let _queued = Queued(&self.queued);
        if before >= self.max_queued {
            return Err(self.busy());
        }
        match tokio::time::timeout(self.max_wait, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(self.busy()),
        }
    }

    fn busy(&self) -> Problem {
        Problem::new(
            Reason::TooManyRequests,
            format!("the queue before the {} is full", self.name),
            "slow down and try again, or ask another instance",
        )
        .retry_after(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_beyond_the_permits_wait_and_beyond_the_queue_are_refused() {
        let pool = Arc::new(Pool::new("test", 1, 1, Duration::from_secs(30)));
        let (release, gate) = std::sync::mpsc::sync_channel::<()>(1);
        let (started, first_runs) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                let job = move || {
                    let _ = started.send(());
                    gate.recv().map_err(|_| Problem::new(Reason::Internal, "gate", ""))
                };
                pool.run(job).await
            }
        });
        first_runs.await.unwrap();
        let mut second = Box::pin(pool.run(|| Ok(2)));
        // Polled once: it has found no permit and stands in the queue.
        assert!(futures_poll_once(second.as_mut()).await.is_none());
        let third = pool.run(|| Ok(3)).await.unwrap_err();
        assert_eq!((third.body().reason, third.body().retry_after_s), (Reason::TooManyRequests, Some(1)));
        release.send(()).unwrap();
        assert_eq!(second.await.unwrap(), 2);
        first.await.unwrap().unwrap();
        assert_eq!(pool.queued.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_thread_is_left_by_jobs_near_by() {
        let mut api = super::super::testing::settings().api;
        for threads in [1, 2, 5] {
            api.search_threads = threads;
            let near = Near::new(&api);
            fn nested(near: &Near) -> usize {
                near.run(|| 1 + nested(near)).unwrap_or(0)
            }
            assert_eq!(nested(&near), http_threads(&api) - 1);
            assert_eq!(near.run(|| "again"), Some("again"));
        }
    }

    #[tokio::test]
    async fn a_panic_in_a_job_is_an_internal_problem_and_frees_its_place() {
        let pool = Pool::new("test", 1, 0, Duration::from_secs(30));
        let panicked = pool.run::<()>(|| panic!("as meant")).await.unwrap_err();
        assert_eq!(panicked.body().reason, Reason::Internal);
        assert_eq!(pool.run(|| Ok(1)).await.unwrap(), 1);
    }

    /// Polls once; `None` if it is not ready.
    async fn futures_poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(move |cx| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
