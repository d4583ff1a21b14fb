//! Schemas of a registry, fetched once and kept by id.
//!
//! Owns what is known of each id and the thread that asks. Does not own what a schema means (`record/decode`) nor what waits
//! for one (`runtime`). Looking a schema up never waits: who lacks one asks for it, goes on with something else, and looks
//! again. A registry that does not answer is asked again, with growing pauses, until it does: nothing is guessed meanwhile.

mod client;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use self::client::{Answer, Client};
use crate::config::RegistrySettings;
use crate::record::decode::{Lookup, Schemas, WriterSchema};
use crate::{Error, Result};

/// Ids that may wait to be asked for; who finds no room asks again.
const WANTED: usize = 1_024;
/// First pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long "there is none" is believed: a schema may be registered after all, or a follower may have been behind.
const BELIEVED: Duration = Duration::from_secs(60);

/// Where trouble with the registry is told, and that it is over.
pub type Told = Box<dyn Fn(Option<String>) + Send>;

/// The schemas that were fetched, and the way to more.
#[derive(Debug)]
pub struct Registry {
    known: Arc<ArcSwap<HashMap<u32, Known>>>,
    wanted: Sender<u32>,
}

#[derive(Clone, Debug)]
enum Known {
    Schema(Arc<WriterSchema>),
    /// A schema that is of no use, for ever.
    Useless(Arc<str>),
    /// None of this id, as of then.
    Nowhere(Instant),
}

impl Registry {
    /// Starts the thread that asks the registry of these settings; it ends with the last handle.
    ///
    /// # Errors
    /// If the thread does not start.
    pub fn start(settings: &RegistrySettings, told: Told) -> Result<Arc<Self>> {
        let (wanted, asked) = bounded(WANTED);
        let known: Arc<ArcSwap<HashMap<u32, Known>>> = Arc::default();
        let asker = Asker { client: Client::new(settings), known: known.clone(), asked, told, queue: VecDeque::new() };
        let thread = std::thread::Builder::new().name("schema-registry".into());
        thread.spawn(move || asker.run()).map_err(|e| Error::internal("a thread does not start").because(e))?;
        Ok(Arc::new(Self { known, wanted }))
    }

    /// Asks for a schema; returns at once.
    pub fn want(&self, id: u32) {
        // Full: the asker has enough to do, and whoever still lacks the schema asks again.
        let _ = self.wanted.try_send(id);
    }
}

impl Schemas for Registry {
    fn schema(&self, id: u32) -> Lookup {
        match self.known.load().get(&id) {
            Some(Known::Schema(schema)) => Lookup::Known(schema.clone()),
            Some(Known::Useless(why)) => Lookup::Refused(why.clone()),
            Some(Known::Nowhere(since)) if since.elapsed() < BELIEVED => {
                Lookup::Refused("the registry has none of this id".into())
            }
            Some(Known::Nowhere(_)) | None => Lookup::Missing,
        }
    }
}

/// The thread that asks.
struct Asker {
    client: Client,
    known: Arc<ArcSwap<HashMap<u32, Known>>>,
    asked: Receiver<u32>,
    told: Told,
    /// Ids that were asked for and have no answer yet.
    queue: VecDeque<u32>,
}

impl Asker {
    fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut wait = LONGEST_PAUSE;
        while self.listen(wait) {
            wait = LONGEST_PAUSE;
            while let Some(id) = self.queue.pop_front() {
                match self.fetch(id) {
                    Ok(found) => {
                        pause = FIRST_PAUSE;
                        self.keep(id, found);
                        (self.told)(None);
                    }
                    Err(e) => {
                        tracing::warn!(schema = id, error = %e, "the schema registry does not help; what needs the schema waits");
                        (self.told)(Some(format!("schema {id}: {e}")));
                        // The others get their turn: it may be this one only.
                        self.queue.push_back(id);
                        wait = pause;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        break;
                    }
                }
            }
        }
    }

    /// Takes in what is asked for, waiting at most so long; false when nobody is left to ask.
    fn listen(&mut self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            match self.asked.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(id) if self.queue.contains(&id) || self.is_known(id) => {}
                Ok(id) => {
                    self.queue.push_back(id);
                    if self.queue.len() == 1 {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn is_known(&self, id: u32) -> bool {
        match self.known.load().get(&id) {
            Some(Known::Nowhere(since)) => since.elapsed() < BELIEVED,
            other => other.is_some(),
        }
    }

    fn keep(&self, id: u32, found: Known) {
        let mut known = HashMap::clone(&self.known.load());
        known.insert(id, found);
        self.known.store(Arc::new(known));
    }

    fn fetch(&self, id: u32) -> Result<Known> {
        let found = match self.client.schema(id)? {
            Answer::Nowhere => return Ok(Known::Nowhere(Instant::now())),
            Answer::Found(found) => found,
        };
        if !found.is_avro() {
            return Ok(Known::Useless(format!("it is a schema of {}, not of AVRO", found.kind()).into()));
        }
        let references = self.client.references(&found)?;
        Ok(match WriterSchema::parse(&found.schema, &references) {
            Ok(schema) => Known::Schema(Arc::new(schema)),
            Err(why) => Known::Useless(format!("it cannot be read: {why}").into()),
        })
    }
}

#[cfg(test)]
mod tests;
