//! What stands beside the payload: key, headers, timestamp and partition of the message.

use super::json::Slot;
use super::message::RawEvent;
use crate::record::definition::Input;
use crate::record::event::{Reason, Reject};
use crate::record::value::Value;

/// Something beside the payload that a path looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    Key,
    Timestamp,
    Partition,
    Header(Box<str>),
}

impl Beside {
    /// `None` for what is not beside the payload.
    pub(super) fn of(input: Input<'_>) -> Option<Self> {
        match input {
            Input::Key => Some(Beside::Key),
            Input::Timestamp => Some(Beside::Timestamp),
            Input::Partition => Some(Beside::Partition),
            Input::Header(name) => Some(Beside::Header(name.into())),
            Input::Member(_) | Input::Envelope(_) | Input::Unknown => None,
        }
    }
}

/// Fills the slots. What the message lacks stays absent; a header without a value is a null.
pub(super) fn fill(wanted: &[(usize, Beside)], raw: &RawEvent<'_>, slots: &mut [Slot]) -> Result<(), Reject> {
    let mut headers = false;
    for (slot, beside) in wanted {
        slots[*slot] = match beside {
            Beside::Key => raw.key.map_or(Ok(Slot::Absent), |key| text("@key", key))?,
            Beside::Timestamp if raw.timestamp_ms >= 0 => Slot::Given(Value::Int(raw.timestamp_ms)),
            Beside::Partition => Slot::Given(Value::Int(raw.partition.into())),
            Beside::Timestamp => Slot::Absent,
            Beside::Header(_) => {
                headers = true;
                Slot::Absent
            }
        };
    }
    // Headers cost something to read, so only those are asked for them who name one.
    if headers { fill_headers(wanted, raw, slots) } else { Ok(()) }
}

/// Of a repeated header the last one counts, as of a repeated member.
fn fill_headers(wanted: &[(usize, Beside)], raw: &RawEvent<'_>, slots: &mut [Slot]) -> Result<(), Reject> {
    let mut refused = None;
    raw.headers.visit(&mut |name, value| {
        for (slot, _) in wanted.iter().filter(|(_, b)| matches!(b, Beside::Header(held) if **held == *name)) {
            let found = value.map_or(Ok(Slot::Given(Value::Null)), |value| text(&format!("@header.{name}"), value));
            match found {
                Ok(found) => slots[*slot] = found,
                Err(reject) => refused = Some(reject),
            }
        }
    });
    refused.map_or(Ok(()), Err)
}

fn text(path: &str, bytes: &[u8]) -> Result<Slot, Reject> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Slot::Given(Value::Str(text.into()))),
        Err(e) => Err(Reject {
            reason: Reason::WrongType,
            path: path.to_owned(),
            detail: format!("expected text, found invalid UTF-8 at byte {}", e.valid_up_to()),
        }),
    }
}
