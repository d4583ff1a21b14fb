//! Faults on the way to Kafka: requests and answers that are lost, late, swallowed, or say an error, each at another kind
//! of request of the commit protocol. After every one of them the instance goes on by itself, and in the end every record
//! is right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keld::broker::{Appender, Broker};

use crate::common::dice::Dice;
use crate::common::kafka::start_kafka;
use crate::common::lab::{Instance, Lab, On, PATIENCE};
use crate::common::own_kafka::Kafka;
use crate::common::report;
use crate::common::workload::{Delivery, Workload};
use crate::proxy::{Api, Fault, Proxy, Rule};
use crate::setting::{CONFIG, exact, workload};

/// Long enough to overlap with several commits.
const LATE: Fault = Fault::Delay(Duration::from_millis(400));
const SILENCE: Fault = Fault::Silence(Duration::from_secs(2));

/// Kafka's numbers of errors.
mod error {
    pub(super) const REQUEST_TIMED_OUT: i16 = 7;
    pub(super) const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    pub(super) const NOT_COORDINATOR: i16 = 16;
    pub(super) const ILLEGAL_GENERATION: i16 = 22;
    pub(super) const UNKNOWN_MEMBER_ID: i16 = 25;
    pub(super) const REBALANCE_IN_PROGRESS: i16 = 27;
    pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
    pub(super) const CONCURRENT_TRANSACTIONS: i16 = 51;
    pub(super) const PRODUCER_FENCED: i16 = 90;
}

/// Answers among them after which a transaction cannot be committed: two of `EndTxn`, one of `TxnOffsetCommit`.
const ENDING: u64 = 3;

/// Every fault that makes sense for each kind of request.
fn rules() -> Vec<Rule> {
    use Fault::{Answer, LoseAnswer, LoseRequest};
    let of = |api: Api, faults: &[Fault]| faults.iter().map(|&fault| Rule { api, fault }).collect::<Vec<_>>();
    [
        of(Api::Produce, &[LoseRequest, LoseAnswer, LATE, SILENCE, Answer(error::REQUEST_TIMED_OUT)]),
        of(Api::Fetch, &[LoseRequest, LoseAnswer, LATE, SILENCE]),
        of(
            Api::Heartbeat,
            &[
                LoseAnswer,
                Answer(error::REBALANCE_IN_PROGRESS),
                Answer(error::UNKNOWN_MEMBER_ID),
                Answer(error::ILLEGAL_GENERATION),
            ],
        ),
        of(Api::AddPartitionsToTxn, &[LoseRequest, LoseAnswer, LATE, Answer(error::CONCURRENT_TRANSACTIONS)]),
        of(Api::AddOffsetsToTxn, &[LoseRequest, LoseAnswer, LATE, Answer(error::NOT_COORDINATOR)]),
        of(
            Api::TxnOffsetCommit,
            &[LoseRequest, LoseAnswer, LATE, Answer(error::NOT_COORDINATOR), Answer(error::ILLEGAL_GENERATION)],
        ),
        of(
            Api::EndTxn,
            &[
                LoseRequest,
                LoseAnswer,
                LATE,
                SILENCE,
                Answer(error::COORDINATOR_NOT_AVAILABLE),
                Answer(error::INVALID_PRODUCER_EPOCH),
                Answer(error::PRODUCER_FENCED),
            ],
        ),
    ]
    .concat()
}

/// Events, of which a little is sent at a time.
struct Feed<'a> {
    lab: &'a Lab,
    appender: Arc<dyn Appender>,
    left: &'a [Delivery],
}

impl Feed<'_> {
    /// Sends the next ones; fewer at the end.
    fn send(&mut self, most: usize) {
        let (now, later) = self.left.split_at(most.min(self.left.len()));
        self.lab.append(&*self.appender, now);
        self.left = later;
    }
}

/// Sends events until the armed rule has met its request.
fn until_fired(proxy: &Proxy, rule: Rule, feed: &mut Feed<'_>, instance: &mut Instance) {
    let until = Instant::now() + PATIENCE;
    proxy.arm(rule);
    while !proxy.fired() {
        assert!(Instant::now() < until, "no request for {rule:?}\n{}", instance.stderr());
        assert_eq!(instance.child.try_wait().unwrap(), None, "{rule:?}\n{}", instance.stderr());
        feed.send(if rule.api == Api::Heartbeat { 5 } else { 100 });
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_fault_on_the_way_to_kafka_loses_or_doubles_anything() {
    if start_kafka().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (kafka, proxy) = (Kafka::plan(home.path()), Proxy::start());
    proxy.lead_to(kafka.start_behind(proxy.port));
    let lab = behind(&proxy);
    let all: Workload = workload(120_000, 0);
    let mut instance = lab.start();
    let broker = kafka.connect();
    let mut feed = Feed { lab: &lab, appender: broker.appender().unwrap(), left: &all.deliveries };
    let (mut rules, mut dice, mut times) = (rules(), Dice::thrown("faults on the way to Kafka"), BTreeMap::new());
    let count = rules.len();
    feed.send(2_000);
    instance.wait_caught_up(&lab.ends(&*broker));
    while !rules.is_empty() {
        let rule = rules.swap_remove(dice.place(rules.len()));
        until_fired(&proxy, rule, &mut feed, &mut instance);
        let since = Instant::now();
        instance.wait_caught_up(&lab.ends(&*broker));
        times.insert(since.elapsed(), rule);
    }
    feed.send(usize::MAX);
    let ends = lab.ends(&*broker);
    instance.wait_caught_up(&ends);
    let rollbacks = rolled_back(&instance);
    // Answers that end a transaction must roll it back, and those that end a membership make the group settle anew: they were heard.
    let settled = instance.stderr().matches("the group has settled").count();
    assert!(rollbacks >= ENDING, "{rollbacks} of {count} faults rolled a commit back, of {ENDING} that must");
    assert!(settled > 1, "the group has settled {settled} times: no word about the membership was heard");
    exact(&lab, instance, &all, &ends);
    let (longest, rule) = times.last_key_value().unwrap();
    report(&format!(
        "{count} faults on the way to Kafka, {rollbacks} rollbacks, the group settled {settled} times, all exact; longest to recover {longest:?}: {rule:?}"
    ));
}

fn rolled_back(instance: &Instance) -> u64 {
    let (_, text) = instance.client().try_get("/metrics").unwrap();
    let found = text.lines().find_map(|l| l.strip_prefix("keld_commit_aborts_total "));
    found.unwrap_or_else(|| panic!("no keld_commit_aborts_total in /metrics")).parse().unwrap()
}

/// A laboratory whose instance reaches Kafka through `proxy`.
fn behind(proxy: &Proxy) -> Lab {
    let mut lab = Lab::with_config(On::Local, CONFIG);
    lab.sets.push("broker.kind=kafka".into());
    lab.sets.push(format!("broker.bootstrap_servers=127.0.0.1:{}", proxy.port));
    lab.sets.push("topics.create_sources=true".into());
    lab.sets.push("broker.session_timeout=6s".into());
    lab
}
