//! Replays entries, each once: the event and the mark that it was replayed are written in one transaction.
//!
//! 1. **fence**: one transactional id for the whole application; whoever replays ends what another left open
//! 2. **read the marks** to their end: behind the fence nobody adds to them
//! 3. **choose** the entries that are meant and not marked
//! 4. **produce** each to where it came from, with the order in its header, and its mark
//! 5. **commit**: all of them are replayed, or none
//!
//! A crash anywhere leaves either both the event and its mark, or neither.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::entry::{Entry, EntryId};
use super::find::{Filter, Found, Topic};
use super::marks::Marks;
use super::order::{HEADER, Replay};
use crate::broker::{Broker, NewRecord, Offset, Progress, TopicPartition};
use crate::config::Settings;
use crate::{Result, clock, fault};

/// How long reading an event again from its source may take.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long one read waits.
const READ_WAIT: Duration = Duration::from_millis(500);

/// What is to be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These entries.
    Ids(Vec<EntryId>),
    /// All that the filter takes, from an entry on, at most `limit` of them.
    Matching {
        /// Which.
        filter: Filter,
        /// Where to begin.
        from: EntryId,
        /// Most entries of one call.
        limit: usize,
    },
}

/// What became of an entry that was to be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its event is in its topic again.
    Replayed,
    /// It was replayed before, at this time (milliseconds).
    Already(i64),
    /// It cannot be: why.
    Refused(String),
    /// There is no such entry.
    Unknown,
}

/// What a call did.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    /// By entry, in the order in which they were written.
    pub fates: Vec<(EntryId, Fate)>,
    /// Entries looked at.
    pub looked_at: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<EntryId>,
    /// The last event written, by topic and partition.
    pub written: Vec<(TopicPartition, Offset)>,
}

/// Replays the entries of one application.
#[derive(Debug)]
pub struct Replayer {
    settings: Arc<Settings>,
    broker: Arc<dyn Broker>,
    partitions: u32,
    /// Held for the whole of a replay: two of one process would only fence each other.
    marks: Mutex<Marks>,
}

impl Replayer {
    /// For the quarantine topic of the settings, which has `partitions`.
    pub fn new(settings: Arc<Settings>, broker: Arc<dyn Broker>, partitions: u32) -> Self {
        let marks = Mutex::new(Marks::new(&settings.replays_topic()));
        Self { settings, broker, partitions, marks }
    }

    /// The quarantine topic.
    pub fn topic(&self) -> Topic<'_> {
        Topic { broker: &*self.broker, name: &self.settings.quarantine.topic, partitions: self.partitions }
    }

    /// When entries were replayed, milliseconds; `None` for those that were not.
    pub fn replayed(&self, found: &[Found]) -> Result<Vec<Option<i64>>> {
        let mut marks = self.marks.lock();
        marks.refresh(&*self.broker)?;
        Ok(found.iter().map(|f| marks.replayed(f.id, f.at_ms)).collect())
    }

    /// Says what a replay would do, and does nothing.
    pub fn rehearse(&self, selection: &Selection) -> Result<Replayed> {
        let mut marks = self.marks.lock();
        marks.refresh(&*self.broker)?;
        self.choose(selection, &marks).map(|(replayed, _)| replayed)
    }

    /// Replays. An error leaves it open whether it was done; the same call again does what is not done, and nothing twice.
    pub fn replay(&self, selection: &Selection) -> Result<Replayed> {
        let mut marks = self.marks.lock();
        let mut producer = self.broker.transactional(&format!("{}-replay", self.settings.application))?;
        marks.refresh(&*self.broker)?;
        let (mut replayed, records) = self.choose(selection, &marks)?;
        if records.is_empty() {
            return Ok(replayed);
        }
        producer.begin()?;
        records.iter().try_for_each(|record| producer.send(record))?;
        fault::point("replay.1_produced");
        producer.drain()?;
        fault::point("replay.2_drained");
        let marked = self.settings.replays_topic();
        replayed.written = producer.commit()?.into_iter().filter(|(tp, _)| *tp.topic != *marked).collect();
        fault::point("replay.3_committed");
        tracing::info!(events = records.len() / 2, "quarantined events are replayed");
        Ok(replayed)
    }

    /// The entries that are meant, what will become of them, and the records that bring it about.
    fn choose(&self, selection: &Selection, marks: &Marks) -> Result<(Replayed, Vec<NewRecord>)> {
        let mut replayed = Replayed::default();
        let found = match selection {
            Selection::Ids(ids) => self.by_id(ids, marks, &mut replayed)?,
            Selection::Matching { filter, from, limit } => {
                let mut wanted = |found: &Found| filter.takes(found) && marks.replayed(found.id, found.at_ms).is_none();
                let page = self.topic().oldest(*from, *limit, &mut wanted)?;
                (replayed.looked_at, replayed.next) = (page.looked_at, page.next);
                page.found
            }
        };
        let (mut records, now_ms) = (Vec::new(), clock::now_ms());
        for Found { id, at_ms, entry, .. } in found {
            let fate = match self.event(id, entry)? {
                Ok(event) => {
                    records.extend([event, marks.mark(id, at_ms, now_ms)?]);
                    Fate::Replayed
                }
                Err(why) => Fate::Refused(why),
            };
            replayed.fates.push((id, fate));
        }
        replayed.fates.sort_by_key(|(id, _)| *id);
        Ok((replayed, records))
    }

    fn by_id(&self, ids: &[EntryId], marks: &Marks, replayed: &mut Replayed) -> Result<Vec<Found>> {
        let distinct: BTreeMap<EntryId, ()> = ids.iter().map(|id| (*id, ())).collect();
        let mut found = Vec::new();
        for id in distinct.into_keys() {
            replayed.looked_at += 1;
            match self.topic().get(id)? {
                None => replayed.fates.push((id, Fate::Unknown)),
                Some(one) => match marks.replayed(id, one.at_ms) {
                    Some(at) => replayed.fates.push((id, Fate::Already(at))),
                    None => found.push(one),
                },
            }
        }
        Ok(found)
    }

    /// The event as it is written again, or why it cannot be.
    fn event(&self, id: EntryId, entry: Entry) -> Result<std::result::Result<NewRecord, String>> {
        let table = self.settings.tables.iter().find(|t| t.name == entry.table);
        if !table.is_some_and(|t| t.sources.iter().any(|s| s.topic == entry.topic)) {
            return Ok(Err(format!("no table {:?} reads topic {:?} any more", entry.table, entry.topic)));
        }
        let order = Replay {
            entry: id.to_string(),
            application: self.settings.application.clone(),
            table: entry.table.clone(),
            topic: entry.topic.clone(),
            fields: entry.fields.clone(),
        };
        let (key, payload, mut headers) = if entry.is_whole() {
            (entry.key, entry.payload, entry.headers)
        } else {
            match self.read_again(&entry)? {
                Some(whole) => whole,
                None => return Ok(Err("it was cut, and its topic does not hold it any more".to_owned())),
            }
        };
        headers.push(order.header()?);
        Ok(Ok(NewRecord {
            topic: entry.topic.as_str().into(),
            partition: entry.partition,
            key,
            payload,
            headers,
            timestamp_ms: Some(entry.timestamp_ms).filter(|at| *at >= 0),
        }))
    }

    /// The whole of an event that was cut, from where it came from.
    fn read_again(&self, entry: &Entry) -> Result<Option<Whole>> {
        let tp = TopicPartition::new(entry.topic.as_str(), entry.partition);
        let log = self.broker.watermarks(&tp)?;
        if !(log.low..log.stable).contains(&entry.offset) {
            return Ok(None);
        }
        let mut reader = self.broker.reader(&tp, entry.offset)?;
        let (mut whole, mut ended, until) = (None, false, Instant::now() + READ_WITHIN);
        while !ended && Instant::now() < until {
            let progress = reader.read(1, READ_WAIT, &mut |m| {
                ended = true;
                if m.offset == entry.offset && entry.is_cut_from(m.key, m.payload) {
                    let mut headers = m.owned_headers();
                    headers.retain(|(name, _)| name != HEADER);
                    whole = Some((m.key.map(<[u8]>::to_vec), m.payload.map(<[u8]>::to_vec), headers));
                }
            })?;
            ended |= matches!(progress, Progress::End { .. });
        }
        Ok(whole)
    }
}

/// Key, payload and headers of an event.
type Whole = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

impl Entry {
    /// Whether this is the message that the entry was cut from.
    fn is_cut_from(&self, key: Option<&[u8]>, payload: Option<&[u8]>) -> bool {
        let same = |cut: &Option<super::entry::Cut>, kept: &Option<Vec<u8>>, found: Option<&[u8]>| match cut {
            Some(cut) => found.is_some_and(|whole| cut.is_of(whole)),
            None => kept.as_deref() == found,
        };
        same(&self.key_cut, &self.key, key) && same(&self.payload_cut, &self.payload, payload)
    }
}
