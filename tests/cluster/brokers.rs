//! R3: three brokers, killed hard and rolled, while two instances work. Everything has three replicas, and two of them have
//! what is acknowledged.

use std::time::{Duration, Instant};

use keld::broker::kafka::{KafkaBroker, KafkaOptions};
use keld::broker::{Appender, Broker};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::common::dice::Dice;
use crate::common::kafka::start_kafka;
use crate::common::lab::PATIENCE;
use crate::common::own_kafka::Kafka;
use crate::common::workload::{Delivery, Workload};
use crate::common::{full_scale, report};
use crate::fleet::{Ends, Fleet, shares};

/// Brokers, numbered from 1.
const BROKERS: i32 = 3;

/// What clients are told about the cluster.
pub(crate) struct Watch(BaseConsumer);

/// Partitions by leader, and whether every replica of each is in sync.
struct Seen {
    leaders: Vec<i32>,
    whole: bool,
}

impl Watch {
    pub(crate) fn new(bootstrap: &str) -> Self {
        Self(ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap())
    }

    fn look(&self) -> Option<Seen> {
        let told = self.0.fetch_metadata(None, Duration::from_secs(10)).ok()?;
        let partitions = || told.topics().iter().flat_map(|t| t.partitions());
        let whole = partitions().all(|p| p.replicas().len() == 3 && p.isr().len() == 3 && p.leader() > 0);
        Some(Seen { leaders: partitions().map(|p| p.leader()).collect(), whole: whole && told.brokers().len() == 3 })
    }

    fn wait(&self, what: &str, is: impl Fn(&Seen) -> bool) -> Seen {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = self.look().filter(&is) {
                return seen;
            }
            assert!(Instant::now() < until, "{what}: patience is at its end");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn wait_whole(&self) {
        self.wait("every replica in sync", |seen| seen.whole);
    }

    /// Partitions that the broker leads.
    fn led_by(&self, broker: i32) -> usize {
        self.wait("metadata", |_| true).leaders.iter().filter(|l| **l == broker).count()
    }
}

/// The node that leads the cluster's own log.
fn controller(kafka: &Kafka) -> i32 {
    let told = kafka.run(
        "tool",
        &["org.apache.kafka.tools.MetadataQuorumCommand", "--bootstrap-server", "@", "describe", "--status"],
    );
    let line = told.lines().find_map(|l| l.strip_prefix("LeaderId:"));
    line.unwrap_or_else(|| panic!("{told}")).trim().parse().unwrap()
}

/// Who is struck, and what that takes from the cluster.
#[derive(Default)]
struct Tally {
    kills: usize,
    /// Of these: the controller.
    controllers: usize,
    /// Partitions that lost their leader.
    led: usize,
}

/// The fleet, its brokers, and who appends.
struct Scene {
    kafka: Kafka,
    watch: Watch,
    fleet: Fleet,
    appender: std::sync::Arc<dyn Appender>,
    tally: Tally,
}

impl Scene {
    fn new(kafka: Kafka) -> Self {
        let bootstrap = kafka.start_three();
        let mut options = KafkaOptions::new(bootstrap.clone(), "test");
        // Longer than any election: what is appended here is appended once.
        options.transaction_timeout = Duration::from_secs(60);
        let appender = KafkaBroker::connect(options).unwrap().appender().unwrap();
        let fleet = Fleet::over(bootstrap.clone(), &[]);
        Self { kafka, watch: Watch::new(&bootstrap), fleet, appender, tally: Tally::default() }
    }

    /// Appends `part` while `strike` happens, and waits until it is done and all replicas are in sync.
    fn amid(&mut self, part: &[Delivery], strike: impl FnOnce(&Kafka)) {
        let (first, rest) = part.split_at(part.len() / 3);
        self.fleet.lab.append(&*self.appender, first);
        let (lab, appender, kafka) = (&self.fleet.lab, &*self.appender, &self.kafka);
        std::thread::scope(|scope| {
            scope.spawn(|| lab.append(appender, rest));
            strike(kafka);
        });
        self.watch.wait_whole();
        let ends = self.ends();
        self.fleet.wait_done(&ends, |_| true);
    }

    fn ends(&self) -> Ends {
        self.fleet.lab.ends(&*self.fleet.lab.broker())
    }

    /// SIGKILL of a broker, which may lead the cluster; it comes back when everything that it led has another leader.
    fn kill(&mut self, victim: i32, part: &[Delivery], leads: bool) {
        let led = self.watch.led_by(victim);
        let watch = Watch::new(self.fleet.lab.bootstrap().unwrap());
        self.amid(part, |kafka| {
            kafka.run("kill", &[&victim.to_string()]);
            watch.wait("new leaders", |seen| seen.leaders.iter().all(|l| *l > 0 && *l != victim));
            kafka.run("restart", &[&victim.to_string()]);
        });
        self.tally.kills += 1;
        self.tally.controllers += usize::from(leads);
        self.tally.led += led;
        println!("killed broker {victim}: it led {led} partitions{}", if leads { " and the cluster" } else { "" });
    }
}

#[test]
fn brokers_that_are_killed_and_rolled_lose_nothing() {
    if start_kafka().is_none() {
        return;
    }
    let (kills, events, keys) = if full_scale() { (5, 400_000, 50_000) } else { (2, 30_000, 2_000) };
    let home = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(Kafka::plan(home.path()));
    let workload = Workload::catalog(events, keys, &["--dup", "0.1", "--late", "0.1"]);
    let brokers = usize::try_from(BROKERS).unwrap();
    let parts: Vec<_> = workload.deliveries.chunks(workload.deliveries.len().div_ceil(kills + brokers)).collect();
    let (struck, rolled) = parts.split_at(kills);
    scene.fleet.start(0..2);
    scene.watch.wait_whole();
    let mut dice = Dice::thrown("R3");
    for (number, part) in struck.iter().enumerate() {
        // The controller first, then leaders of partitions, of which the controller may be one.
        let leaders = scene.watch.wait("metadata", |_| true).leaders;
        let controller = controller(&scene.kafka);
        let victim = if number == 0 { controller } else { *dice.one_of(&leaders) };
        scene.kill(victim, part, victim == controller);
    }
    for (broker, part) in (1..=BROKERS).zip(rolled) {
        scene.amid(part, |kafka| drop(kafka.run("restart", &[&broker.to_string()])));
    }
    let Tally { kills, controllers, led } = scene.tally;
    assert!(controllers > 0 && led > 0, "the kills took no leader away");
    let ends = scene.ends();
    let owners = scene.fleet.wait_done(&ends, |owners| shares(owners).len() == 2);
    scene.fleet.compare(&owners, &workload);
    scene.fleet.end(&workload, 0..2);
    report(&format!(
        "R3: three brokers, {kills} SIGKILLs ({controllers} of the controller, {led} partitions lost their leader), then all three \
         rolled, {} deliveries meanwhile: {} records equal, every event once",
        workload.deliveries.len(),
        workload.expected.len()
    ));
}
