//! Events of any content, one a line, give the same record in any order and any number of times, as far as the window holds them.
#![no_main]

use keld_fuzz::record::{Event, EventKind, Format, Outcome, Record, Strategy, merge};
use keld_fuzz::{decode, encoded, everything};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut def = everything(Format::Json);
    // Within the window order does not matter; without limits nothing is pushed out.
    def.window.events = 64;
    def.window.time_ms = i64::MAX;
    def.fields.iter_mut().for_each(|field| field.limit = 100_000);
    let mut events: Vec<Event> =
        data.split(|b| *b == b'\n').take(12).flat_map(|line| decode(Format::Json, line, &())).collect();
    // Ids that come again with other content, and sums out of range, are judged in the order they come.
    events.retain(|event| match &event.kind {
        EventKind::Delete => true,
        EventKind::Upsert { declared, .. } => !declared.iter().any(|(at, _)| def.fields[*at].merge == Strategy::Sum),
    });
    events.sort_by_key(|event| (event.source, event.id));
    events.dedup_by_key(|event| (event.source, event.id, event.id.is_none().then_some(event.stamp.version)));
    let run = |events: &mut dyn Iterator<Item = &Event>| {
        let mut record = Record::default();
        let outcomes: Vec<Outcome> = events.map(|event| merge(&def, &mut record, event).outcome).collect();
        (encoded(&record), outcomes)
    };
    let (one, outcomes) = run(&mut events.iter());
    if outcomes.contains(&Outcome::Quarantined) {
        return;
    }
    let (other, backwards) = run(&mut events.iter().rev());
    if !backwards.contains(&Outcome::Quarantined) {
        assert_eq!(one, other, "{events:?}");
    }
    let (twice, again) = run(&mut events.iter().chain(&events));
    if !again.contains(&Outcome::Quarantined) {
        assert_eq!(one, twice, "{events:?}");
    }
});
