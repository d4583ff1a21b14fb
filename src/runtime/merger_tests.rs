use crossbeam_channel::bounded;

use super::*;
use crate::broker::TopicSpec;
use crate::broker::local::{LocalBroker, LocalOptions};
use crate::store::{SharedMemory, SourcePosition};
use crate::task::testing;

struct Bench {
    merger: Merger,
    link: Arc<Link>,
    out: Receiver<ToCommit>,
    shared: SharedMemory,
    dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let table = testing::table(&dir.path().join("index"), 2);
    let broker = LocalBroker::open(&dir.path().join("log"), LocalOptions::default()).unwrap();
    for source in &table.def.sources {
        let spec = TopicSpec {
            name: source.topic.clone(),
            partitions: 2,
            replication: 1,
            compacted: false,
            settings: BTreeMap::new(),
        };
        broker.create_topic(&spec).unwrap();
    }
    let (link, (send, out), (_, control)) = (Arc::new(Link::default()), bounded(16), bounded(16));
    let (cache_bytes, batch_bytes, max_record) = (1 << 20, 1 << 20, 1 << 20);
    let (health, out_of) = (Arc::new(Health::default()), send);
    let parts = MergerParts {
        application: "shop".into(),
        table,
        broker,
        health,
        link: link.clone(),
        control,
        out: out_of,
        cache_bytes,
        batch_bytes,
        max_record,
        registry: None,
        breaker: Arc::new(Breaker::new(0.5)),
        broker_time: BrokerTime::default(),
    };
    Bench { merger: Merger::new(parts).unwrap(), link, out, shared: testing::memory(), dir }
}

impl Bench {
    fn position(&self, next: Offset) -> Position {
        let source = &self.merger.table.def.sources[0];
        let at = SourcePosition { topic: source.topic.clone(), next, ..SourcePosition::default() };
        let mut position = Position::default();
        position.sources.insert(source.name.clone(), at);
        position
    }

    fn add(&mut self, partition: u32, next: Offset, token: &GroupToken) {
        let task = testing::task(self.dir.path(), partition, self.position(next), &self.shared);
        self.merger.add(Box::new(task), token.clone()).unwrap();
    }

    fn release(&mut self, partition: u32) {
        let (done, _) = bounded(1);
        self.merger.release(Release { partitions: vec![partition], lost: true, done }).unwrap();
        while self.out.try_recv().is_ok() {} // the commit thread closes its store
    }

    fn next(&self, partition: u32) -> Offset {
        self.merger.tasks[&partition].next[0]
    }
}

fn token(n: u8) -> GroupToken {
    GroupToken(Arc::new(n))
}

#[test]
fn a_rollback_before_the_commit_thread_knows_a_task_takes_it_back_to_where_it_came() {
    let mut b = bench();
    b.add(0, 3, &token(1));
    b.add(1, 5, &token(1));
    for task in b.merger.tasks.values_mut() {
        task.next = vec![50];
    }
    let known = b.position(7);
    b.link.roll_back(BTreeMap::from([(0, known)]));
    b.merger.follow_commits().unwrap();
    assert_eq!((b.next(0), b.next(1)), (7, 5));
}

#[test]
fn a_task_that_comes_back_does_not_go_to_the_position_of_a_rollback_from_before() {
    let mut b = bench();
    b.add(0, 3, &token(1));
    let before = b.position(4);
    b.link.roll_back(BTreeMap::from([(0, before)]));
    b.release(0);
    b.add(0, 90, &token(1));
    b.merger.follow_commits().unwrap();
    assert_eq!(b.next(0), 90);
}

#[test]
fn a_task_does_not_bring_back_an_older_membership() {
    let mut b = bench();
    b.merger.token = Some(token(2));
    b.add(0, 0, &token(1));
    let kept = b.merger.token.as_ref().and_then(|t| t.0.downcast_ref::<u8>());
    assert_eq!(kept, Some(&2));
}
