//! Decoding: the same JSON value, however it is spelled, is the same event; and the event is the one that was meant.

use super::{check, generate};
use keld::record::decode::{Decoder, RawEvent};
use keld::record::{
    Absent, DeleteRule, Dynamic, Event, EventKind, FieldType, KeyFrom, Partitioner, Path, Reason, Reject, SourceDef,
    Stamp, Strategy as Merge, TableDef, Value, Version, Window,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A table with a field of every type.
pub(crate) fn table() -> TableDef {
    let kinds = [
        ("bool", FieldType::Boolean),
        ("date", FieldType::Date),
        ("float", FieldType::Float),
        ("int", FieldType::Integer),
        ("json", FieldType::Json),
        ("text", FieldType::Text),
        ("word", FieldType::Keyword),
    ];
    let mut fields: Vec<_> = kinds.iter().map(|(name, kind)| generate::field(name, (Merge::Lww, *kind), 10)).collect();
    let mut nested = generate::field("installed", (Merge::Lww, FieldType::Integer), 10);
    nested.path = Path::parse("size.installed");
    fields.insert(3, nested);
    TableDef {
        name: "things".into(),
        key: KeyFrom::Path(Path::parse("sku")),
        dynamic: Dynamic::Store,
        window: Window { events: 64, time_ms: 86_400_000 },
        retention: keld::record::Retention::default(),
        partitioner: Partitioner::Any,
        sources: vec![SourceDef {
            delete: Some(DeleteRule { field: Path::parse("op"), equals: Value::Str("d".into()) }),
            sentinels: vec![Value::Str("__gone".into())],
            ..generate::source(0, 5, false, true)
        }],
        fields,
        derived: Vec::new(),
        repartition: false,
        max_depth: 32,
    }
}

/// Decides how a value is spelled; an empty one spells canonically.
struct Whim<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Whim<'_> {
    fn next(&mut self, below: usize) -> usize {
        self.at += 1;
        if self.bytes.is_empty() { 0 } else { usize::from(self.bytes[self.at % self.bytes.len()]) % below }
    }

    fn blank(&mut self) -> &'static str {
        ["", " ", "\n", "\t \r\n"][self.next(4)]
    }

    fn text(&mut self, text: &str) -> String {
        let mut out = String::from("\"");
        for c in text.chars() {
            if self.next(3) == 1 {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            } else if c == '/' && self.next(2) == 1 {
                out.push_str("\\/");
            } else {
                let plain = serde_json::Value::from(c.to_string()).to_string();
                out.push_str(&plain[1..plain.len() - 1]);
            }
        }
        out + "\""
    }

    fn integer(&mut self, n: i64) -> String {
        let zero = if n == 0 { ["0", "-0", "-0.0", "0e5"][self.next(4)] } else { "" };
        match self.next(4) {
            _ if !zero.is_empty() => zero.to_owned(),
            1 if n.unsigned_abs() < 1 << 50 => format!("{n}.00"),
            2 if n.unsigned_abs() < 1 << 50 => format!("{n}e0"),
            3 if n.unsigned_abs() < 1 << 40 => format!("{n}0E-1"),
            _ => n.to_string(),
        }
    }

    fn value(&mut self, value: &Value) -> String {
        let (before, after) = (self.blank(), self.blank());
        let text = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Int(n) => self.integer(*n),
            Value::Float(x) if self.next(2) == 1 => format!("{x:e}"),
            Value::Float(x) => x.to_string(),
            Value::Str(s) => self.text(s),
            Value::Array(all) => format!("[{}]", all.iter().map(|v| self.value(v)).collect::<Vec<_>>().join(",")),
            Value::Object(members) => self.object(members),
        };
        format!("{before}{text}{after}")
    }

    fn object(&mut self, members: &[(String, Value)]) -> String {
        let mut left: Vec<_> = members.iter().collect();
        let mut texts = Vec::new();
        while !left.is_empty() {
            let (name, value) = left.remove(self.next(left.len()));
            let (before, after) = (self.blank(), self.blank());
            texts.push(format!("{before}{}{after}:{}", self.text(name), self.value(value)));
        }
        format!("{{{}{}}}", self.blank(), texts.join(","))
    }
}

fn json() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-zA-Z0-9 /\"\\\\é😀\n\u{1}]{0,6}", Just("__gone".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-1000..1000_i64).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        (-4000..4000_i32).prop_map(|n| Value::Float(f64::from(n) + 0.5)),
        text.prop_map(|s| Value::Str(s.into())),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-cé]{0,2}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// A payload as members, and the event that it means.
#[derive(Clone, Debug)]
struct Meant {
    members: BTreeMap<String, Value>,
    absent: Absent,
}

fn payloads() -> impl Strategy<Value = Meant> {
    let member = |name: &'static str, share: f64, values: BoxedStrategy<Value>| {
        let values = prop_oneof![9 => values, 1 => Just(Value::Null)];
        proptest::option::weighted(share, values.prop_map(move |value| (name.to_owned(), value)))
    };
    let word = prop_oneof!["[a-zé😀\" ]{0,4}", Just("__gone".to_owned())].prop_map(|s| Value::Str(s.into()));
    let eighths = (-4000..4000_i32).prop_map(|n| Value::Float(f64::from(n) / 4.0 + 0.125));
    let members = vec![
        member("bool", 0.5, any::<bool>().prop_map(Value::Bool).boxed()),
        member("date", 0.5, (1_600_000_000_000..1_800_000_000_000_i64).prop_map(Value::Int).boxed()),
        member("float", 0.5, eighths.boxed()),
        member("int", 0.5, (-1000..1000_i64).prop_map(Value::Int).boxed()),
        member("json", 0.5, json().boxed()),
        member("op", 0.2, Just(Value::Str("d".into())).boxed()),
        member("text", 0.5, word.clone().boxed()),
        member("word", 0.5, word.boxed()),
    ];
    let dynamic = prop::collection::btree_map("[x-z][x-z]?", json(), 0..4);
    (members, dynamic, -5..5_i64, -5..5_i64, any::<bool>()).prop_map(|(declared, dynamic, v, w, clear)| {
        let mut members = dynamic;
        members.extend(declared.into_iter().flatten());
        members.extend([("v".to_owned(), Value::Int(v)), ("w".to_owned(), Value::Int(w))]);
        members.extend([("sku", "k-1"), ("id", "order-7")].map(|(n, text)| (n.to_owned(), Value::Str(text.into()))));
        Meant { members, absent: if clear { Absent::Clear } else { Absent::Keep } }
    })
}

impl Meant {
    fn def(&self) -> TableDef {
        let mut def = table();
        def.sources[0].absent = self.absent;
        def
    }

    fn spelled(&self, whim: &[u8]) -> String {
        let members: Vec<(String, Value)> = self.members.clone().into_iter().collect();
        Whim { bytes: whim, at: 0 }.object(&members)
    }

    /// The event, worked out from the members.
    fn event(&self, def: &TableDef) -> Event {
        let number = |name: &str| if let Some(Value::Int(n)) = self.members.get(name) { *n } else { 0 };
        let said = |name: &str| self.members.get(name);
        let gone = Value::Str("__gone".into());
        let kind = if said("op").is_some_and(|op| *op != Value::Null) {
            EventKind::Delete
        } else {
            let declared = def.fields.iter().enumerate().filter_map(|(at, field)| match said(&field.name) {
                Some(value) if *value == gone => None,
                Some(value) => Some((at, value.clone())),
                None if self.absent == Absent::Clear => Some((at, Value::Null)),
                None => None,
            });
            let spent = |name: &str| ["sku", "id", "v", "w", "op"].contains(&name) || def.field(name).is_some();
            let dynamic = self.members.iter().filter(|(name, value)| !spent(name) && **value != gone);
            EventKind::Upsert {
                declared: declared.collect(),
                dynamic: dynamic.map(|(name, value)| (name.clone(), value.clone())).collect(),
            }
        };
        Event {
            key: b"k-1".to_vec(),
            stamp: Stamp { version: Version { major: number("v"), minor: number("w") }, rank: 5 },
            source: def.sources[0].id,
            id: Some(xxhash_rust::xxh3::xxh3_64(b"order-7")),
            kind,
        }
    }
}

/// Every message of these tests is an event, if it is anything.
fn decode(decoder: &Decoder, def: &TableDef, raw: &RawEvent<'_>) -> Result<Event, Reject> {
    decoder.decode(def, raw, &()).map(|decoded| decoded.event().unwrap_or_else(|| panic!("no event")))
}

fn raw(payload: &str) -> RawEvent<'_> {
    RawEvent { payload: Some(payload.as_bytes()), timestamp_ms: 1_700_000_000_000, ..RawEvent::default() }
}

#[test]
fn however_json_is_spelled_it_is_the_event_that_was_meant() {
    check(1, &(payloads(), any::<[u8; 17]>()), |(meant, whim)| {
        let def = meant.def();
        let decoder = Decoder::new(&def, 0);
        for text in [meant.spelled(&[]), meant.spelled(&whim)] {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            prop_assert!(parsed.is_ok(), "the test's own JSON: {text}");
            let event = decode(&decoder, &def, &raw(&text)).map_err(|r| TestCaseError::fail(format!("{r}\n{text}")))?;
            prop_assert_eq!(event, meant.event(&def), "{}", text);
            prop_assert_eq!(decoder.key_of(&def, &raw(&text)), Ok(b"k-1".to_vec()));
        }
        Ok(())
    });
}

#[test]
fn nested_members_and_repeated_spellings_agree() {
    check(1, &(payloads(), json(), -9..9_i64, any::<[u8; 17]>()), |(mut meant, other, installed, whim)| {
        let size = vec![("installed".to_owned(), Value::Int(installed)), ("other".to_owned(), other)];
        meant.members.insert("size".into(), Value::Object(size));
        let def = meant.def();
        let decoder = Decoder::new(&def, 0);
        let (plain, odd) = (meant.spelled(&[]), meant.spelled(&whim));
        let event = decode(&decoder, &def, &raw(&plain));
        prop_assert_eq!(&event, &decode(&decoder, &def, &raw(&odd)), "{}\n{}", plain, odd);
        if let Ok(Event { kind: EventKind::Upsert { declared, .. }, .. }) = event {
            prop_assert!(declared.contains(&(3, Value::Int(installed))), "{:?}", declared);
        }
        Ok(())
    });
}

#[test]
fn any_message_is_decoded_or_refused() {
    let damage = prop::collection::vec((any::<u16>(), any::<u8>()), 0..4);
    check(1, &(payloads(), damage, any::<Vec<u8>>()), |(meant, damage, noise)| {
        let def = meant.def();
        let decoder = Decoder::new(&def, 0);
        let mut payload = meant.spelled(&[]).into_bytes();
        for (at, byte) in damage {
            let at = usize::from(at) % payload.len();
            payload[at] = byte;
        }
        for (key, payload) in [(None, payload), (Some(&noise[..]), noise.clone())] {
            let raw = RawEvent { key, payload: Some(&payload), ..RawEvent::default() };
            if let Ok(event) = decode(&decoder, &def, &raw) {
                prop_assert_eq!(decoder.key_of(&def, &raw), Ok(event.key), "one key for both ways to ask");
            }
        }
        Ok(())
    });
}

#[test]
fn depth_is_refused_and_loses_nothing_of_the_stack() {
    let def = table();
    let nested = |depth: usize| {
        let json = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        format!("{{\"sku\":\"k-1\",\"id\":\"7\",\"v\":1,\"w\":2,\"x\":{json}}}")
    };
    let decode = |text: String| decode(&Decoder::new(&def, 0), &def, &raw(&text));
    assert!(decode(nested(20)).is_ok());
    for depth in [40, 1_000, 200_000] {
        assert_eq!(decode(nested(depth)).map_err(|r| r.reason), Err(Reason::TooDeep), "depth {depth}");
    }
}
