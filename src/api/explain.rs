//! `explain=true` on a record: why it is what it is, as far as what is kept tells.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

use crate::config;
use crate::record::explain::{Explanation, Field, Held, HeldBase, HeldEvent, Origin};
use crate::record::{Value, Version};

/// What no record keeps, said in every explanation.
const NOT_KEPT: [&str; 4] = [
    "values that were superseded or lost a tie, but those of `first` fields in the window (`lost_ties`)",
    "which event wrote a cell: its version and its source's rank are kept, so `sources` names all that have this rank now",
    "event ids: journals keep 64-bit hashes of them (xxh3, 16 hex digits)",
    "single contributions that left the window: they are folded",
];

/// Why a record is what it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(crate) struct ExplainDto {
    /// Version of the newest delete: what is not newer is gone, and stays away. Null if there was none.
    #[schema(example = json!([1_700_000_000_000_i64]))]
    tombstone: Option<Vec<i64>>,
    /// Event time, milliseconds: when the task's watermark (`watermark_ms` of the status) has passed it, the tombstone goes, and what
    /// is older may come back. Null if there is none, or it stays for ever.
    tombstone_until_ms: Option<i64>,
    /// Event time, milliseconds: when the watermark has passed it the record goes, if nothing newer comes. Null if it stays.
    record_until_ms: Option<i64>,
    /// Fields of which something is kept: declared ones by name, then dynamic members by name.
    fields: Vec<FieldDto>,
    /// What journals hold, by source: contributions to `sum`, `count`, `first` and `append` fields.
    journals: BTreeMap<String, JournalDto>,
    /// What became of each derived field, by name.
    derived: BTreeMap<String, ExplainedDerivedDto>,
    /// What is not kept, and so cannot be told.
    not_kept: Vec<&'static str>,
}

/// What became of a derived field.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedDerivedField)]
struct ExplainedDerivedDto {
    /// Its value; null where its expression says so, or there is an error.
    #[schema(value_type = serde_json::Value)]
    value: Json,
    /// Why it cannot be computed from this record, which is shown without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why a field is what it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExplainedField)]
struct FieldDto {
    /// Name.
    name: String,
    /// How its values are merged; `lww` for dynamic members.
    merge: &'static str,
    /// Up to which version a null for the whole field cleared it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cleared_to: Option<Vec<i64>>,
    /// Rank of the source of that null, where the strategy looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cleared_by_rank: Option<i32>,
    /// The winner; for a `map` one for each key, for a `set` for each member, for `max` and `min` the extreme and then what a
    /// delete would uncover, for an `append` each value. Empty for sums and counts, of which `journals` tells.
    from: Vec<OriginDto>,
}

/// Where a value comes from.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Origin)]
struct OriginDto {
    /// Key of a map.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The value; null where a null cleared it.
    #[schema(value_type = serde_json::Value)]
    value: Json,
    /// Version of the event, in one or two parts.
    version: Vec<i64>,
    /// Rank of its source; null for `max` and `min`, which do not keep it.
    rank: Option<i32>,
    /// The source it comes from; several, or none, where what is kept does not tell.
    sources: Vec<String>,
    /// Hashes of ids of events that journals hold of these sources at this version: the event is one of them if it
    /// contributed to a `sum`, `count`, `first` or `append` field.
    events: Vec<String>,
    /// Values that lost to it by a tie; null where such are not kept.
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    lost_ties: Option<Vec<Json>>,
}

/// What the journal of one source holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Journal)]
struct JournalDto {
    /// What left the window, folded; null if nothing did.
    base: Option<BaseDto>,
    /// Events in the window, lowest first.
    events: Vec<EventDto>,
}

/// Contributions that left the window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JournalBase)]
struct BaseDto {
    /// Lowest version folded.
    lowest: Vec<i64>,
    /// Highest version folded: a contribution that is not above it and not held is refused as outside the window.
    highest: Vec<i64>,
    /// Hash of the id of the event at the highest version.
    highest_event: Option<String>,
    /// What they come to, by field.
    #[schema(value_type = Object)]
    folded: BTreeMap<String, Json>,
}

/// An event in the window.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JournalEvent)]
struct EventDto {
    /// Version.
    version: Vec<i64>,
    /// Hash of its id; null for all events without an id at this version.
    event: Option<String>,
    /// What it contributes, by field; what a null cleared is listed, too.
    #[schema(value_type = Object)]
    contributions: BTreeMap<String, Json>,
}

impl From<Explanation> for ExplainDto {
    fn from(of: Explanation) -> Self {
        Self {
            tombstone: of.tombstone.map(parts),
            tombstone_until_ms: of.tombstone_due,
            record_until_ms: of.record_due,
            fields: of.fields.into_iter().map(field).collect(),
            journals: of.journals.into_iter().map(|(source, held)| (source, journal(held))).collect(),
            derived: of.derived.into_iter().map(|(name, value)| (name, derived(value))).collect(),
            not_kept: NOT_KEPT.to_vec(),
        }
    }
}

fn derived(of: Result<Option<Value>, String>) -> ExplainedDerivedDto {
    match of {
        Ok(value) => ExplainedDerivedDto { value: value.map_or(Json::Null, |value| value.to_json()), error: None },
        Err(why) => ExplainedDerivedDto { value: Json::Null, error: Some(why) },
    }
}

fn field(of: Field) -> FieldDto {
    FieldDto {
        name: of.name,
        merge: config::strategy_word(of.merge),
        cleared_to: of.cleared.map(|(version, _)| parts(version)),
        cleared_by_rank: of.cleared.and_then(|(_, rank)| rank),
        from: of.origins.into_iter().map(origin).collect(),
    }
}

fn origin(of: Origin) -> OriginDto {
    OriginDto {
        key: of.key,
        value: of.value.to_json(),
        version: parts(of.version),
        rank: of.rank,
        sources: of.sources,
        events: of.events.into_iter().map(hash).collect(),
        lost_ties: of.lost_ties.map(|lost| lost.iter().map(Value::to_json).collect()),
    }
}

fn journal(of: Held) -> JournalDto {
    JournalDto { base: of.base.map(base), events: of.events.into_iter().map(event).collect() }
}

fn base(of: HeldBase) -> BaseDto {
    BaseDto {
        lowest: parts(of.lowest),
        highest: parts(of.highest),
        highest_event: of.highest_event.map(hash),
        folded: by_name(of.folded),
    }
}

fn event(of: HeldEvent) -> EventDto {
    EventDto { version: parts(of.version), event: of.event.map(hash), contributions: by_name(of.contributions) }
}

fn by_name(values: Vec<(String, Value)>) -> BTreeMap<String, Json> {
    values.into_iter().map(|(name, value)| (name, value.to_json())).collect()
}

/// A version in one part, or in two where the second is not 0.
fn parts(version: Version) -> Vec<i64> {
    if version.minor == 0 { vec![version.major] } else { vec![version.major, version.minor] }
}

fn hash(id: u64) -> String {
    format!("{id:016x}")
}
