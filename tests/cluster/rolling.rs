//! R7: all instances restarted one after the other, again and again, while clients read and events arrive. The next one goes as
//! soon as the last one says that it is ready, as an orchestrator does it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::common::kafka::start_kafka;
use crate::common::lab::PATIENCE;
use crate::common::own_kafka::Kafka;
use crate::common::workload::Workload;
use crate::common::{full_scale, report};
use crate::fleet::{Fleet, shares};
use crate::readers::{Outcome, Readers, Reading, failures};
use crate::standbys::wait_copied;

/// Instances.
const INSTANCES: usize = 3;

/// What the broker's coordinator has told of a group.
#[derive(Debug, PartialEq)]
struct Told {
    /// The generation that was agreed upon last.
    generation: u32,
    /// How often it began to share the tasks out.
    rebalances: usize,
    /// How often a static member came back under its name.
    returned: usize,
}

impl Told {
    fn by(kafka: &Kafka, group: &str) -> Self {
        let log = kafka.log();
        let of = |what: &str| log.lines().filter(|l| l.contains(what) && names(l, group)).collect::<Vec<_>>();
        let last = *of("Stabilized group").last().expect("the coordinator tells of the group");
        let generation = last.split(" generation ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        Self {
            generation: generation.parse().unwrap(),
            rebalances: of("Preparing to rebalance group").len(),
            returned: of("Static member with groupInstanceId=")
                .iter()
                .filter(|l| l.contains("Replacing previously mapped member"))
                .count(),
        }
    }
}

/// Whether a line of the broker's log is of this group: names of others may begin alike.
fn names(line: &str, group: &str) -> bool {
    line.split([' ', ',']).any(|word| word == group)
}

#[test]
fn rolls_of_static_members_leave_the_groups_generation_and_every_read_is_answered() {
    if start_kafka().is_none() {
        return;
    }
    let (rolls, rate) = if full_scale() { (3, 500) } else { (1, 200) };
    let home = tempfile::tempdir().unwrap();
    let kafka = Kafka::plan(home.path());
    kafka.start_telling_of_groups();
    // Whoever is replaced comes back within it, however busy the machine is.
    let mut fleet = Fleet::over(kafka.address(), &["broker.session_timeout=20s"]);
    let workload = Workload::catalog(30_000, 4_000, &["--dup", "0.1", "--late", "0.1"]);
    let (first, later) = workload.deliveries.split_at(workload.deliveries.len() - rolls * INSTANCES * 200);
    let mut reading = Reading::of(&workload, later, rate);
    reading.attempts = 2;
    fleet.start(0..INSTANCES);
    let mut ends = fleet.append(first);
    let before = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[4, 4, 4]));
    wait_copied(&mut fleet, &ends);
    let group = fleet.lab.name.clone();
    let told = Told::by(&kafka, &group);
    assert!(told.generation > 0 && told.rebalances > 0, "{told:?}");

    let readers = Readers::start(&reading, fleet.addresses(|_| true));
    let began = Instant::now();
    let mut away = Vec::new();
    for (turn, part) in later.chunks(later.len().div_ceil(rolls * INSTANCES)).enumerate() {
        let number = turn % INSTANCES;
        let since = Instant::now();
        let words = fleet.stop(number);
        assert!(!words.contains("left the group"), "{words}");
        ends = fleet.append(part);
        fleet.start(number..number + 1);
        wait_ready(&fleet, number);
        away.push(since.elapsed());
    }
    let took = began.elapsed();
    let reads = readers.stop();
    let after = fleet.wait_done(&ends, |_| true);
    assert_eq!(after, before, "every task is where it was");
    let now = Told::by(&kafka, &group);
    assert_eq!((now.generation, now.rebalances), (told.generation, told.rebalances), "the group was rebalanced");
    assert_eq!(now.returned - told.returned, rolls * INSTANCES, "restarts that the coordinator has seen");
    assert_eq!(failures(&reads), BTreeMap::new(), "of {} reads with one retry", reads.len());
    let labelled = reads.iter().filter(|r| r.is_labelled()).count();
    assert!(labelled > 0, "nobody was away: no standby has answered");
    let older = reads.iter().filter(|r| matches!(r.outcome, Outcome::Right { older: true, .. })).count();
    fleet.compare(&after, &workload);
    fleet.end(&workload, 0..INSTANCES);
    report(&format!(
        "R7: three static instances rolled {rolls} times in {:.1} s (each ready again after {:.1} s at most): generation {} of the group \
         before and after, {} rebalances meanwhile, {} returns of static members; {} reads with one retry, 0 failed, {labelled} \
         answered by standbys, {older} of them covered less than one before and said so; every task where it was",
        took.as_secs_f64(),
        away.iter().max().unwrap().as_secs_f64(),
        now.generation,
        now.rebalances - told.rebalances,
        now.returned - told.returned,
        reads.len(),
    ));
}

/// Waits until an instance says that the next one may go.
fn wait_ready(fleet: &Fleet, number: usize) {
    let (client, until) = (fleet.client(number), Instant::now() + PATIENCE);
    loop {
        let (status, answer) = client.get_any("/health/ready");
        if status == 200 {
            return;
        }
        assert!(Instant::now() < until, "keld-{number} does not become ready: {answer}\n{}", fleet.stderr(number));
        std::thread::sleep(Duration::from_millis(20));
    }
}
