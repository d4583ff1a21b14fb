//! From a message to an [`Event`]: decoding, typing, key, version, delete marker.

mod any;
mod avro;
mod beside;
mod body;
mod debezium;
mod identity;
mod json;
mod message;
mod placement;
mod plan;
mod registry;
mod typed;

use xxhash_rust::xxh3::xxh3_64;

pub use self::avro::WriterSchema;
use self::body::Body;
use self::debezium::Change;
use self::identity::{message_key, path_key, shorten, version_part};
use self::json::{Parsed, Rules, Slot};
pub use self::message::{Headers, RawEvent};
pub use self::placement::Placement;
use self::plan::Plan;
pub use self::registry::{Lookup, Schemas};
use super::debezium::PREFIX;
use super::definition::{
    Absent, Dynamic, Encoding, FieldDef, KeyFrom, Path, Shape, SourceDef, Strategy, TableDef, Tombstones, VersionFrom,
};
use super::event::{Event, EventKind, Reason, Reject, Stamp, Version};
use super::value::Value;

/// What a message turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// An event.
    Event(Event),
    /// It says nothing about any record: a mark of a transaction, a heartbeat, the tombstone that follows a delete.
    Nothing,
    /// The schema of this id is needed and not here: fetch it and decode again.
    Missing(u32),
}

impl Decoded {
    /// The event, if it is one.
    pub fn event(self) -> Option<Event> {
        if let Decoded::Event(event) = self { Some(event) } else { None }
    }
}

/// Why there is no event.
enum Halt {
    Refused(Reject),
    Missing(u32),
}

impl From<Reject> for Halt {
    fn from(reject: Reject) -> Self {
        Halt::Refused(reject)
    }
}

/// Decodes messages of one source of a table. Built once; holds what can be computed ahead.
///
/// - A tombstone message is a delete of the message's key at the broker's timestamp, whatever key and version the table
///   takes from payloads: it has none. A key or version that is taken from beside the payload is there all the same.
/// - Of a member that is repeated the last one counts. A member below which no path is declared is dynamic under its
///   name; of an object that declared paths go into, what they leave is dynamic, if anything.
/// - A member that has the name of a declared field without being its path is left out (refused under
///   `dynamic = "reject"`): the field owns the name.
/// - Where the source says `absent = "clear"`, an event clears every declared field that it does not carry, those that
///   only other sources fill included.
/// - Fields of a delete are not looked at.
/// - Of a change event of Debezium the row is the event: `after`, or `before` of a delete. What the row of a delete lacks of
///   the key is looked for in the message key, whose members are the key's columns.
#[derive(Debug)]
pub struct Decoder {
    source: SourceDef,
    plan: Plan,
    key_plan: Option<Plan>,
    payload_holds_all: bool,
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
        let payload_holds_all =
            source.format.encoding() == Encoding::Json && def.fields.iter().all(|field| field.path.in_payload());
        Decoder { source, plan, key_plan, payload_holds_all }
    }

    /// Whether whatever an event says stands in the payload as text, names included.
    pub fn payload_holds_all(&self) -> bool {
        self.payload_holds_all
    }

    /// Decodes one message by the schemas that are here, or says why not.
    pub fn decode(&self, def: &TableDef, raw: &RawEvent<'_>, schemas: &dyn Schemas) -> Result<Decoded, Reject> {
        match self.read(def, raw, schemas) {
            Ok(Some(event)) => Ok(Decoded::Event(event)),
            Ok(None) => Ok(Decoded::Nothing),
            Err(Halt::Missing(id)) => Ok(Decoded::Missing(id)),
            Err(Halt::Refused(reject)) => Err(reject),
        }
    }

    /// The record key of a message that a client wants to append, without judging the rest of it.
    pub fn key_of(&self, def: &TableDef, raw: &RawEvent<'_>) -> Result<Vec<u8>, Reject> {
        self.key_alone(def, raw, &()).map_err(|halt| match halt {
            Halt::Refused(reject) => reject,
            Halt::Missing(id) => {
                let detail = format!("the schema {id} is not here");
                Reject { reason: Reason::UnknownSchema, path: String::new(), detail }
            }
        })
    }

    fn key_alone(&self, def: &TableDef, raw: &RawEvent<'_>, schemas: &dyn Schemas) -> Result<Vec<u8>, Halt> {
        let (KeyFrom::Path(path), Some(plan)) = (&def.key, &self.key_plan) else { return Ok(message_key(raw)?) };
        let mut slots = vec![Slot::Absent];
        match raw.payload {
            Some(payload) if path.in_payload() => {
                if let Some(change) = self.open(payload, def, schemas)? {
                    slots = self.sort(change.row, change.envelope, plan, Dynamic::Ignore, def)?.slots;
                }
            }
            None if path.in_payload() && self.shape() == Shape::Plain => return Ok(message_key(raw)?),
            _ => beside::fill(&plan.beside, raw, &mut slots)?,
        }
        self.key(def, raw, &slots[0], schemas)
    }

    fn shape(&self) -> Shape {
        self.source.format.shape()
    }

    fn read(&self, def: &TableDef, raw: &RawEvent<'_>, schemas: &dyn Schemas) -> Result<Option<Event>, Halt> {
        let Some(payload) = raw.payload else { return self.tombstone(def, raw, schemas) };
        let Some(Change { row, delete, envelope }) = self.open(payload, def, schemas)? else { return Ok(None) };
        let mut parsed = self.sort(row, envelope, &self.plan, def.dynamic, def)?;
        beside::fill(&self.plan.beside, raw, &mut parsed.slots)?;
        let key = self.key(def, raw, self.plan.key.map_or(&Slot::Absent, |slot| &parsed.slots[slot]), schemas)?;
        let version = self.version(raw, &parsed.slots)?;
        let id = self.event_id(&parsed.slots)?;
        let gone = delete || self.deletes(&parsed.slots)?;
        let kind = if gone { EventKind::Delete } else { self.upsert(def, parsed, id)? };
        Ok(Some(self.event(key, version, id, kind)))
    }

    /// What a payload says of a row; `None` if nothing.
    fn open<'a>(&self, payload: &'a [u8], def: &TableDef, schemas: &dyn Schemas) -> Result<Option<Change<'a>>, Halt> {
        let body = self.body(payload, def, schemas)?;
        Ok(match self.shape() {
            Shape::Plain => Some(Change { row: body, delete: false, envelope: None }),
            Shape::Flat => Some(Change { row: debezium::unwrapped(body)?, delete: false, envelope: None }),
            Shape::Envelope => debezium::open(body)?,
        })
    }

    fn body<'a>(&self, bytes: &'a [u8], def: &TableDef, schemas: &dyn Schemas) -> Result<Body<'a>, Halt> {
        match self.source.format.encoding() {
            Encoding::Json => Ok(Body::Json(bytes)),
            Encoding::JsonSchema => Ok(Body::Json(registry::open(bytes)?.1)),
            Encoding::Avro => {
                let (id, message) = registry::open(bytes)?;
                let schema = match schemas.schema(id) {
                    Lookup::Known(schema) => schema,
                    Lookup::Missing => return Err(Halt::Missing(id)),
                    Lookup::Refused(why) => {
                        let detail = format!("schema {id}: {why}");
                        return Err(Reject { reason: Reason::UnknownSchema, path: String::new(), detail }.into());
                    }
                };
                // An envelope is a level of its own, and none of the event's.
                let around = usize::from(self.shape() == Shape::Envelope);
                Ok(Body::Members(schema.members(message, def.max_depth + around)?))
            }
        }
    }

    /// Sorts a row, and what stands around it, into the slots of a plan.
    fn sort(
        &self,
        row: Body<'_>,
        envelope: Option<Body<'_>>,
        plan: &Plan,
        dynamic: Dynamic,
        def: &TableDef,
    ) -> Result<Parsed, Reject> {
        let hidden = (self.shape() == Shape::Flat).then_some(PREFIX);
        let rules = Rules { plan, dynamic, max_depth: def.max_depth, sentinels: &self.source.sentinels, hidden };
        let mut parsed = row.parse(rules)?;
        if let (Some(envelope), Some((around, slots))) = (envelope, plan.envelope.as_deref()) {
            let found = envelope.parse(Rules { plan: around, dynamic: Dynamic::Ignore, ..rules })?;
            slots.iter().zip(found.slots).for_each(|(slot, found)| parsed.slots[*slot] = found);
        }
        Ok(parsed)
    }

    /// The key that stands in a slot, or, of a row that lacks it, in the message key.
    fn key(&self, def: &TableDef, raw: &RawEvent<'_>, slot: &Slot, schemas: &dyn Schemas) -> Result<Vec<u8>, Halt> {
        let (KeyFrom::Path(path), Some(plan)) = (&def.key, &self.key_plan) else { return Ok(message_key(raw)?) };
        let lacks = matches!(slot, Slot::Absent | Slot::Given(Value::Null));
        match raw.key {
            Some(key) if lacks && self.shape() != Shape::Plain && path.in_payload() => {
                if self.source.format.encoding() != Encoding::Avro && !key.starts_with(b"{") {
                    return Ok(identity::single_key(path, key)?);
                }
                let columns = debezium::unwrapped(self.body(key, def, schemas)?)?;
                Ok(path_key(path, &self.sort(columns, None, plan, Dynamic::Ignore, def)?.slots[0])?)
            }
            _ => Ok(path_key(path, slot)?),
        }
    }

    fn event(&self, key: Vec<u8>, version: Version, id: Option<u64>, kind: EventKind) -> Event {
        Event { key, stamp: Stamp { version, rank: self.source.rank }, source: self.source.id, id, kind }
    }

    fn tombstone(&self, def: &TableDef, raw: &RawEvent<'_>, schemas: &dyn Schemas) -> Result<Option<Event>, Halt> {
        let beside = matches!(&self.source.version, VersionFrom::Paths(paths) if !paths.iter().any(Path::in_payload));
        let version = match self.source.tombstones {
            Tombstones::Ignore => return Ok(None),
            _ if beside => {
                let mut slots = vec![Slot::Absent; self.plan.slots];
                beside::fill(&self.plan.beside, raw, &mut slots)?;
                self.version(raw, &slots)?
            }
            Tombstones::Delete => Version::single(raw.timestamp_ms),
            Tombstones::Quarantine => {
                let detail =
                    "a message without payload has no version, and those of this source are no times".to_owned();
                let path = self.source.version.words().join(", ");
                return Err(Reject { reason: Reason::MissingVersion, path, detail }.into());
            }
        };
        Ok(Some(self.event(self.key_alone(def, raw, schemas)?, version, None, EventKind::Delete)))
    }

    fn version(&self, raw: &RawEvent<'_>, slots: &[Slot]) -> Result<Version, Reject> {
        let version = match (&self.source.version, &self.plan.position) {
            (VersionFrom::Paths(paths), _) => self.version_at(paths, slots)?,
            (VersionFrom::Position, Some(position)) => debezium::version(position, slots)?,
            _ => return Ok(Version::single(raw.timestamp_ms)),
        };
        match self.source.max_ahead_ms {
            Some(ahead) if version.major > raw.timestamp_ms.saturating_add(ahead) => Err(Reject {
                reason: Reason::VersionAhead,
                path: self.source.version.words().into_iter().next().unwrap_or_default(),
                detail: format!(
                    "the version {} lies more than {ahead} ms ahead of the message's timestamp {}",
                    version.major, raw.timestamp_ms
                ),
            }),
            _ => Ok(version),
        }
    }

    fn version_at(&self, paths: &[Path], slots: &[Slot]) -> Result<Version, Reject> {
        let part = |at: usize| match (paths.get(at), self.plan.version.get(at)) {
            (Some(path), Some(slot)) => version_part(&slots[*slot]).map_err(|(reason, detail)| Reject {
                reason,
                path: path.to_string(),
                detail,
            }),
            _ => Ok(0),
        };
        Ok(Version { major: part(0)?, minor: part(1)? })
    }

    /// Hash of the event id: strings as they are, integers in decimal.
    fn event_id(&self, slots: &[Slot]) -> Result<Option<u64>, Reject> {
        let Some(slot) = self.plan.event_id else { return Ok(None) };
        match &slots[slot] {
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

    fn deletes(&self, slots: &[Slot]) -> Result<bool, Reject> {
        if let Some(marks) = self.plan.marks
            && debezium::flat_delete(marks.map(|slot| &slots[slot]))?
        {
            return Ok(true);
        }
        Ok(match (&self.source.delete, self.plan.delete.map(|slot| &slots[slot])) {
            (Some(rule), Some(Slot::Given(value))) => rule.equals.canonical_cmp(value).is_eq(),
            _ => false,
        })
    }

    fn upsert(&self, def: &TableDef, parsed: Parsed, id: Option<u64>) -> Result<EventKind, Reject> {
        let Parsed { mut slots, dynamic, undeclared } = parsed;
        if let Some(path) = undeclared {
            let detail = "no field declares this member, and the table rejects such".to_owned();
            return Err(Reject { reason: Reason::Undeclared, path, detail });
        }
        let mut declared = Vec::with_capacity(def.fields.len());
        for (at, (field, (slot, last_use))) in def.fields.iter().zip(&self.plan.fields).enumerate() {
            let value = match &mut slots[*slot] {
                Slot::Absent if self.source.absent == Absent::Clear => Value::Null,
                Slot::Absent | Slot::Kept => continue,
                Slot::Given(value) if json::is_sentinel(&self.source.sentinels, value) => continue,
                Slot::Given(value) if *last_use => self.typed(field, std::mem::replace(value, Value::Null))?,
                Slot::Given(value) => self.typed(field, value.clone())?,
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

#[cfg(test)]
mod beside_tests;
#[cfg(test)]
mod debezium_tests;
#[cfg(test)]
mod tests;
