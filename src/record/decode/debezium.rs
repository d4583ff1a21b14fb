//! Change events of Debezium: which row of an envelope speaks, and where in the order of changes it stands.

use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::body::Body;
use super::identity::{integer_of, version_part};
use super::json::{Slot, from_serde, undecodable};
use super::plan::PositionSlots;
use crate::record::event::{Reason, Reject, Version};
use crate::record::value::Value;

/// A change of one row.
#[derive(Debug)]
pub(super) struct Change<'a> {
    /// The row as it is now; of a delete, what is known of the row that was.
    pub(super) row: Body<'a>,
    /// Whether the row is gone.
    pub(super) delete: bool,
    /// What stands around the rows.
    pub(super) envelope: Option<Body<'a>>,
}

/// Opens an envelope. `None` if it says nothing about a row: marks of transactions, changes of the schema, heartbeats and
/// messages that programs write into the log.
pub(super) fn open(body: Body<'_>) -> Result<Option<Change<'_>>, Reject> {
    let (envelope, body) = split(unwrapped(body)?)?;
    let Some(op) = envelope.op.as_deref() else {
        return if envelope.says_nothing() { Ok(None) } else { Err(undecodable(no_envelope())) };
    };
    let row = |row: Option<_>, name| row.ok_or_else(|| undecodable(format!("op {op:?} needs `{name}` to be a row")));
    match op {
        "c" | "u" | "r" => Ok(Some(Change { row: row(envelope.after, "after")?, delete: false, envelope: Some(body) })),
        "d" => {
            let row = envelope.before.unwrap_or(Body::Members(Vec::new()));
            Ok(Some(Change { row, delete: true, envelope: Some(body) }))
        }
        "m" => Ok(None),
        "t" => Err(Reject {
            reason: Reason::Unsupported,
            path: "@op".to_owned(),
            detail: "the table was truncated, which removes rows that nobody names: delete the records one by one"
                .to_owned(),
        }),
        other => Err(undecodable(format!("unknown op {other:?}, expected one of c, u, r, d"))),
    }
}

fn no_envelope() -> String {
    "this is no change event of Debezium: it has no `op` (is it flattened? then the format is debezium-json-flat)"
        .to_owned()
}

/// What a converter that writes schemas put the message into: `{"schema": …, "payload": …}`.
pub(super) fn unwrapped(body: Body<'_>) -> Result<Body<'_>, Reject> {
    match body {
        Body::Json(text) => match split_json(text)? {
            Envelope { op: None, schema: true, payload: Some(Body::Json(inner)), members: 2, .. } => {
                Ok(Body::Json(inner))
            }
            _ => Ok(Body::Json(text)),
        },
        members @ Body::Members(_) => Ok(members),
    }
}

/// The members of an envelope that decide.
#[derive(Debug, Default)]
struct Envelope<'a> {
    op: Option<String>,
    before: Option<Body<'a>>,
    after: Option<Body<'a>>,
    payload: Option<Body<'a>>,
    schema: bool,
    ddl: bool,
    status: bool,
    time: bool,
    members: usize,
}

impl Envelope<'_> {
    fn says_nothing(&self) -> bool {
        let transaction = self.status && self.before.is_none() && self.after.is_none();
        let heartbeat = self.time && self.members == 1;
        transaction || self.ddl || heartbeat
    }

    fn note(&mut self, part: Part) {
        self.members += 1;
        match part {
            Part::Schema => self.schema = true,
            Part::Ddl => self.ddl = true,
            Part::Status => self.status = true,
            Part::Time => self.time = true,
            Part::Op | Part::Before | Part::After | Part::Payload | Part::Other => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Op,
    Before,
    After,
    Payload,
    Schema,
    Ddl,
    Status,
    Time,
    Other,
}

impl Part {
    fn of(name: &str) -> Self {
        match name {
            "op" => Part::Op,
            "before" => Part::Before,
            "after" => Part::After,
            "payload" => Part::Payload,
            "schema" => Part::Schema,
            "ddl" | "tableChanges" => Part::Ddl,
            "data_collections" => Part::Status,
            "ts_ms" => Part::Time,
            _ => Part::Other,
        }
    }
}

/// Takes the rows out of an envelope; also returns the envelope, for the paths that look into it.
fn split(body: Body<'_>) -> Result<(Envelope<'_>, Body<'_>), Reject> {
    match body {
        Body::Json(text) => Ok((split_json(text)?, Body::Json(text))),
        Body::Members(members) => Ok(split_members(members)),
    }
}

fn split_members(members: Vec<(String, Value)>) -> (Envelope<'static>, Body<'static>) {
    let mut envelope = Envelope::default();
    let mut rest = Vec::with_capacity(members.len());
    let row = |value| if let Value::Object(members) = value { Some(Body::Members(members)) } else { None };
    for (name, value) in members {
        let part = Part::of(&name);
        envelope.note(part);
        match (part, value) {
            (Part::Before, value) => envelope.before = row(value),
            (Part::After, value) => envelope.after = row(value),
            (part, value) => {
                if let (Part::Op, Value::Str(op)) = (part, &value) {
                    envelope.op = Some(op.to_string());
                }
                rest.push((name, value));
            }
        }
    }
    (envelope, Body::Members(rest))
}

fn split_json(text: &[u8]) -> Result<Envelope<'_>, Reject> {
    let text = super::json::utf8(text)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let envelope = de::Deserializer::deserialize_map(&mut json, Split).map_err(|e| from_serde(&e))?;
    json.end().map_err(|e| from_serde(&e))?;
    Ok(envelope)
}

struct Split;

impl<'de> Visitor<'de> for Split {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    /// Of a repeated member the last one counts.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(part) = map.next_key_seed(Name)? {
            envelope.note(part);
            match part {
                Part::Op => envelope.op = map.next_value()?,
                Part::Before => envelope.before = row(map.next_value()?),
                Part::After => envelope.after = row(map.next_value()?),
                Part::Payload => envelope.payload = row(map.next_value()?),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(envelope)
    }
}

fn row(value: &RawValue) -> Option<Body<'_>> {
    let text = value.get();
    text.starts_with('{').then_some(Body::Json(text.as_bytes()))
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Part;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Part, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Part, E> {
        Ok(Part::of(name))
    }
}

/// Whether the marks of the flattened form (`__deleted`, `__op`) say that the row is gone.
pub(super) fn flat_delete(marks: [&Slot; 2]) -> Result<bool, Reject> {
    if let Slot::Given(Value::Str(op)) = marks[1]
        && op == "t"
    {
        let detail = "the table was truncated, which removes rows that nobody names".to_owned();
        return Err(Reject { reason: Reason::Unsupported, path: "__op".to_owned(), detail });
    }
    let is = |slot: &Slot, wanted: &str| matches!(slot, Slot::Given(Value::Str(text)) if text == wanted);
    Ok(is(marks[0], "true") || *marks[0] == Slot::Given(Value::Bool(true)) || is(marks[1], "d"))
}

/// The version that the position of a change gives: its time, and where in the database's log it stands.
pub(super) fn version(at: &PositionSlots, slots: &[Slot]) -> Result<Version, Reject> {
    let refuse = |(reason, detail)| Reject { reason, path: at.time_path.to_string(), detail };
    Ok(Version { major: version_part(&slots[at.time]).map_err(refuse)?, minor: place(at, slots)? })
}

fn place(at: &PositionSlots, slots: &[Slot]) -> Result<i64, Reject> {
    let number = |of: &[usize]| of.iter().find_map(|slot| integer_of(&slots[*slot]));
    if let Some(lsn) = number(&at.lsn) {
        return Ok(lsn);
    }
    let Some(pos) = number(&at.pos) else { return Ok(number(&at.ord).unwrap_or(0)) };
    let file = at.file.iter().find_map(|slot| match &slots[*slot] {
        Slot::Given(Value::Str(name)) => Some(file_number(name)),
        _ => None,
    });
    let joined = file.unwrap_or(Some(0)).and_then(|file| file.checked_mul(1 << 32)?.checked_add(pos));
    joined.ok_or_else(|| Reject {
        reason: Reason::OutOfRange,
        path: at.time_path.to_string(),
        detail: "file and position in the binlog do not fit 64 bits".to_owned(),
    })
}

/// The number that the name of a binlog file ends with: files are counted, and positions begin anew in each.
fn file_number(name: &str) -> Option<i64> {
    let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
    if digits == name.len() { Some(0) } else { name[digits..].parse().ok() }
}
