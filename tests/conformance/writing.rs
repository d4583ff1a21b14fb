//! Topics, appends, and that what goes in comes out.

use std::collections::BTreeMap;
use std::thread;

use keld::broker::{NewRecord, TopicPartition};

use crate::harness::{Harness, record, spec};

pub(crate) fn records_are_read_in_the_order_of_their_offsets(h: &Harness) {
    let tp = h.partition("t");
    let values: Vec<String> = (0..500).map(|i| format!("v{i}")).collect();
    let texts: Vec<&str> = values.iter().map(String::as_str).collect();
    let mut offsets = h.append(&tp, &texts[..300]);
    offsets.extend(h.append(&tp, &texts[300..]));
    assert_eq!(offsets, (0..500).collect::<Vec<_>>());
    let (read, end) = h.read_from(&tp, 0);
    assert_eq!(read.iter().map(|r| (r.offset, r.text())).collect::<Vec<_>>(), (0..500).zip(values).collect::<Vec<_>>());
    assert_eq!(end, 500);
}

pub(crate) fn appends_of_many_threads_get_the_offsets_where_their_records_are(h: &Harness) {
    let tps = h.topic("t", 2);
    let appender = h.broker.appender().unwrap();
    // Each thread appends batches that alternate between both partitions and notes where it was told they are.
    let told: BTreeMap<(TopicPartition, i64), String> = thread::scope(|scope| {
        let (appender, tps) = (&appender, &tps);
        let worker = |t: usize| {
            let mut told = Vec::new();
            for batch in 0..10 {
                let values: Vec<_> = (0..6).map(|i| format!("{t}-{batch}-{i}")).collect();
                let records = values.iter().enumerate().map(|(i, v)| record(&tps[i % 2], v)).collect();
                let offsets = appender.append(records).unwrap();
                assert_eq!(offsets.len(), 6);
                for p in 0..2 {
                    let own: Vec<_> = offsets.iter().skip(p).step_by(2).collect();
                    assert!(own.is_sorted_by(|a, b| a < b), "order within a partition: {offsets:?}");
                }
                told.extend(offsets.iter().zip(values).enumerate().map(|(i, (o, v))| ((tps[i % 2].clone(), *o), v)));
            }
            told
        };
        let threads: Vec<_> = (0..4).map(|t| scope.spawn(move || worker(t))).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(told.len(), 240, "no offset was told twice");
    for tp in &tps {
        let (read, _) = h.read_from(tp, 0);
        assert_eq!(read.len(), 120);
        for r in read {
            assert_eq!(told.get(&(tp.clone(), r.offset)), Some(&r.text()));
        }
    }
}

pub(crate) fn keys_payloads_and_timestamps_survive_and_so_does_their_absence(h: &Harness) {
    let tp = h.partition("t");
    let base = NewRecord { topic: tp.topic.clone(), ..NewRecord::default() };
    // Within the last hours, since brokers may refuse a timestamp that is far away.
    let at = keld::clock::now_ms() - 7_200_123;
    let headers = vec![("h".to_owned(), vec![0, 255]), ("h".to_owned(), vec![]), ("empty".to_owned(), vec![1])];
    let cases = vec![
        NewRecord { key: Some(vec![0, 255, 7]), payload: Some(vec![1, 0, 2]), ..base.clone() },
        NewRecord { key: Some(b"gone".to_vec()), payload: None, timestamp_ms: Some(at), ..base.clone() },
        NewRecord { key: None, payload: Some(b"no key".to_vec()), headers: headers.clone(), ..base.clone() },
        NewRecord { key: Some(vec![]), payload: Some(vec![]), headers, timestamp_ms: Some(at + 1), ..base.clone() },
        NewRecord { key: None, payload: None, ..base },
    ];
    let before = keld::clock::now_ms();
    h.broker.appender().unwrap().append(cases.clone()).unwrap();
    let after = keld::clock::now_ms();
    let (read, _) = h.read_from(&tp, 0);
    assert_eq!(read.len(), cases.len());
    for (read, case) in read.iter().zip(&cases) {
        assert_eq!((&read.key, &read.payload, &read.headers), (&case.key, &case.payload, &case.headers));
        match case.timestamp_ms {
            Some(at) => assert_eq!(read.timestamp_ms, at),
            None => assert!((before..=after).contains(&read.timestamp_ms), "{} is not now", read.timestamp_ms),
        }
    }
}

pub(crate) fn a_record_of_nearly_a_megabyte_survives(h: &Harness) {
    let tp = h.partition("t");
    // Not all the same byte, so that a shifted or repeated piece would be noticed.
    let big: Vec<u8> = (0..900_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let large = NewRecord { payload: Some(big.clone()), ..record(&tp, "") };
    h.broker.appender().unwrap().append(vec![record(&tp, "a"), large, record(&tp, "z")]).unwrap();
    let (read, _) = h.read_from(&tp, 0);
    assert_eq!(read.len(), 3);
    assert!(read[1].payload.as_deref() == Some(&big), "the large record came back changed");
    assert_eq!((read[0].text(), read[2].text()), ("a".into(), "z".into()));
}

pub(crate) fn creating_a_topic_twice_keeps_the_first(h: &Harness) {
    let name = h.name("t");
    h.broker.create_topic(&spec(&name, 3, false)).unwrap();
    let tp = TopicPartition::new(name.as_str(), 2);
    h.append(&tp, &["kept"]);
    h.broker.create_topic(&spec(&name, 5, false)).unwrap();
    assert_eq!(h.broker.topic(&name).unwrap().unwrap().partitions, 3);
    assert_eq!(h.values(&tp), ["kept"]);
}

pub(crate) fn topics_tell_whether_they_are_compacted(h: &Harness) {
    let (plain, compacted) = (h.name("plain"), h.name("compacted"));
    h.broker.create_topic(&spec(&plain, 1, false)).unwrap();
    h.broker.create_topic(&spec(&compacted, 1, true)).unwrap();
    assert_eq!(h.broker.topic(&plain).unwrap().unwrap().compacted, Some(false));
    assert_eq!(h.broker.topic(&compacted).unwrap().unwrap().compacted, Some(true));
}

pub(crate) fn a_topic_that_does_not_exist_is_none_and_is_not_created(h: &Harness) {
    let name = h.name("nowhere");
    assert_eq!(h.broker.topic(&name).unwrap(), None);
    assert_eq!(h.broker.topic(&name).unwrap(), None, "asking created it");
    assert!(h.broker.watermarks(&TopicPartition::new(name.as_str(), 0)).is_err());
    assert_eq!(h.broker.topic(&name).unwrap(), None, "asking for watermarks created it");
}

pub(crate) fn watermarks_follow_the_log(h: &Harness) {
    let tps = h.topic("t", 2);
    let marks = |i: usize| {
        let w = h.broker.watermarks(&tps[i]).unwrap();
        (w.low, w.high, w.stable)
    };
    assert_eq!(marks(0), (0, 0, 0));
    h.append(&tps[0], &["a", "b", "c"]);
    assert_eq!(marks(0), (0, 3, 3));
    assert_eq!(marks(1), (0, 0, 0));
}
