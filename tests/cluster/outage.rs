//! R4: all three brokers are away for longer than sessions and transactions last. Reads go on, an instance that is started
//! meanwhile waits, and afterwards everything is processed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::brokers::Watch;
use crate::common::kafka::start_kafka;
use crate::common::own_kafka::Kafka;
use crate::common::workload::Workload;
use crate::common::{full_scale, report};
use crate::fleet::{Fleet, SESSION, shares};
use crate::kills::consumed;
use crate::readers::{Readers, Reading, failures};
use crate::standbys::wait_copied;

/// Instances.
const INSTANCES: usize = 3;
/// Brokers, numbered from 1.
const BROKERS: u32 = 3;

#[test]
fn reads_go_on_while_all_brokers_are_away_and_everything_is_processed_afterwards() {
    if start_kafka().is_none() {
        return;
    }
    let (outage, rate, events, keys) =
        if full_scale() { (Duration::from_secs(70), 500, 400_000, 20_000) } else { (SESSION * 2, 200, 40_000, 4_000) };
    let home = tempfile::tempdir().unwrap();
    let kafka = Kafka::plan(home.path());
    let mut fleet = Fleet::over(kafka.start_three(), &[]);
    let workload = Workload::catalog(events, keys, &["--dup", "0.1", "--late", "0.1"]);
    let (first, later) = workload.deliveries.split_at(workload.deliveries.len() * 3 / 4);
    let (amid, later) = later.split_at(later.len() * 9 / 10);
    let changing = [amid, later].concat();
    let mut reading = Reading::of(&workload, &changing, rate);
    // What waits unread makes answers stale, and that is no refusal for want of a broker.
    reading.query = "stale=allow";
    fleet.start(0..INSTANCES);
    let ends = fleet.append(first);
    fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[4, 4, 4]));
    wait_copied(&mut fleet, &ends);

    // With events that nobody has read: instances that could read them stand still until the brokers are gone.
    (0..INSTANCES).for_each(|n| fleet.stall(n));
    fleet.append(amid);
    (1..=BROKERS).for_each(|broker| drop(kafka.run("kill", &[&broker.to_string()])));
    let down = Instant::now();
    (0..INSTANCES).for_each(|n| fleet.wake(n));
    // Through those that stay; the third is killed, and started while there is no broker.
    let readers = Readers::start(&reading, fleet.addresses(|n| n != 2));
    let unread = (first.len() + amid.len()) as u64 - consumed(&fleet);
    assert!(unread > 0, "everything was processed before the brokers were gone");
    fleet.kill(2);
    let mut third = fleet.spawn(2, &[], &[]);
    for number in [0, 1] {
        let trouble = fleet.wait_for("the trouble to be told", |statuses| {
            statuses[&number]["broker"]["trouble"].as_str().map(str::to_owned)
        });
        println!("keld-{number}: {trouble}");
    }
    std::thread::sleep(outage.saturating_sub(down.elapsed()));
    for number in [0, 1] {
        assert_eq!(fleet.client(number).get_any("/health/ready").0, 200, "reads go on");
    }
    assert!(third.child.try_wait().unwrap().is_none(), "it ended instead of waiting: {}", third.stderr());
    third.wait_words("the broker does not answer; waiting for it", 1);
    let away = down.elapsed();
    let reads = readers.stop();
    let bootstrap = kafka.start_three();
    let back = Instant::now();
    Watch::new(&bootstrap).wait_whole();
    third.wait_listening();
    fleet.running.insert(2, third);
    let ends = fleet.append(later);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[4, 4, 4]));
    let resumed = back.elapsed();

    let during: Vec<_> = reads.iter().filter(|r| r.done > down).collect();
    assert_eq!(failures(&reads), BTreeMap::new(), "of {} reads", reads.len());
    // All tasks count as lost by the end of the session: from then on no answer looks like an owner's.
    let late = during.iter().filter(|r| r.done > down + SESSION + SESSION / 2);
    let unlabelled = late.clone().filter(|r| !r.is_labelled()).count();
    assert!(late.count() > 0 && unlabelled == 0, "{unlabelled} answers did not say that they may be old");
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..INSTANCES);
    report(&format!(
        "R4: all {BROKERS} brokers killed for {:.0} s ({unread} events unread), an instance killed and started meanwhile: {} reads \
         by key answered, 0 failed, those after the session's end labelled; {:.1} s after the brokers were back every task had one owner \
         and everything was searchable: {} records equal, every event once",
        away.as_secs_f64(),
        during.len(),
        resumed.as_secs_f64(),
        workload.expected.len()
    ));
}
