//! Decisions at the start of a task, from facts alone. Pure: no input or output.

use std::collections::BTreeMap;

use crate::broker::{Offset, Watermarks};
use crate::config::OnGap;
use crate::record::{SourceDef, TableDef};
use crate::store::{Position, SourcePosition};
use crate::{Error, Kind, Result};

/// What the changelog must be read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestorePlan {
    /// First offset to read.
    pub from: Offset,
    /// High watermark to pass.
    pub to: Offset,
}

/// Decides what to restore. The store may never cover more than the changelog holds: then the changelog was truncated or
/// made anew, and going on would publish a record set that nothing backs (`INV-STORE-1`).
pub fn restore(task: &str, stored: Offset, changelog: Watermarks) -> Result<RestorePlan> {
    if stored > changelog.high {
        return Err(Error::new(
            Kind::ChangelogMismatch,
            format!(
                "{task}: the store covers its changelog up to offset {stored}, but the changelog ends at {}: it was truncated or made anew",
                changelog.high
            ),
        )
        .advise("bring the changelog back, or start with --rebuild to take the changelog as the truth and drop the store"));
    }
    if stored > 0 && stored < changelog.low {
        return Err(Error::new(
            Kind::ChangelogMismatch,
            format!(
                "{task}: the store covers its changelog up to offset {stored}, but the changelog now begins at {}: what lies between is gone",
                changelog.low
            ),
        )
        .advise("is cleanup.policy of the changelog \"compact\"? start with --rebuild to restore from what is there"));
    }
    Ok(RestorePlan { from: stored.max(changelog.low), to: changelog.high })
}

/// Whether an index can be brought up to the store by reading the changelog between the two, or must be fed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexRepair {
    /// Nothing to do.
    None,
    /// Read the changelog from here to the store's position and renew every key in it.
    Gap(Offset),
    /// Feed every record.
    Whole,
}

/// Decides how the index catches up. `covered`: what the index shows of this task, `None` if it is empty.
pub fn index_repair(covered: Option<Offset>, store: Offset, changelog_low: Offset) -> IndexRepair {
    match covered {
        Some(at) if at == store => IndexRepair::None,
        // A key that was deleted and compacted away in between would stay in the index for ever.
        Some(at) if at < changelog_low => IndexRepair::Whole,
        // It had nothing, or was being fed when it ended: the store is read faster than the changelog from its start.
        Some(0) => IndexRepair::Whole,
        Some(at) if at < store => IndexRepair::Gap(at),
        None if store == 0 => IndexRepair::None,
        _ => IndexRepair::Whole,
    }
}

/// Where a source is to be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Position to read from.
    pub next: Offset,
    /// Events that retention took.
    pub gap: u64,
}

/// Decides where each source continues. Offsets say nothing about another topic than the one they were counted in.
pub fn starts(
    task: &str,
    def: &TableDef,
    position: Option<&Position>,
    logs: &BTreeMap<String, Watermarks>,
    on_gap: OnGap,
) -> Result<BTreeMap<String, Start>> {
    let of = |s: &SourceDef| -> Result<(String, Start)> {
        let log = logs.get(&s.name).ok_or_else(|| Error::internal(format!("{task}: no watermarks of {}", s.name)))?;
        if let Some(read) = position.and_then(|p| p.sources.get(&s.name)).filter(|read| read.topic != s.topic) {
            return Err(other_topic(task, s, &read.topic));
        }
        Ok((s.name.clone(), start(task, &s.topic, position.and_then(|p| p.next(&s.name)), *log, on_gap)?))
    };
    def.sources.iter().map(of).collect()
}

fn other_topic(task: &str, source: &SourceDef, read: &str) -> Error {
    let SourceDef { name, topic, .. } = source;
    Error::refused(format!(
        "{task}: source {name:?} was read from topic {read:?} before, and its topic is now {topic:?}"
    ))
    .advise(
        "change it back; or give the source another name, so that the new topic is read from its start (events that it \
             repeats count again in fields that accumulate); or use a new application name to read everything again",
    )
}

/// Decides where a topic, read up to `next` before, continues.
pub fn start(task: &str, topic: &str, next: Option<Offset>, log: Watermarks, on_gap: OnGap) -> Result<Start> {
    let Some(next) = next else {
        return Ok(Start { next: log.low, gap: 0 });
    };
    if next > log.high {
        return Err(Error::refused(format!(
            "{task}: topic {topic:?} was read up to offset {next}, but it ends at {}: it was truncated or made anew",
            log.high
        ))
        .advise("bring the topic back, or use a new application name to read it from its start"));
    }
    if next >= log.low {
        return Ok(Start { next, gap: 0 });
    }
    let gap = log.low.abs_diff(next);
    match on_gap {
        OnGap::Continue => Ok(Start { next: log.low, gap }),
        OnGap::Stop => Err(Error::refused(format!(
            "{task}: retention took {gap} events of topic {topic:?}: it now begins at offset {}, {next} was to be read next",
            log.low
        ))
        .advise("set processing.on_gap = \"continue\" to go on without them (they are counted), or bring them back")),
    }
}

/// The position from which a task runs: what is stored, with its sources' starts.
pub fn position(def: &TableDef, stored: Option<Position>, starts: &BTreeMap<String, Start>, writer: &str) -> Position {
    let mut position = stored.unwrap_or_default();
    writer.clone_into(&mut position.writer);
    for source in &def.sources {
        let Some(start) = starts.get(&source.name) else { continue };
        let entry = position
            .sources
            .entry(source.name.clone())
            .or_insert_with(|| SourcePosition { topic: source.topic.clone(), ..SourcePosition::default() });
        entry.next = start.next;
        entry.gap += start.gap;
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn log(low: Offset, high: Offset) -> Watermarks {
        Watermarks { low, high, stable: high }
    }

    #[test]
    fn a_restore_reads_from_the_store_to_the_high_watermark() {
        assert_eq!(restore("t", 7, log(0, 20)).unwrap(), RestorePlan { from: 7, to: 20 });
        assert_eq!(restore("t", 0, log(5, 20)).unwrap(), RestorePlan { from: 5, to: 20 });
        assert_eq!(restore("t", 20, log(0, 20)).unwrap(), RestorePlan { from: 20, to: 20 });
    }

    #[test]
    fn a_changelog_that_is_shorter_than_the_store_or_lost_its_front_is_refused() {
        for (stored, changelog) in [(21, log(0, 20)), (1, log(0, 0)), (3, log(5, 20))] {
            assert_eq!(restore("t", stored, changelog).unwrap_err().kind(), Kind::ChangelogMismatch);
        }
    }

    #[test]
    fn a_source_goes_on_where_it_was_and_never_at_the_offset_of_another_topic() {
        let def = crate::index::testing::def();
        let source = &def.sources[0];
        let logs: BTreeMap<String, Watermarks> = def.sources.iter().map(|s| (s.name.clone(), log(0, 100))).collect();
        let read_from = |topic: &str| {
            let read = SourcePosition { topic: topic.to_owned(), next: 42, ..SourcePosition::default() };
            let mut position = Position::default();
            position.sources.insert(source.name.clone(), read);
            position
        };
        let starts = |position: Option<&Position>| starts("t", &def, position, &logs, OnGap::Stop);
        assert_eq!(starts(Some(&read_from(&source.topic))).unwrap()[&source.name], Start { next: 42, gap: 0 });
        assert_eq!(starts(None).unwrap()[&source.name], Start { next: 0, gap: 0 });
        let refused = starts(Some(&read_from("another"))).unwrap_err();
        assert_eq!(refused.kind(), Kind::Refused);
        assert!(refused.to_string().contains("\"another\""), "{refused}");
    }

    #[test]
    fn an_index_is_repaired_from_the_gap_and_fed_whole_when_the_gap_cannot_be_read() {
        assert_eq!(index_repair(Some(9), 9, 0), IndexRepair::None);
        assert_eq!(index_repair(None, 0, 0), IndexRepair::None);
        assert_eq!(index_repair(Some(4), 9, 0), IndexRepair::Gap(4));
        assert_eq!(index_repair(Some(4), 9, 5), IndexRepair::Whole);
        assert_eq!(index_repair(None, 9, 0), IndexRepair::Whole);
        assert_eq!(index_repair(Some(12), 9, 0), IndexRepair::Whole);
        assert_eq!(index_repair(Some(0), 9, 0), IndexRepair::Whole);
        assert_eq!(index_repair(Some(0), 0, 0), IndexRepair::None);
    }
}
