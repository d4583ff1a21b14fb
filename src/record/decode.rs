//! From a message to an [`Event`]: decoding, typing, key, version, delete marker.

mod any;
mod json;
mod plan;
mod typed;

use xxhash_rust::xxh3::xxh3_64;

use self::json::{Parsed, Rules, Slot};
use self::plan::Plan;
use super::definition::{Absent, Dynamic, FieldDef, KeyFrom, Path, SourceDef, Strategy, TableDef, VersionFrom};
use super::event::{Event, EventKind, Reason, Reject, Stamp, Version};
use super::value::Value;

/// A message as it comes from a topic.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// Message key.
    pub key: Option<&'a [u8]>,
    /// Message value; `None` is a tombstone message.
    pub payload: Option<&'a [u8]>,
    /// Timestamp stored by the broker, milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// Decodes messages of one source of a table. Built once; holds what can be computed ahead.
///
/// - A tombstone message is a delete of the message's key at the broker's timestamp, whatever key and version the table
///   takes from payloads: it has none.
/// - Of a member that is repeated the last one counts. A member below which no path is declared is dynamic under its
///   name; of an object that declared paths go into, what they leave is dynamic, if anything.
/// - A member that has the name of a declared field without being its path is left out (refused under
///   `dynamic = "reject"`): the field owns the name.
/// - Where the source says `absent = "clear"`, an event clears every declared field that it does not carry, those that
///   only other sources fill included.
/// - Fields of a delete are not looked at.
#[derive(Debug)]
pub struct Decoder {
    source: SourceDef,
    plan: Plan,
    key_plan: Option<Plan>,
}

impl Decoder {
    /// A decoder for source number `source` of `def`.
    ///
    /// # Panics
    /// If `def` has no such source.
    pub fn new(def: &TableDef, source: usize) -> Self {
        let source = def.sources[source].clone();
        let plan = Plan::new(def, &source);
        let key_plan = match &def.key {
            KeyFrom::Path(path) => Some(Plan::key_only(path)),
            KeyFrom::Message => None,
        };
        Decoder { source, plan, key_plan }
    }

    /// Decodes one message, or says why not.
    pub fn decode(&self, def: &TableDef, raw: &RawEvent<'_>) -> Result<Event, Reject> {
        let Some(payload) = raw.payload else { return self.tombstone(raw) };
        let rules = Rules {
            plan: &self.plan,
            dynamic: def.dynamic,
            max_depth: def.max_depth,
            sentinels: &self.source.sentinels,
        };
        let parsed = json::parse(payload, rules)?;
        let key = match (&def.key, self.plan.key) {
            (KeyFrom::Path(path), Some(slot)) => path_key(path, &parsed.slots[slot])?,
            _ => message_key(raw)?,
        };
        let version = self.version(raw, &parsed)?;
        let id = self.event_id(&parsed)?;
        let kind = if self.deletes(&parsed) { EventKind::Delete } else { self.upsert(def, parsed, id)? };
        Ok(self.event(key, version, id, kind))
    }

    /// The record key of a JSON payload that a client wants to append, without judging the rest of it.
    pub fn key_of(&self, def: &TableDef, raw: &RawEvent<'_>) -> Result<Vec<u8>, Reject> {
        match (&def.key, &self.key_plan, raw.payload) {
            (KeyFrom::Path(path), Some(plan), Some(payload)) => {
                let rules = Rules { plan, dynamic: Dynamic::Ignore, max_depth: def.max_depth, sentinels: &[] };
                let parsed = json::parse(payload, rules)?;
                path_key(path, &parsed.slots[0])
            }
            _ => message_key(raw),
        }
    }

    fn event(&self, key: Vec<u8>, version: Version, id: Option<u64>, kind: EventKind) -> Event {
        Event { key, stamp: Stamp { version, rank: self.source.rank }, source: self.source.id, id, kind }
    }

    fn tombstone(&self, raw: &RawEvent<'_>) -> Result<Event, Reject> {
        Ok(self.event(message_key(raw)?, Version::single(raw.timestamp_ms), None, EventKind::Delete))
    }

    fn version(&self, raw: &RawEvent<'_>, parsed: &Parsed) -> Result<Version, Reject> {
        let VersionFrom::Paths(paths) = &self.source.version else { return Ok(Version::single(raw.timestamp_ms)) };
        let part = |at: usize| match (paths.get(at), self.plan.version.get(at)) {
            (Some(path), Some(slot)) => version_part(&parsed.slots[*slot]).map_err(|(reason, detail)| Reject {
                reason,
                path: path.to_string(),
                detail,
            }),
            _ => Ok(0),
        };
        let version = Version { major: part(0)?, minor: part(1)? };
        match self.source.max_ahead_ms {
            Some(ahead) if version.major > raw.timestamp_ms.saturating_add(ahead) => Err(Reject {
                reason: Reason::VersionAhead,
                path: paths.first().map(ToString::to_string).unwrap_or_default(),
                detail: format!(
                    "the version {} lies more than {ahead} ms ahead of the message's timestamp {}",
                    version.major, raw.timestamp_ms
                ),
            }),
            _ => Ok(version),
        }
    }

    /// Hash of the event id: strings as they are, integers in decimal.
    fn event_id(&self, parsed: &Parsed) -> Result<Option<u64>, Reject> {
        let Some(slot) = self.plan.event_id else { return Ok(None) };
        match &parsed.slots[slot] {
            Slot::Absent | Slot::Kept | Slot::Given(Value::Null) => Ok(None),
            Slot::Given(Value::Str(id)) if id.is_empty() => Ok(None),
            Slot::Given(Value::Str(id)) => Ok(Some(xxh3_64(id.as_bytes()))),
            Slot::Given(Value::Int(id)) => Ok(Some(xxh3_64(id.to_string().as_bytes()))),
            Slot::Given(other) => Err(Reject {
                reason: Reason::WrongType,
                path: self.event_id_path(),
                detail: format!("found {}, expected text or an integer as event id", shorten(&other.canonical())),
            }),
        }
    }

    fn event_id_path(&self) -> String {
        self.source.event_id.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn deletes(&self, parsed: &Parsed) -> bool {
        match (&self.source.delete, self.plan.delete.map(|slot| &parsed.slots[slot])) {
            (Some(rule), Some(Slot::Given(value))) => rule.equals.canonical_cmp(value).is_eq(),
            _ => false,
        }
    }

    fn upsert(&self, def: &TableDef, parsed: Parsed, id: Option<u64>) -> Result<EventKind, Reject> {
        let Parsed { mut slots, dynamic, undeclared } = parsed;
        if let Some(path) = undeclared {
            let detail = "no field declares this member, and the table rejects such".to_owned();
            return Err(Reject { reason: Reason::Undeclared, path, detail });
        }
        let mut declared = Vec::with_capacity(def.fields.len());
        for (at, (field, (slot, last_use))) in def.fields.iter().zip(&self.plan.fields).enumerate() {
            let found = if *last_use { std::mem::take(&mut slots[*slot]) } else { slots[*slot].clone() };
            let value = match found {
                Slot::Given(value) if json::is_sentinel(&self.source.sentinels, &value) => continue,
                Slot::Given(value) => self.typed(field, value)?,
                Slot::Absent if self.source.absent == Absent::Clear => Value::Null,
                Slot::Absent | Slot::Kept => continue,
            };
            if id.is_none() && field.merge.needs_event_id() && !value.is_null() {
                let detail = format!("the field {} must know repeated events, so the event needs an id", field.name);
                return Err(Reject { reason: Reason::MissingEventId, path: self.event_id_path(), detail });
            }
            declared.push((at, value));
        }
        Ok(EventKind::Upsert { declared, dynamic })
    }

    /// The value of a field. A sentinel in a map says nothing about its key.
    fn typed(&self, field: &FieldDef, value: Value) -> Result<Value, Reject> {
        let mut value = typed::field(field, value)?;
        if let (Strategy::Map, Value::Object(members)) = (field.merge, &mut value) {
            members.retain(|(_, value)| !json::is_sentinel(&self.source.sentinels, value));
        }
        Ok(value)
    }
}

fn message_key(raw: &RawEvent<'_>) -> Result<Vec<u8>, Reject> {
    let refuse = |reason, detail: &str| Err(Reject { reason, path: "@key".to_owned(), detail: detail.to_owned() });
    match raw.key {
        None => refuse(Reason::NullKey, "the message has no key"),
        Some([]) => refuse(Reason::MissingKey, "the message key is empty"),
        Some(key) if std::str::from_utf8(key).is_err() => refuse(Reason::BadKey, "the message key is not UTF-8"),
        Some(key) => match unfit(key) {
            Some(why) => refuse(Reason::BadKey, &why),
            None => Ok(key.to_vec()),
        },
    }
}

/// Why no record can have this key, if so.
fn unfit(key: &[u8]) -> Option<String> {
    if key.starts_with(super::RESERVED_PREFIX) {
        return Some("the key has the reserved prefix".to_owned());
    }
    let most = super::MAX_KEY_BYTES;
    (key.len() > most).then(|| format!("the key has {} bytes, at most {most} are taken", key.len()))
}

fn path_key(path: &Path, slot: &Slot) -> Result<Vec<u8>, Reject> {
    let refuse = |reason, detail: String| Err(Reject { reason, path: path.to_string(), detail });
    match slot {
        Slot::Absent | Slot::Kept | Slot::Given(Value::Null) => {
            refuse(Reason::MissingKey, "the event has no key".to_owned())
        }
        Slot::Given(Value::Str(key)) if key.is_empty() => refuse(Reason::MissingKey, "the key is empty".to_owned()),
        Slot::Given(Value::Str(key)) => match unfit(key.as_bytes()) {
            Some(why) => refuse(Reason::BadKey, why),
            None => Ok(key.as_bytes().to_vec()),
        },
        Slot::Given(Value::Int(key)) => Ok(key.to_string().into_bytes()),
        Slot::Given(other) => {
            refuse(Reason::WrongType, format!("found {}, expected text or an integer", shorten(&other.canonical())))
        }
    }
}

fn version_part(slot: &Slot) -> Result<i64, (Reason, String)> {
    match slot {
        Slot::Absent | Slot::Kept | Slot::Given(Value::Null) => {
            Err((Reason::MissingVersion, "the event has no version".to_owned()))
        }
        Slot::Given(Value::Int(version)) => Ok(*version),
        Slot::Given(found) => {
            let shown = found.canonical();
            let text = if let Value::Str(text) = found { text } else { "" };
            match typed::integer_text(text) {
                Some(Ok(version)) => return Ok(version),
                Some(Err(())) => return Err((Reason::OutOfRange, format!("{} does not fit 64 bits", shorten(&shown)))),
                None => {}
            }
            typed::rfc3339_ms(text).ok_or_else(|| {
                (Reason::WrongType, format!("found {}, expected an integer or RFC 3339 text", shorten(&shown)))
            })
        }
    }
}

/// Cuts a found value to 80 characters.
fn shorten(text: &str) -> &str {
    text.char_indices().nth(80).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests;
