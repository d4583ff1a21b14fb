//! How aggregations travel between instances: as a text within JSON, which itself has no form for infinite numbers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::AggPartial;

pub(super) fn serialize<S: Serializer>(aggs: &Option<AggPartial>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = aggs.as_ref().map(|aggs| aggs.encode().map(|bytes| BASE64.encode(bytes)));
    text.transpose().map_err(S::Error::custom)?.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AggPartial>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let bytes = BASE64.decode(text).map_err(D::Error::custom)?;
    AggPartial::decode(&bytes).map(Some).map_err(D::Error::custom)
}
