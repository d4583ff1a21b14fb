//! Keys and versions, out of slots and message keys.

use super::json::Slot;
use super::message::RawEvent;
use super::typed;
use crate::record::definition::Path;
use crate::record::event::{Reason, Reject};
use crate::record::value::Value;

pub(super) fn message_key(raw: &RawEvent<'_>) -> Result<Vec<u8>, Reject> {
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
    if key.starts_with(crate::record::RESERVED_PREFIX) {
        return Some("the key has the reserved prefix".to_owned());
    }
    let most = crate::record::MAX_KEY_BYTES;
    (key.len() > most).then(|| format!("the key has {} bytes, at most {most} are taken", key.len()))
}

pub(super) fn path_key(path: &Path, slot: &Slot) -> Result<Vec<u8>, Reject> {
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

/// A message key that is the value of the key's only column: JSON text or a number, or just text.
pub(super) fn single_key(path: &Path, key: &[u8]) -> Result<Vec<u8>, Reject> {
    let text = match serde_json::from_slice::<String>(key) {
        Ok(text) => text.into_bytes(),
        Err(_) => key.to_vec(),
    };
    let text = String::from_utf8(text).map_err(|_| Reject {
        reason: Reason::BadKey,
        path: "@key".to_owned(),
        detail: "the message key is not UTF-8".to_owned(),
    })?;
    path_key(path, &Slot::Given(Value::Str(text.into())))
}

pub(super) fn version_part(slot: &Slot) -> Result<i64, (Reason, String)> {
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

/// The integer that stands in a slot, as number or as text.
pub(super) fn integer_of(slot: &Slot) -> Option<i64> {
    match slot {
        Slot::Given(Value::Int(found)) => Some(*found),
        Slot::Given(Value::Str(text)) => typed::integer_text(text)?.ok(),
        _ => None,
    }
}

/// Cuts a found value to 80 characters.
pub(super) fn shorten(text: &str) -> &str {
    text.char_indices().nth(80).map_or(text, |(at, _)| &text[..at])
}
