//! Events that cannot be taken, each with the good events that it needs, what must be said about it, and what must stand
//! in the records in the end. The expectations are written down by hand; nothing here is computed by Keld.

use keld::clock;
use serde_json::{Value, json};

/// Version of the first event of every case: milliseconds, long past.
const T: i64 = 1_700_000_000_000;
/// Most of a payload that the quarantine keeps, bytes; the configuration says the same.
pub(crate) const MAX_PAYLOAD: usize = 64 << 10;
/// Nesting that the tables take; the configuration says the same.
const MAX_DEPTH: usize = 8;

/// Tables: `things` takes its key from the event, `strict` rejects undeclared members, `keyed` takes the message key.
pub(crate) const CONFIG: &str = r#"
application = "bad"
[quarantine]
max_payload = "64KiB"

[tables.things]
key = "id"
max_depth = 8
window = { events = 4, time = "24h" }
[tables.things.sources.things]
topic = "things"
version = "ts"
event_id = "event_id"
[tables.things.fields]
name = { type = "text" }
price = { type = "float" }
qty = { type = "integer", path = "stock.qty" }
sold = { type = "integer", merge = "sum", path = "sold_delta" }

[tables.strict]
key = "id"
dynamic = "reject"
[tables.strict.sources.strict]
topic = "strict"
version = "ts"
[tables.strict.fields]
name = { type = "text" }

[tables.keyed]
key = "@key"
[tables.keyed.sources.keyed]
topic = "keyed"
version = "ts"
[tables.keyed.fields]
name = { type = "text" }
"#;

/// A message as a producer sends it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    /// `None`: where the key belongs.
    pub(crate) partition: Option<u32>,
}

/// One kind of bad event.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Table, source and topic have one name.
    pub(crate) table: &'static str,
    pub(crate) before: Vec<Sent>,
    pub(crate) bad: Sent,
    pub(crate) after: Vec<Sent>,
    pub(crate) reason: &'static str,
    /// What the message must speak of.
    pub(crate) words: Vec<String>,
    /// Record of the key that the bad event speaks of.
    pub(crate) record: Option<(String, Value)>,
}

/// A message with its key in front, as producers send it.
pub(crate) fn sent(key: &str, body: &Value) -> Sent {
    Sent { key: Some(key.as_bytes().to_vec()), payload: Some(body.to_string().into_bytes()), partition: None }
}

/// An event of a key's own case: `event_id` and version are made of `n`.
fn event(key: &str, n: i64, more: &Value) -> Value {
    let mut body = json!({ "id": key, "ts": T + n, "event_id": format!("{key}-{n}") });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|w| (*w).to_owned()).collect()
}

impl Case {
    /// A payload in which not even a key can be found; it comes in with a message key all the same.
    fn unreadable(name: &'static str, payload: impl Into<Vec<u8>>, reason: &'static str, about: &[&str]) -> Self {
        Self {
            name,
            table: "things",
            before: Vec::new(),
            bad: Sent { key: Some(name.into()), payload: Some(payload.into()), partition: None },
            after: Vec::new(),
            reason,
            words: words(about),
            record: None,
        }
    }

    /// An event of a record that gets a good event before and one after.
    fn of_record(name: &'static str, table: &'static str, bad: &Value, reason: &'static str, about: &[&str]) -> Self {
        let mut case = Self::unreadable(name, bad.to_string(), reason, about);
        case.table = table;
        case.before = vec![sent(name, &event(name, 0, &json!({ "name": "before" })))];
        case.after = vec![sent(name, &event(name, 9, &json!({ "name": "after" })))];
        case.record = Some((name.to_owned(), json!({ "id": name, "name": "after" })));
        if table == "strict" {
            for good in case.before.iter_mut().chain(&mut case.after) {
                let mut body: Value = serde_json::from_slice(good.payload.as_ref().unwrap()).unwrap();
                body.as_object_mut().unwrap().remove("event_id");
                good.payload = Some(body.to_string().into_bytes());
            }
        }
        case
    }

    /// A bad event with these members besides id, version and event id.
    fn of_value(name: &'static str, bad: &Value, reason: &'static str, about: &[&str]) -> Self {
        Self::of_record(name, "things", &event(name, 5, bad), reason, about)
    }

    /// As [`Case::of_value`], with a number that `serde_json` could not write.
    fn of_number(name: &'static str, member: &str, number: &str, about: &[&str]) -> Self {
        let mut case = Self::of_value(name, &json!({}), "out_of_range", about);
        let text = format!(r#"{{"id":"{name}","ts":{},"event_id":"{name}-5",{}}}"#, T + 5, member.replace('#', number));
        case.bad.payload = Some(text.into_bytes());
        case
    }
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    [unreadable(), keys(), versions(), values(), merges()].concat()
}

fn unreadable() -> Vec<Case> {
    let long = format!("{{\"id\":\"a_payload_too_large_to_keep_is_cut\",\"blob\":\"{}", "x".repeat(100_000));
    let mut cut = Case::unreadable("a_payload_too_large_to_keep_is_cut", long, "undecodable", &["EOF", "line 1"]);
    // Its key too: a quarter of what is kept of a payload.
    cut.bad.key = Some(vec![b'k'; 20_000]);
    let deep = format!(r#"{{"id":"d","ts":{T},"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    vec![
        Case::unreadable("what_is_no_json_is_set_aside", r#"{"id":"x", oops}"#, "undecodable", &["line 1 column 12"]),
        Case::unreadable("json_that_breaks_off_is_set_aside", r#"{"id":"x","ts":1,"#, "undecodable", &["EOF"]),
        Case::unreadable(
            "bytes_that_are_no_text_are_set_aside",
            b"{\"id\":\"\xff\"}",
            "undecodable",
            &["UTF-8 at byte 7"],
        ),
        Case::unreadable("json_that_is_no_object_is_set_aside", "[1,2]", "undecodable", &["sequence", "object"]),
        Case::unreadable("an_empty_payload_is_set_aside", "", "undecodable", &["EOF"]),
        Case::unreadable("nesting_without_end_is_set_aside", deep, "too_deep", &["x", "8 levels"]),
        cut,
    ]
}

fn keys() -> Vec<Case> {
    let keyed = |name, key: Option<&[u8]>, reason, about: &[&str]| {
        let mut case = Case::unreadable(name, json!({ "ts": T, "name": "x" }).to_string(), reason, about);
        case.table = "keyed";
        case.bad.key = key.map(<[u8]>::to_vec);
        case.bad.partition = Some(2);
        case
    };
    let mut tombstone = keyed("a_tombstone_without_a_key_is_set_aside", None, "null_key", &["@key", "no key"]);
    tombstone.bad.payload = None;
    let without = |name, body: Value, reason, about: &[&str]| Case::unreadable(name, body.to_string(), reason, about);
    let long = "k".repeat(70_000);
    let mut misplaced = Case::of_value(
        "an_event_in_the_wrong_partition_is_set_aside",
        &json!({ "name": "misplaced" }),
        "wrong_partition",
        &["an_event_in_the_wrong_partition_is_set_aside", "of 4", "partitioner"],
    );
    misplaced.bad.partition = Some(u32::MAX);
    vec![
        without("an_event_without_a_key_is_set_aside", json!({ "ts": T }), "missing_key", &["id", "no key"]),
        without("a_key_that_is_null_is_set_aside", json!({ "id": null, "ts": T }), "missing_key", &["id", "no key"]),
        without("a_key_that_is_empty_is_set_aside", json!({ "id": "", "ts": T }), "missing_key", &["id", "empty"]),
        without(
            "a_key_that_is_an_object_is_set_aside",
            json!({ "id": {"a": 1}, "ts": T }),
            "wrong_type",
            &["id", r#"{"a":1}"#],
        ),
        without(
            "a_key_that_is_ours_is_set_aside",
            json!({ "id": "\0keld/position", "ts": T }),
            "bad_key",
            &["id", "reserved prefix"],
        ),
        without(
            "a_key_without_measure_is_set_aside",
            json!({ "id": long, "ts": T }),
            "bad_key",
            &["id", "70000 bytes"],
        ),
        keyed("a_message_without_a_key_is_set_aside", None, "null_key", &["@key", "no key"]),
        keyed("a_message_with_an_empty_key_is_set_aside", Some(b""), "missing_key", &["@key", "empty"]),
        keyed("a_message_key_that_is_no_text_is_set_aside", Some(b"\xff\x01"), "bad_key", &["@key", "UTF-8"]),
        keyed(
            "a_message_key_that_is_ours_is_set_aside",
            Some(b"\0keld/position"),
            "bad_key",
            &["@key", "reserved prefix"],
        ),
        tombstone,
        misplaced,
    ]
}

fn versions() -> Vec<Case> {
    let ahead = clock::now_ms() + 2 * 24 * 3_600_000;
    let of =
        |name: &'static str, body: Value, reason, about: &[&str]| Case::of_record(name, "things", &body, reason, about);
    let name = "an_event_id_that_is_a_list_is_set_aside";
    vec![
        of(
            "an_event_without_a_version_is_set_aside",
            json!({ "id": "an_event_without_a_version_is_set_aside", "name": "x" }),
            "missing_version",
            &["ts", "no version"],
        ),
        of(
            "a_version_that_is_a_word_is_set_aside",
            json!({ "id": "a_version_that_is_a_word_is_set_aside", "ts": "yesterday", "name": "x" }),
            "wrong_type",
            &["ts", "yesterday"],
        ),
        of(
            "a_version_far_ahead_is_set_aside",
            json!({ "id": "a_version_far_ahead_is_set_aside", "ts": ahead, "name": "x" }),
            "version_ahead",
            &["ts", &ahead.to_string(), "86400000 ms ahead"],
        ),
        of(name, json!({ "id": name, "ts": T + 5, "event_id": [7], "name": "x" }), "wrong_type", &["event_id", "[7]"]),
    ]
}

fn values() -> Vec<Case> {
    let nested = (0..MAX_DEPTH).fold(json!(1), |inner, _| json!({ "n": inner }));
    let name = "an_undeclared_member_is_set_aside_where_they_are_rejected";
    let undeclared = json!({ "id": name, "ts": T + 5, "name": "x", "colour": "red" });
    vec![
        Case::of_value(
            "a_value_of_another_type_is_set_aside",
            &json!({ "price": "cheap" }),
            "wrong_type",
            &["price", "\"cheap\""],
        ),
        Case::of_value(
            "a_nested_value_of_another_type_is_set_aside",
            &json!({ "name": "x", "stock": { "qty": "many" } }),
            "wrong_type",
            &["stock.qty", "\"many\"", "an integer"],
        ),
        Case::of_value(
            "an_integer_with_a_fraction_is_set_aside",
            &json!({ "stock": { "qty": 1.5 } }),
            "wrong_type",
            &["stock.qty", "1.5"],
        ),
        Case::of_value(
            "nesting_beyond_the_limit_is_set_aside",
            &json!({ "deep": nested }),
            "too_deep",
            &["deep.n.n", "8 levels"],
        ),
        Case::of_number(
            "an_integer_beyond_64_bits_is_set_aside",
            r#""stock":{"qty":#}"#,
            "9223372036854775808",
            &["stock.qty", "9223372036854775808", "64 bits"],
        ),
        Case::of_number(
            "an_integer_beyond_all_bits_is_set_aside",
            r#""stock":{"qty":#}"#,
            "123456789012345678901234567890",
            &["stock.qty", "123456789012345678901234567890", "64 bits"],
        ),
        Case::of_number(
            "a_float_beyond_its_range_is_set_aside",
            r#""price":#"#,
            "1e999",
            &["price", "number out of range"],
        ),
        Case::of_record(name, "strict", &undeclared, "undeclared", &["colour", "no field declares"]),
        endless_name(),
    ]
}

/// The path is most of the message; the message may not make the quarantine record too large.
fn endless_name() -> Case {
    let name = "a_member_with_an_endless_name_is_set_aside";
    let mut bad = json!({ "id": name, "ts": T + 5 });
    bad["n".repeat(500_000)] = json!(1);
    Case::of_record(name, "strict", &bad, "undeclared", &["nnnn"])
}

fn merges() -> Vec<Case> {
    let name = "an_addend_without_an_event_id_is_set_aside";
    let bare = json!({ "id": name, "ts": T + 5, "sold_delta": 3 });
    vec![
        Case::of_record(name, "things", &bare, "missing_event_id", &["event_id", "sold"]),
        sum_overflow(),
        outside_window(),
    ]
}

fn sum_overflow() -> Case {
    let name = "a_sum_that_leaves_64_bits_is_set_aside";
    let add = |n, delta: i64| event(name, n, &json!({ "sold_delta": delta }));
    let mut case = Case::of_record(name, "things", &add(5, 1), "out_of_range", &["sold_delta", "sold", "64 bits"]);
    case.before.push(sent(name, &add(1, i64::MAX)));
    case.after.push(sent(name, &add(6, -7)));
    case.record = Some((name.to_owned(), json!({ "id": name, "name": "after", "sold": i64::MAX - 7 })));
    case
}

/// Refused is the contribution; what else the event says is merged.
fn outside_window() -> Case {
    let name = "an_event_outside_the_window_is_set_aside";
    let add = |n, id: &str| json!({ "id": name, "ts": T + n, "event_id": format!("{name}-{id}"), "sold_delta": 1 });
    let mut late = add(-10, "late");
    late["note"] = json!("merged all the same");
    let mut case = Case::of_record(name, "things", &late, "outside_window", &["sold_delta", "sold", "window"]);
    case.before.extend((20..26).map(|n| sent(name, &add(n, &n.to_string()))));
    case.record =
        Some((name.to_owned(), json!({ "id": name, "name": "after", "sold": 6, "note": "merged all the same" })));
    case
}
