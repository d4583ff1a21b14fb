//! Scans against a sorted list.

use std::collections::BTreeSet;

use super::*;
use crate::index::testing::{def, titled};

type Stored = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys spread over partitions, every third of them deleted.
fn partitions(keys: &[String], count: usize) -> (Vec<Stored>, BTreeSet<String>) {
    let mut all = vec![Stored::new(); count];
    let mut living = BTreeSet::new();
    for (i, key) in keys.iter().enumerate() {
        let mut bytes = Vec::new();
        let record = if i % 3 == 0 { crate::record::Record::default() } else { titled(&def(), key, "a pan") };
        codec::encode(&record, &mut bytes);
        all[i * 7 % 11 % count].insert(key.clone().into_bytes(), bytes);
        if i % 3 != 0 {
            living.insert(key.clone());
        }
    }
    (all, living)
}

fn keys() -> Vec<String> {
    (0..200).map(|i| format!("{}-{:03}", ["a", "ab", "b", "é"][i % 4], i / 4)).collect()
}

fn scans(stored: &[Stored]) -> Vec<Scan<'_>> {
    let one = |stored: &'_ Stored| -> Scan<'_> {
        let stored = stored.clone();
        Box::new(move |from, visit| {
            for (key, bytes) in stored.range(from.to_vec()..) {
                if !visit(key, bytes)? {
                    break;
                }
            }
            Ok(())
        })
    };
    stored.iter().map(one).collect()
}

fn names(answer: &ScanAnswer) -> Vec<String> {
    answer.records.iter().map(|(key, _)| String::from_utf8(key.clone()).unwrap()).collect()
}

#[test]
fn pages_put_together_are_all_records_with_the_prefix_in_order() {
    let (stored, living) = partitions(&keys(), 3);
    for prefix in ["", "a", "ab", "ab-01", "é", "zz"] {
        for limit in [1, 7, 50, 1000] {
            let mut request = ScanRequest { prefix: prefix.to_owned(), limit, ..ScanRequest::default() };
            let mut found = Vec::new();
            loop {
                let answer = scan(&def(), &scans(&stored), &request).unwrap();
                assert!(answer.records.len() <= limit);
                found.extend(names(&answer));
                request.after = answer.end;
                if request.after.is_none() {
                    break;
                }
            }
            let wanted: Vec<String> = living.iter().filter(|k| k.starts_with(prefix)).cloned().collect();
            assert_eq!(found, wanted, "{prefix:?} {limit}");
        }
    }
}

#[test]
fn answers_of_leaves_merge_to_what_one_leaf_answers() {
    let (stored, _) = partitions(&keys(), 5);
    for limit in [1, 3, 20, 500] {
        let request = ScanRequest { prefix: "a".to_owned(), limit, ..ScanRequest::default() };
        let whole = scan(&def(), &scans(&stored), &request).unwrap();
        let leaves = [&stored[..2], &stored[2..3], &stored[3..]];
        let answers = leaves.map(|part| scan(&def(), &scans(part), &request).unwrap()).to_vec();
        let merged = merge(answers, limit);
        assert_eq!((names(&merged), &merged.end), (names(&whole), &whole.end), "{limit}");
    }
}

#[test]
fn a_page_ends_after_so_many_deleted_keys_and_goes_on_behind_them() {
    let mut dead = Vec::new();
    codec::encode(&crate::record::Record::default(), &mut dead);
    let mut stored: Stored = (0..MOST_SEEN + 5).map(|i| (format!("k{i:06}").into_bytes(), dead.clone())).collect();
    let mut living = Vec::new();
    codec::encode(&titled(&def(), "last", "x"), &mut living);
    stored.insert(b"last".to_vec(), living);
    let request = ScanRequest { limit: 10, ..ScanRequest::default() };
    let first = scan(&def(), &scans(&[stored.clone()]), &request).unwrap();
    assert_eq!((first.records.len(), first.end.as_deref()), (0, Some(format!("k{:06}", MOST_SEEN - 1).as_bytes())));
    let second = scan(&def(), &scans(&[stored]), &ScanRequest { after: first.end, ..request }).unwrap();
    assert_eq!((names(&second), second.end), (vec!["last".to_owned()], None));
}

#[test]
fn a_scan_that_nobody_waits_for_ends() {
    let (stored, _) = partitions(&keys(), 1);
    let request = ScanRequest { limit: 100, ..ScanRequest::default() };
    request.stop.raise();
    assert_eq!(scan(&def(), &scans(&stored), &request).unwrap().records.len(), 0);
}
