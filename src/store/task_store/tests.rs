use super::*;
use crate::config::MemoryPlan;
use crate::store::{DuePage, Settled};

fn open(dir: &Path) -> Result<Store> {
    let shared = SharedMemory::new(&MemoryPlan::share(256 << 20, 1, 1), 1)?;
    Store::open(dir, &shared)
}

fn put<'a>(records: &[(&'a [u8], Option<&'a [u8]>)], changelog: Offset) -> StoreBatch<'a> {
    StoreBatch { records: records.to_vec(), position: None, changelog }
}

#[test]
fn a_batch_brings_records_and_changelog_position_and_survives_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(store.changelog().unwrap(), 0);
    store.apply(&put(&[(b"b", Some(b"2")), (b"a", Some(b"1")), (b"c", Some(b"3"))], 4)).unwrap();
    store.apply(&put(&[(b"c", None)], 6)).unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.changelog().unwrap(), 6);
    let got = store.get_many(&[b"c", b"b", b"x", b"a"]).unwrap();
    assert_eq!(got, vec![None, Some(b"2".to_vec()), None, Some(b"1".to_vec())]);
    let mut keys = Vec::new();
    store
        .scan(b"a\0", &mut |k, _| {
            keys.push(k.to_vec());
            Ok(true)
        })
        .unwrap();
    assert_eq!(keys, vec![b"b".to_vec()]);
}

#[test]
fn a_second_opener_is_refused_with_the_folder_named() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path()).unwrap();
    let e = open(dir.path()).unwrap_err();
    assert_eq!(e.kind(), Kind::Refused);
    assert!(e.to_string().contains(&dir.path().display().to_string()), "{e}");
}

#[test]
fn a_format_note_that_was_cut_off_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join(layout::FORMAT_FILE);
    std::fs::write(&note, "").unwrap();
    drop(open(dir.path()).unwrap());
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "1");
}

#[test]
fn a_folder_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(layout::FORMAT_FILE), "99").unwrap();
    assert_eq!(open(dir.path()).unwrap_err().kind(), Kind::Refused);
}

/// Logs of the store that are there now.
fn logs(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir.join("db")).unwrap();
    files.filter(|f| f.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "log"))).count()
}

#[test]
fn logs_go_when_what_they_hold_is_in_files() {
    let dir = tempfile::tempdir().unwrap();
    // The least write buffers there are: 2 MiB, and 30 of them are filled.
    let shared = SharedMemory::new(&MemoryPlan::share(64 << 20, 1, 1), 64).unwrap();
    let store = Store::open(dir.path(), &shared).unwrap();
    let value = vec![7; 1 << 10];
    for n in 0..60_000_i64 {
        store.apply(&put(&[(&n.to_be_bytes(), Some(&value))], n + 1)).unwrap();
    }
    // Files are written, and logs removed, in the background.
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while logs(dir.path()) > 4 {
        assert!(std::time::Instant::now() < patience, "{} logs are kept", logs(dir.path()));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A stored record: a tombstone at `version`, or a value.
fn stored(version: i64, deleted: bool) -> Vec<u8> {
    let def = crate::index::testing::def();
    let stamp = crate::record::Stamp { version: crate::record::Version::single(version), rank: 0 };
    let kind = if deleted {
        crate::record::EventKind::Delete
    } else {
        let declared = vec![(0, crate::record::Value::Int(1))];
        crate::record::EventKind::Upsert { declared, dynamic: Vec::new() }
    };
    let event = crate::record::Event { key: b"k".to_vec(), stamp, source: 1, id: None, kind };
    let (mut record, mut out) = (crate::record::Record::default(), Vec::new());
    crate::record::merge(&def, &mut record, &event);
    crate::record::codec::encode(&record, &mut out);
    out
}

fn horizon(ms: i64) -> Retention {
    Retention { tombstone_horizon_ms: Some(ms), ..Retention::default() }
}

/// Every entry.
fn entries(store: &Store) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let mut visit = |at, key: &[u8]| {
        found.push((at, String::from_utf8_lossy(key).into_owned()));
        true
    };
    store.visit_due(i64::MIN, &mut visit).unwrap();
    found
}

fn named(all: &[(i64, &str)]) -> Vec<(i64, String)> {
    all.iter().map(|(at, key)| (*at, (*key).to_owned())).collect()
}

#[test]
fn a_stretch_of_the_changelog_enters_what_is_due_and_a_page_finds_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(store.keep_due(&horizon(10)).unwrap(), Some(0), "a new store has no rules yet");
    let (late, early, alive) = (stored(50, true), stored(-7, true), stored(3, false));
    store.apply(&put(&[(b"late", Some(&late)), (b"early", Some(&early)), (b"alive", Some(&alive))], 3)).unwrap();
    assert_eq!(entries(&store), named(&[(3, "early"), (60, "late")]));
    let page = |from, watermark, most| store.due(from, watermark, most).unwrap();
    assert_eq!(page(i64::MIN, 3, 9), DuePage { entries: vec![], next: Some(3) }, "at its time nothing is over");
    assert_eq!(page(i64::MIN, 4, 9), DuePage { entries: vec![(3, b"early".to_vec())], next: Some(60) });
    assert_eq!(page(i64::MIN, 99, 1).next, Some(60), "one at a time");
    assert_eq!(page(4, 99, 9), DuePage { entries: vec![(60, b"late".to_vec())], next: None });
    // What a null removes leaves its entry, which is looked at in its time.
    store.apply(&put(&[(b"early", None)], 4)).unwrap();
    assert_eq!(store.get(b"early").unwrap(), None);
    assert_eq!(entries(&store).len(), 2);
}

#[test]
fn a_committed_batch_brings_its_entries_with_its_records_and_survives_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.keep_due(&horizon(10)).unwrap();
    let due = |at, key: &str, entered| Due { at, key: key.as_bytes().into(), entered };
    let dead = stored(1, true);
    let batch = put(&[(b"a", Some(&dead)), (b"b", Some(&dead))], 1);
    store
        .apply_with(&batch, &[due(11, "a", true), due(11, "b", true), due(11, "a", false), due(5, "a", true)])
        .unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.keep_due(&horizon(10)).unwrap(), None, "the rules are the same");
    assert_eq!(entries(&store), named(&[(5, "a"), (11, "b")]));
}

#[test]
fn other_rules_make_all_entries_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (dead, alive) = (stored(1, true), stored(2, false));
    let reopen = |retention: Retention| {
        let store = open(dir.path()).unwrap();
        let made = store.keep_due(&retention).unwrap();
        (made, entries(&store))
    };
    let store = open(dir.path()).unwrap();
    store.apply(&put(&[(b"dead", Some(&dead)), (b"alive", Some(&alive))], 2)).unwrap();
    drop(store);
    assert_eq!(reopen(horizon(10)), (Some(1), named(&[(11, "dead")])));
    assert_eq!(reopen(horizon(20)), (Some(1), named(&[(21, "dead")])));
    let ttl = crate::record::Ttl { from: crate::record::TtlFrom::Version, after_ms: 5 };
    let both = Retention { ttl: Some(ttl), ..horizon(20) };
    assert_eq!(reopen(both), (Some(2), named(&[(6, "dead"), (7, "alive")])));
    assert_eq!(reopen(both), (None, named(&[(6, "dead"), (7, "alive")])));
    assert_eq!(reopen(Retention::default()), (Some(0), Vec::new()));
}

#[test]
fn a_store_of_before_the_family_was_there_opens_and_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    layout::prepare(dir.path()).unwrap();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let db = DB::open_cf(&options, dir.path().join("db"), ["default", RECORDS, META]).unwrap();
    db.put_cf(&db.cf_handle(RECORDS).unwrap(), b"dead", stored(1, true)).unwrap();
    drop(db);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.keep_due(&horizon(10)).unwrap(), Some(1));
    assert_eq!(entries(&store), named(&[(11, "dead")]));
}

/// What an owner's batches write to a changelog: records, a position with this watermark, and where they end.
fn follow(
    store: &Store,
    settled: &mut Settled,
    records: &[(&[u8], Option<&[u8]>)],
    watermark: Option<i64>,
    end: Offset,
) {
    let mut position = Position::default();
    position.watermark = watermark;
    let batch = StoreBatch { records: records.to_vec(), position: Some(&position), changelog: end };
    store.follow(&batch, settled).unwrap();
}

#[test]
fn a_store_that_follows_a_changelog_keeps_few_entries_of_a_record_that_changes_often() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.keep_due(&horizon(10)).unwrap();
    let mut settled = Settled::default();
    for n in 1..=5_000_i64 {
        let dead = stored(n, true);
        follow(&store, &mut settled, &[(b"a", Some(&dead))], Some(n), n);
    }
    let left = entries(&store);
    assert!(left.contains(&(5_010, "a".into())), "INV-STORE-3: {left:?}");
    assert!(left.len() <= 20, "of 5,000 updates {} entries are left", left.len());
}

#[test]
fn what_is_due_and_not_ended_yet_keeps_its_entry_until_its_owner_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.keep_due(&horizon(10)).unwrap();
    let mut settled = Settled::default();
    let (early, late) = (stored(1, true), stored(90, true));
    follow(&store, &mut settled, &[(b"a", Some(&early)), (b"b", Some(&early))], None, 2);
    follow(&store, &mut settled, &[(b"b", Some(&late))], Some(50), 4);
    assert_eq!(entries(&store), named(&[(11, "a"), (100, "b")]), "the earlier one of b is replaced");
    follow(&store, &mut settled, &[], Some(60), 5);
    assert_eq!(entries(&store), named(&[(11, "a"), (100, "b")]));
    // Due already when it comes, and behind all that was looked at.
    follow(&store, &mut settled, &[(b"c", Some(&early))], Some(60), 7);
    follow(&store, &mut settled, &[(b"a", None), (b"c", None)], Some(60), 9);
    follow(&store, &mut settled, &[], Some(60), 10);
    follow(&store, &mut settled, &[], Some(60), 11);
    assert_eq!(entries(&store), named(&[(100, "b")]));
}

#[test]
fn a_long_backlog_of_entries_goes_in_bounded_steps() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.keep_due(&horizon(10)).unwrap();
    let mut settled = Settled::default();
    for n in 1..=3_000_i64 {
        follow(&store, &mut settled, &[(b"a", Some(&stored(n, true)))], None, n);
    }
    assert_eq!(entries(&store).len(), 3_000, "no time is known");
    let mut left = Vec::new();
    for n in 1..=3 {
        follow(&store, &mut settled, &[], Some(3_005), 3_000 + n);
        left.push(entries(&store).len());
    }
    assert_eq!(left, [2_000, 1_000, 6], "those of 3,005 to 3,010 are not over");
}

#[test]
fn a_store_whose_removal_was_cut_short_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let fill = |changelog| {
        let store = open(dir.path()).unwrap();
        store.apply(&put(&[(b"a", Some(b"1"))], changelog)).unwrap();
    };
    fill(4);
    // What a kill leaves behind: some files of the database, under the name that says so.
    std::fs::rename(dir.path().join(FILES), dir.path().join(GONE)).unwrap();
    std::fs::remove_file(dir.path().join(GONE).join("CURRENT")).unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!((store.changelog().unwrap(), store.get(b"a").unwrap()), (0, None));
    assert!(!dir.path().join(GONE).exists());
    drop(store);
    // Another kill, and then a removal that comes to its end.
    std::fs::create_dir_all(dir.path().join(GONE).join("deeper")).unwrap();
    fill(5);
    std::fs::create_dir_all(dir.path().join(GONE).join("deeper")).unwrap();
    Store::destroy(dir.path()).unwrap();
    assert!(!dir.path().exists());
    Store::destroy(dir.path()).unwrap();
}
