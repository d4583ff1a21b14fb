//! Reads how long a table's tombstones and records stay: settings in event time, which sequences do not have.

use std::time::Duration;

use super::parse::{choice, duration};
use super::section::{Parsed, Section};
use super::tables::{Item, is_sequence, to_ms};
use super::tree::{Data, Node};
use crate::record::{BeyondHorizon, Retention, SourceDef, Ttl, TtlFrom};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Settings that need event time.
const TIMED: [&str; 4] = ["tombstone_horizon", "beyond_horizon", "ttl", "idle_after"];

pub(super) fn retention(s: &Section<'_>, sources: &[Item<'_, SourceDef>]) -> Retention {
    let timeless = sources.iter().find(|item| item.def.max_ahead_ms.is_none());
    let horizon = s.get("tombstone_horizon", or_off);
    let words = [("accept", BeyondHorizon::Accept), ("refuse", BeyondHorizon::Refuse)];
    let beyond_horizon = s.or("beyond_horizon", BeyondHorizon::Accept, choice("choice", &words));
    let ttl = ttl(s);
    let idle_after = s.get("idle_after", or_off).flatten();
    if let Some(item) = timeless {
        let asks = [
            matches!(horizon, Some(Some(_))),
            beyond_horizon == BeyondHorizon::Refuse,
            ttl.is_some(),
            idle_after.is_some(),
        ];
        let name = &item.def.name;
        let why = if is_sequence(&item.section) {
            format!("needs versions that are times, and those of source {name:?} are a sequence: its tombstones stay")
        } else {
            format!("needs max_ahead in source {name:?}: without it one wrong clock would end everything")
        };
        TIMED.iter().zip(asks).filter(|(_, asked)| *asked).for_each(|(setting, _)| s.wrong(setting, why.as_str()));
        return Retention::default();
    }
    let tombstone_horizon_ms = horizon.unwrap_or(Some(to_ms(DAY * 7)));
    if tombstone_horizon_ms.is_none() && beyond_horizon == BeyondHorizon::Refuse {
        s.wrong("beyond_horizon", "\"refuse\" needs a tombstone_horizon, which is off");
    }
    if tombstone_horizon_ms.is_none() && ttl.is_some_and(|ttl| ttl.from == TtlFrom::Released) {
        s.wrong("ttl", "from = \"released\" needs a tombstone_horizon, which is off: what was cleared could come back");
    }
    let retention = Retention { tombstone_horizon_ms, beyond_horizon, ttl, idle_after_ms: idle_after };
    if idle_after.is_some() && !retention.is_active() {
        s.wrong("idle_after", "moves what tombstone_horizon and ttl go by, and neither is set");
    }
    retention
}

fn ttl(table: &Section<'_>) -> Option<Ttl> {
    let given = table.given("ttl");
    let s = table.sub("ttl");
    if !given || !table.sound(&["ttl"]) {
        return None;
    }
    let words = [("released", TtlFrom::Released), ("version", TtlFrom::Version)];
    let from = s.need(
        "from",
        "\"version\" (all records) or \"released\" (those with nothing to show)",
        choice("choice", &words),
    );
    let after = s.need(
        "after",
        "how long after a record's highest version it ends, such as \"30d\"",
        duration(SECOND..=DAY * 3650),
    );
    s.finish();
    Some(Ttl { from: from?, after_ms: to_ms(after?) })
}

fn or_off(node: &Node) -> Parsed<Option<i64>> {
    match &node.data {
        Data::Text(t) | Data::Loose(t) if t == "off" => Ok(None),
        _ => match duration(SECOND..=DAY * 3650)(node) {
            Ok(d) => Ok(Some(to_ms(d))),
            Err(what) => Err(format!("{what} (or \"off\")")),
        },
    }
}
