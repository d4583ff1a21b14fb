//! What every part of an open local broker holds on to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};

use super::LocalOptions;
use super::db::{self, Db, prefix};
use super::log::Request;
use super::topics::Catalogue;
use crate::{Error, Kind, Result};

/// Database, topics, and the way to the log thread.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) db: Db,
    pub(super) options: LocalOptions,
    pub(super) topics: Catalogue,
    /// Rings after every append.
    pub(super) appended: Bell,
    pub(super) groups: Mutex<HashMap<String, Arc<Group>>>,
    pub(super) producers: Mutex<HashMap<String, Arc<AtomicU64>>>,
    pub(super) counters: Counters,
    /// Set when the broker is being dropped: long work ends early.
    pub(super) closing: AtomicBool,
    failure: OnceLock<Failure>,
    requests: Sender<Request>,
}

/// Totals since the broker was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) fsyncs: AtomicU64,
    pub(super) fsync_us: AtomicU64,
    pub(super) cleaned: AtomicU64,
    pub(super) expired: AtomicU64,
}

/// Why the log takes no more writes.
#[derive(Debug)]
struct Failure {
    kind: Kind,
    text: String,
    advice: String,
}

impl Shared {
    pub(super) fn new(db: Db, options: LocalOptions, requests: Sender<Request>) -> Result<Self> {
        let topics = Catalogue::load(&db, &options)?;
        let producers = load_producers(&db)?;
        Ok(Self {
            db,
            options,
            topics,
            appended: Bell::default(),
            groups: Mutex::default(),
            producers: Mutex::new(producers),
            counters: Counters::default(),
            closing: AtomicBool::new(false),
            failure: OnceLock::new(),
            requests,
        })
    }

    /// Hands a request to the log thread and waits for its answer, which comes when its effects are durable.
    pub(super) fn ask<T>(&self, request: impl FnOnce(Sender<Result<T>>) -> Request) -> Result<T> {
        let (reply, answer): (_, Receiver<Result<T>>) = bounded(1);
        let closed = || {
            Error::internal(format!("the local broker in {} is closed", self.db.dir().display()))
                .advise("this is the order of shutting down, or the log thread ended: see the log")
        };
        self.requests.send(request(reply)).map_err(|_| closed())?;
        answer.recv().map_err(|_| closed())?
    }

    /// Remembers that a write failed. After that what is on the disk is unknown until it is opened again, so the log
    /// takes no more writes.
    pub(super) fn fail(&self, error: &Error) {
        tracing::error!(%error, "the local broker cannot write any more");
        let source = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
        let _ = self.failure.set(Failure {
            kind: error.kind(),
            text: format!("{}{source}", error.message()),
            advice: error.advice().unwrap_or_default().to_owned(),
        });
    }

    /// The error of the write that failed, if one did.
    pub(super) fn failed(&self) -> Option<Error> {
        self.failure.get().map(|f| Error::new(f.kind, f.text.clone()).advise(f.advice.clone()))
    }

    /// A group by its name.
    pub(super) fn group(&self, name: &str) -> Arc<Group> {
        let mut groups = self.groups.lock();
        groups.entry(name.to_owned()).or_insert_with(|| Arc::new(Group::new(name))).clone()
    }

    /// Epoch of a transactional id that every producer of it compares with its own.
    pub(super) fn producer_epoch(&self, id: &str) -> Arc<AtomicU64> {
        self.producers.lock().entry(id.to_owned()).or_default().clone()
    }
}

fn load_producers(db: &Db) -> Result<HashMap<String, Arc<AtomicU64>>> {
    let mut out = HashMap::new();
    db.each_meta(prefix::PRODUCER, |key, value| {
        let id = String::from_utf8_lossy(&key[1..]).into_owned();
        let [epoch] = db::words(value).ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("{}: epoch of producer {id} cannot be read", db.dir().display()))
        })?;
        out.insert(id, Arc::new(AtomicU64::new(epoch.unsigned_abs())));
        Ok(())
    })?;
    Ok(out)
}

/// A consumer group: one member at a time, told apart by a generation.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    generation: AtomicU64,
    /// Rings when the generation changes.
    pub(super) moved: Bell,
    /// Address of the member.
    pub(super) member: Mutex<Option<String>>,
}

impl Group {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), generation: AtomicU64::new(0), moved: Bell::default(), member: Mutex::default() }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Begins another generation: tokens of earlier ones are worth nothing from now on. Only the log thread calls it,
    /// so that a commit is either before or after it.
    pub(super) fn advance(&self) -> u64 {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.moved.ring();
        generation
    }
}

/// Wakes those who wait for something to happen.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<u64>,
    condition: Condvar,
}

impl Bell {
    /// How often it has rung. Taken before one looks for work, so that no ring is missed.
    pub(super) fn count(&self) -> u64 {
        *self.rung.lock()
    }

    pub(super) fn ring(&self) {
        *self.rung.lock() += 1;
        self.condition.notify_all();
    }

    /// Waits until it has rung since `seen`; false if `deadline` came first.
    pub(super) fn wait(&self, seen: u64, deadline: Instant) -> bool {
        let mut rung = self.rung.lock();
        while *rung == seen {
            if self.condition.wait_until(&mut rung, deadline).timed_out() {
                return *rung != seen;
            }
        }
        true
    }
}
