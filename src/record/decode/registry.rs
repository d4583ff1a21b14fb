//! What a schema registry has to do with decoding: the prefix of a message, and the schemas that were fetched.

use std::sync::Arc;

use super::avro::WriterSchema;
use super::json::undecodable;
use crate::record::event::Reject;

/// Marks a message that names its schema.
const MAGIC: u8 = 0;
/// Bytes of the mark and of the schema's id.
const PREFIX: usize = 5;

/// What is known of a schema's id.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The schema.
    Known(Arc<WriterSchema>),
    /// The registry has no such schema, or one that is of no use; says which.
    Refused(Arc<str>),
    /// Not asked for yet, or not answered.
    Missing,
}

/// Schemas that were fetched. Looking one up never waits.
pub trait Schemas {
    /// What is known of this id.
    fn schema(&self, id: u32) -> Lookup;
}

/// No schemas, for formats that need none.
impl Schemas for () {
    fn schema(&self, _: u32) -> Lookup {
        Lookup::Missing
    }
}

/// The schema's id and what follows the prefix.
pub(super) fn open(payload: &[u8]) -> Result<(u32, &[u8]), Reject> {
    match payload.split_at_checked(PREFIX) {
        Some(([MAGIC, a, b, c, d], rest)) => Ok((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
        _ => {
            let found: Vec<String> = payload.iter().take(PREFIX).map(|b| format!("{b:02x}")).collect();
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(" ") };
            Err(undecodable(format!(
                "expected the prefix of a schema registry (00 and four bytes of id), found {found}"
            )))
        }
    }
}
