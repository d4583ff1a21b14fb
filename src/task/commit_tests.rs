use super::*;
use crate::metrics::Metrics;
use crate::store::SourcePosition;
use crate::task::batch::Moved;
use crate::task::testing;

/// Notes what it is told.
#[derive(Default)]
struct Noted {
    calls: Vec<String>,
    /// Records that it takes before it fails.
    room: Option<usize>,
}

impl TransactionalProducer for Noted {
    fn begin(&mut self) -> Result<()> {
        self.calls.push("begin".into());
        Ok(())
    }

    fn send(&mut self, record: &NewRecord) -> Result<()> {
        if self.room.replace(self.room.unwrap_or(100).saturating_sub(1)) == Some(0) {
            return Err(Error::internal("full"));
        }
        let key = record.key.clone().unwrap_or_default();
        let payload = record.payload.as_deref().unwrap_or(b"-");
        let said =
            if key == POSITION_KEY { "position".into() } else { String::from_utf8([&key, payload].concat()).unwrap() };
        self.calls.push(format!("{}:{said}", record.partition));
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.calls.push("drain".into());
        Ok(())
    }

    fn send_offsets(&mut self, positions: &[(TopicPartition, Offset)], _: &GroupToken) -> Result<()> {
        let all: Vec<_> = positions.iter().map(|(tp, offset)| format!("{}@{offset}", tp.partition)).collect();
        self.calls.push(format!("offsets {}", all.join(" ")));
        Ok(())
    }

    fn commit(&mut self) -> Result<Vec<(TopicPartition, Offset)>> {
        self.calls.push("commit".into());
        Ok([0, 1].map(|partition| (TopicPartition::new("changelog", partition), 9)).into())
    }

    fn abort(&mut self) -> Result<()> {
        unreachable!("a transaction is ended by the next producer of its id")
    }
}

struct Scene {
    protocol: Protocol,
    tasks: BTreeMap<u32, Task>,
    _dir: tempfile::TempDir,
}

/// Two tasks; a third partition is elsewhere.
fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let (table, shared) = (testing::table(&dir.path().join("index"), 3), testing::memory());
    let mut position = Position::default();
    position.sources.insert("events".into(), SourcePosition { topic: "events".into(), ..SourcePosition::default() });
    let tasks = [0, 1].map(|p| (p, testing::task(dir.path(), p, position.clone(), &shared))).into();
    let protocol = Protocol {
        table,
        group: "shop".into(),
        changelog: "changelog".into(),
        metrics: Metrics::new(),
        quarantine: Box::new(|_| unreachable!("nothing is set aside")),
    };
    Scene { protocol, tasks, _dir: dir }
}

/// Changes by partition, key and state; `-` is no state.
fn batch(seq: u64, changes: &[(u32, &str, &str)]) -> Batch {
    let mut tasks = BTreeMap::<u32, TaskBatch>::new();
    for (partition, key, state) in changes {
        let task = tasks.entry(*partition).or_default();
        let stored = (*state != "-").then(|| Arc::from(state.as_bytes()));
        task.changes.push(Change {
            key: key.as_bytes().into(),
            visible: stored.is_some(),
            stored,
            existed: false,
            sent: false,
        });
        task.moved = BTreeMap::from([(0, Moved { next: Some(i64::try_from(seq).unwrap() * 10), ..Moved::default() })]);
    }
    let token = GroupToken(Arc::new(()));
    let (quarantined, misplaced) = (Vec::new(), Vec::new());
    Batch {
        seq,
        epoch: 0,
        token,
        tasks,
        quarantined,
        misplaced,
        bytes: 0,
        oldest_ms: i64::MAX,
        behind: None,
        presses: false,
    }
}

impl Scene {
    fn transact(&self, producer: &mut Noted, batch: Batch, begun: bool) -> Staged {
        let mut staged = stage(&self.protocol.table.def, &self.tasks, batch);
        let written = self.protocol.transact(producer, &mut staged, begun).unwrap();
        assert!(staged.tasks.iter().all(|t| written.get(&t.partition) == Some(&10)));
        staged
    }
}

#[test]
fn what_is_produced_ahead_is_produced_again_only_where_it_changed_and_positions_stand_last() {
    let (s, mut producer) = (scene(), Noted::default());
    let mut batch_1 = batch(1, &[(0, "a", "1"), (0, "b", "1"), (1, "c", "1"), (2, "elsewhere", "1")]);
    assert!(s.protocol.ahead(&mut producer, &s.tasks, &mut batch_1).unwrap());
    assert_eq!(producer.calls, ["begin", "0:a1", "0:b1", "1:c1"]);
    producer.calls.clear();

    batch_1.absorb(batch(2, &[(0, "b", "2"), (0, "d", "2")]));
    batch_1.absorb(batch(3, &[(0, "a", "-")]));
    let staged = s.transact(&mut producer, batch_1, true);
    let expected = ["0:a-", "0:b2", "0:d2", "0:position", "1:position", "drain", "offsets 0@30 1@10", "commit"];
    assert_eq!(producer.calls, expected);
    // The store gets every change, whenever it was produced.
    let of = |t: &StagedTask| {
        t.changes.iter().map(|c| (c.key.to_vec(), c.stored.as_deref().map(<[u8]>::to_vec))).collect::<Vec<_>>()
    };
    let (none, two) = (None, Some(b"2".to_vec()));
    let first = [("a", none), ("b", two.clone()), ("d", two)].map(|(k, v)| (k.as_bytes().to_vec(), v));
    assert_eq!(of(&staged.tasks[0]), first);
    assert_eq!(of(&staged.tasks[1]), [(b"c".to_vec(), Some(b"1".to_vec()))]);
}

#[test]
fn without_anything_ahead_the_same_is_produced_at_once() {
    let (s, mut producer) = (scene(), Noted::default());
    s.transact(&mut producer, batch(1, &[(0, "b", "1"), (0, "a", "-")]), false);
    assert_eq!(producer.calls, ["begin", "0:a-", "0:b1", "0:position", "drain", "offsets 0@10", "commit"]);
}

#[test]
fn nothing_is_begun_for_tasks_that_are_elsewhere() {
    let (s, mut producer) = (scene(), Noted::default());
    assert!(!s.protocol.ahead(&mut producer, &s.tasks, &mut batch(1, &[(2, "a", "1")])).unwrap());
    assert!(producer.calls.is_empty());
}

#[test]
fn a_record_that_cannot_be_produced_ahead_is_told_and_its_state_is_kept() {
    let (s, mut producer) = (scene(), Noted { room: Some(1), ..Noted::default() });
    let mut batch = batch(1, &[(0, "a", "1"), (0, "b", "1")]);
    assert!(s.protocol.ahead(&mut producer, &s.tasks, &mut batch).is_err());
    let kept: Vec<_> =
        batch.tasks.get_mut(&0).unwrap().changes.all_mut().iter().map(|c| (c.stored.is_some(), c.sent)).collect();
    assert_eq!(kept, [(true, true), (true, false)]);
}
