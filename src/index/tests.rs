//! What a table's index promises: visibility, order of changes, and what is trusted after a stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::syntax::EmptyQuery;
use super::testing::{batch, change, def, field, keys, options, record, text, titled};
use super::{Behind, Found, Records, TableIndex};
use crate::broker::Offset;
use crate::query::parse;
use crate::record::{FieldType, TableDef, Value};
use crate::{Error, Kind, Result};

const BOOT: &str = "boot-1";

fn open(dir: &Path, def: TableDef, boot: &str) -> (Arc<TableIndex>, Found) {
    TableIndex::open_at(Arc::new(def), options(dir), Some(boot.to_owned())).expect("the index opens")
}

fn count(index: &TableIndex, q: &str) -> u64 {
    let view = index.view();
    let query = parse::lenient(&view, q, &mut parse::Spent::default()).expect("a query").query;
    assert!(query.downcast_ref::<EmptyQuery>().is_none(), "{q} was not understood");
    view.search(query.as_ref(), super::Ordering::default(), None, 0, true, &super::Stop::default())
        .expect("an answer")
        .total
        .expect("a count")
}

/// Three products: partition 0 at changelog 3.
fn filled(dir: &Path) -> Arc<TableIndex> {
    let (index, found) = open(dir, def(), BOOT);
    assert!(matches!(found, Found::Empty(_)));
    let put = |k: &str| change(k, Some(titled(&def(), k, &format!("thing {k}"))), false);
    index.submit(batch(0, 3, vec![put("a"), put("b"), put("c")])).expect("submitted");
    index.flush().expect("flushed");
    index
}

#[test]
fn changes_are_visible_after_a_flush_and_replace_what_was_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    assert_eq!(keys(&index, 0), ["a", "b", "c"]);
    let new = change("d", Some(titled(&def(), "d", "fresh")), false);
    let updated = change("a", Some(titled(&def(), "a", "other")), true);
    index.submit(batch(0, 6, vec![new, updated, change("b", None, true)])).expect("submitted");
    index.flush().expect("flushed");
    assert_eq!(keys(&index, 0), ["a", "c", "d"]);
    assert_eq!((count(&index, "other"), count(&index, "fresh"), count(&index, "thing")), (1, 1, 1));
    assert_eq!(index.view().covered[&0].changelog, 6);
    assert_eq!(index.view().covered[&0].sources["events"], 60);
    assert_eq!(index.stats().documents, 3);
}

#[test]
fn the_last_change_of_a_key_wins_and_its_first_decides_on_the_delete() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let t = |k: &str, s: &str| Some(titled(&def(), k, s));
    let many = (0..10).map(|i| change(&format!("x{i}"), t("x", "several"), false));
    let mut changes: Vec<_> = many.collect();
    changes.push(change("a", t("a", "second"), true));
    changes.push(change("a", t("a", "third"), true));
    changes.push(change("n", t("n", "never"), false));
    changes.push(change("n", None, true));
    changes.extend((0..10).map(|i| change(&format!("x{i}"), t("x", "again"), true)));
    index.submit(batch(0, 9, changes)).expect("submitted");
    index.flush().expect("flushed");
    assert_eq!((count(&index, "second"), count(&index, "third"), count(&index, "never")), (0, 1, 0));
    assert_eq!((count(&index, "several"), count(&index, "again")), (0, 10));
    let all: Vec<_> = (0..10).map(|i| change(&format!("x{i}"), t("x", "final"), true)).collect();
    index.submit(batch(0, 10, all)).expect("submitted");
    index.flush().expect("flushed");
    assert_eq!((count(&index, "again"), count(&index, "final")), (0, 10));
    assert_eq!(index.stats().documents, 13);
}

#[test]
fn a_partition_is_cleared_between_what_came_before_and_what_comes_after() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let put = |k: &str| change(k, Some(titled(&def(), k, "thing")), false);
    index.submit(batch(1, 1, vec![put("other")])).expect("submitted");
    index.submit(batch(0, 4, vec![put("gone")])).expect("submitted");
    index.clear_partition(0).expect("cleared");
    index.submit(batch(0, 2, vec![put("a")])).expect("submitted");
    index.flush().expect("flushed");
    assert_eq!((keys(&index, 0), keys(&index, 1)), (vec!["a".to_owned()], vec!["other".to_owned()]));
    assert_eq!(index.view().covered[&0].changelog, 2);
    index.clear_partition(0).expect("cleared");
    index.flush().expect("flushed");
    assert!(keys(&index, 0).is_empty() && !index.view().covered.contains_key(&0));
}

#[test]
fn a_key_is_never_missing_or_double_while_it_is_updated() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..150 {
                let record = titled(&def(), "a", &format!("version {i}"));
                index.submit(batch(0, 4 + i, vec![change("a", Some(record), true)])).expect("submitted");
                if i % 3 == 0 {
                    index.flush().expect("flushed");
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut searches = 0;
        while !done.load(Ordering::SeqCst) || searches == 0 {
            assert_eq!(count(&index, "sku:a"), 1);
            searches += 1;
        }
    });
    index.flush().expect("flushed");
    assert_eq!(count(&index, "title:149"), 1);
}

/// Commits deletes of these keys behind the back of a closed index, without merging; its positions stay.
fn delete_without_merging(dir: &Path, keys: &[String]) {
    let soft = super::directory::SoftDirectory::open(dir).expect("the folder");
    let index = tantivy::Index::open(soft).expect("an index");
    let fields = super::Fields::new(Arc::new(def())).expect("fields");
    let mut writer: tantivy::IndexWriter = index.writer_with_num_threads(1, 15_000_000).expect("a writer");
    writer.set_merge_policy(Box::new(tantivy::merge_policy::NoMergePolicy));
    for key in keys {
        writer.delete_term(super::document::key_term(&fields, key.as_bytes()).expect("a term"));
    }
    let payload = index.load_metas().expect("metas").payload.expect("positions");
    let mut prepared = writer.prepare_commit().expect("prepared");
    prepared.set_payload(&payload);
    prepared.commit().expect("committed");
}

fn segments(dir: &Path) -> usize {
    let index = tantivy::Index::open_in_dir(dir).expect("an index");
    index.searchable_segment_ids().expect("segments").len()
}

/// A merge is due at once, as one segment consists of deleted documents mostly, and begins before the first commit.
#[test]
fn updates_right_after_an_opening_leave_no_twins_when_segments_are_merged() {
    let dir = tempfile::tempdir().expect("a folder");
    let put = |k: &String, existed| change(k, Some(titled(&def(), k, "thing")), existed);
    let (large, small): (Vec<_>, Vec<_>) =
        ((0..20).map(|i| format!("a{i:02}")).collect(), (0..10).map(|i| format!("b{i}")).collect());
    let (index, _) = open(dir.path(), def(), BOOT);
    for (changelog, keys) in [(20, &large), (30, &small)] {
        index.submit(batch(0, changelog, keys.iter().map(|k| put(k, false)).collect())).expect("submitted");
        index.flush().expect("flushed");
    }
    index.close().expect("closed");
    drop(index);
    delete_without_merging(dir.path(), &small[..8]);
    assert_eq!(segments(dir.path()), 2);

    let (index, found) = open(dir.path(), def(), BOOT);
    assert!(matches!(found, Found::Usable(_)));
    let updates = large[..5].iter().chain(&small[8..9]).map(|k| put(k, true));
    index.submit(batch(0, 40, updates.collect())).expect("submitted");
    index.flush().expect("flushed");
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while segments(dir.path()) > 2 {
        assert!(std::time::Instant::now() < until, "the merge never ends");
        std::thread::sleep(Duration::from_millis(5));
    }
    index.submit(batch(0, 41, vec![put(&"c".to_owned(), false)])).expect("submitted");
    index.flush().expect("flushed");
    let mut expected = [&large[..], &small[8..]].concat();
    expected.push("c".to_owned());
    assert_eq!(keys(&index, 0), expected);
}

/// A commit writes the deletes of every segment first and names them in the end: leaves, for any stamp that the next commit
/// may have, what one leaves that was killed in between.
fn leave_half_a_commit(dir: &Path) {
    let index = tantivy::Index::open_in_dir(dir).expect("an index");
    let metas = index.load_metas().expect("metas");
    let managed = dir.join(".managed.json");
    let mut names: Vec<String> = serde_json::from_slice(&fs::read(&managed).expect("names")).expect("a list");
    for segment in &metas.segments {
        for stamp in metas.opstamp..metas.opstamp + 50 {
            let name = format!("{}.{stamp}.del", segment.id().uuid_string());
            fs::write(dir.join(&name), "half").expect("written");
            names.push(name);
        }
    }
    fs::write(managed, serde_json::to_vec(&names).expect("a list")).expect("written");
}

#[test]
fn what_a_commit_left_that_was_killed_half_way_is_in_nobodys_way() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    index.close().expect("closed");
    drop(index);
    leave_half_a_commit(dir.path());
    let (index, found) = open(dir.path(), def(), BOOT);
    assert!(matches!(found, Found::Usable(_)));
    let updated = change("a", Some(titled(&def(), "a", "other")), true);
    index.submit(batch(0, 4, vec![updated])).expect("submitted");
    index.flush().expect("the next commit succeeds");
    assert_eq!(keys(&index, 0), ["a", "b", "c"]);
    assert_eq!(count(&index, "other"), 1);
}

#[test]
fn submitting_more_than_the_queue_holds_waits_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = options(dir.path());
    options.queue_memory = 2_000;
    options.catch_up_interval = Duration::from_secs(3600);
    let (index, _) = TableIndex::open_at(Arc::new(def()), options, Some(BOOT.to_owned())).expect("the index opens");
    for i in 0..200_i64 {
        let key = format!("k{i}");
        let mut batch = batch(0, i + 1, vec![change(&key, Some(titled(&def(), &key, &"word ".repeat(100))), false)]);
        batch.behind = Some(Behind::default());
        index.submit(batch).expect("submitted");
    }
    index.flush().expect("flushed");
    assert_eq!(keys(&index, 0).len(), 200);
}

#[test]
fn what_may_take_its_time_is_shown_when_nothing_more_waits() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = options(dir.path());
    options.catch_up_interval = Duration::from_secs(3600);
    let (index, _) = TableIndex::open_at(Arc::new(def()), options, Some(BOOT.to_owned())).expect("the index opens");
    for (i, key) in [(1, "a"), (2, "b")] {
        let mut hurried = batch(0, i, vec![change(key, Some(titled(&def(), key, "word")), false)]);
        hurried.behind = Some(Behind { unread: 1, left: Duration::from_secs(3600) });
        hurried.oldest_ms = None;
        index.submit(hurried).expect("submitted");
        // The first view begins the hour.
        while i == 1 && index.covered(0) != Some(1) {
            std::thread::yield_now();
        }
    }
    let (heard, shown) = crossbeam_channel::bounded(64);
    index.on_visible(Box::new(move |covered| heard.try_send(covered[&0].changelog).unwrap_or(())));
    index.calm(vec![0]).expect("told");
    // The first view may be told after it was seen.
    while shown.recv_timeout(Duration::from_secs(60)).expect("long before the hour is over") != 2 {}
    assert_eq!(keys(&index, 0), ["a", "b"]);
}

#[test]
fn observers_hear_of_positions_before_a_flush_returns() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ours = Arc::clone(&heard);
    index.on_visible(Box::new(move |covered| ours.lock().push(covered[&0].changelog)));
    index.submit(batch(0, 7, Vec::new())).expect("submitted");
    index.flush().expect("flushed");
    assert_eq!(heard.lock().last(), Some(&7));
}

#[test]
fn a_clean_close_is_trusted_also_after_a_reboot() {
    for boot in [BOOT, "boot-2"] {
        let dir = tempfile::tempdir().expect("a folder");
        let index = filled(dir.path());
        index.submit(batch(2, 5, Vec::new())).expect("submitted");
        index.close().expect("closed");
        index.close().expect("closed again");
        assert!(index.submit(batch(0, 4, Vec::new())).is_err());
        drop(index);
        let (index, found) = open(dir.path(), def(), boot);
        assert_eq!(found, Found::Usable(BTreeMap::from([(0, 3), (2, 5)])));
        assert_eq!(keys(&index, 0), ["a", "b", "c"]);
    }
}

#[test]
fn after_a_kill_what_was_visible_is_trusted_until_a_reboot() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    drop(index);
    let (index, found) = open(dir.path(), def(), BOOT);
    assert_eq!(found, Found::Usable(BTreeMap::from([(0, 3)])));
    assert_eq!(keys(&index, 0), ["a", "b", "c"]);
    drop(index);
    let (index, found) = open(dir.path(), def(), "boot-2");
    assert!(matches!(&found, Found::Empty(reason) if reason.contains("started anew")), "{found:?}");
    assert!(keys(&index, 0).is_empty());
}

#[test]
fn commits_after_a_sync_end_its_worth() {
    let dir = tempfile::tempdir().expect("a folder");
    filled(dir.path()).close().expect("closed");
    let (index, _) = open(dir.path(), def(), BOOT);
    index.submit(batch(0, 4, vec![change("a", None, true)])).expect("submitted");
    index.flush().expect("flushed");
    drop(index);
    assert!(matches!(open(dir.path(), def(), "boot-2").1, Found::Empty(_)));
}

#[test]
fn a_periodic_sync_is_trusted_after_a_reboot() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = options(dir.path());
    options.sync_interval = Duration::ZERO;
    let (index, _) = TableIndex::open_at(Arc::new(def()), options, Some(BOOT.to_owned())).expect("the index opens");
    index.submit(batch(0, 1, vec![change("a", Some(titled(&def(), "a", "thing")), false)])).expect("submitted");
    index.flush().expect("flushed");
    // A second round trip: the sync follows the commit on the same thread.
    index.submit(batch(0, 1, Vec::new())).expect("submitted");
    index.flush().expect("flushed");
    drop(index);
    assert_eq!(open(dir.path(), def(), "boot-2").1, Found::Usable(BTreeMap::from([(0, 1)])));
}

#[test]
fn changed_search_options_empty_the_index() {
    let dir = tempfile::tempdir().expect("a folder");
    filled(dir.path()).close().expect("closed");
    let mut changed = def();
    changed.fields.push(field("zone", FieldType::Keyword));
    let (index, found) = open(dir.path(), changed, BOOT);
    assert!(matches!(&found, Found::Empty(reason) if reason.contains("search options")), "{found:?}");
    assert!(keys(&index, 0).is_empty());
}

#[test]
fn damage_empties_the_index() {
    for damage in ["cut meta", "lost segment"] {
        let dir = tempfile::tempdir().expect("a folder");
        filled(dir.path()).close().expect("closed");
        for entry in fs::read_dir(dir.path()).expect("the folder").flatten() {
            let name = entry.file_name().into_string().expect("a name");
            if damage == "cut meta" && name == "meta.json" {
                fs::write(entry.path(), &fs::read(entry.path()).expect("a file")[..40]).expect("written");
            }
            if damage == "lost segment" && name.ends_with(".term") {
                fs::remove_file(entry.path()).expect("removed");
            }
        }
        let (index, found) = open(dir.path(), def(), BOOT);
        assert!(matches!(&found, Found::Empty(_)), "{damage}: {found:?}");
        assert!(keys(&index, 0).is_empty());
    }
}

#[test]
fn an_index_in_use_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let other = TableIndex::open_at(Arc::new(def()), options(dir.path()), Some("boot-2".to_owned()));
    let error = other.expect_err("refused");
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.message().contains(&dir.path().display().to_string()), "{error}");
    assert_eq!(keys(&index, 0), ["a", "b", "c"]);
}

#[test]
fn a_failed_index_thread_tells_everybody_why() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    fs::remove_dir_all(dir.path()).expect("removed");
    index.submit(batch(0, 4, vec![change("a", None, true), change("b", None, true)])).expect("submitted");
    let reason = index.flush().expect_err("the folder is gone");
    assert_eq!(reason.kind(), Kind::Storage);
    for error in [
        index.submit(batch(0, 5, Vec::new())).expect_err("ended"),
        index.clear_partition(0).expect_err("ended"),
        index.failure().expect("a reason"),
        index.close().expect_err("ended"),
    ] {
        assert_eq!(error.message(), reason.message());
        assert!(error.message().contains("index-products has ended"), "{error}");
    }
}

/// Stands for a store whose records nobody may take.
#[derive(Debug)]
struct Untaken;

impl Records for Untaken {
    fn count(&self) -> u64 {
        1
    }

    fn all(&self, _: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<Offset> {
        Err(Error::internal("taking records may last, and an end must not"))
    }
}

#[test]
fn an_index_that_passes_changes_over_is_closed_as_any_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut options = options(dir.path());
    (options.queue_memory, options.catch_up_interval) = (2_000, Duration::from_secs(3600));
    let (index, _) = TableIndex::open_at(Arc::new(def()), options, Some(BOOT.to_owned())).expect("the index opens");
    let store: Arc<dyn Records> = Arc::new(Untaken);
    for i in 0..20 {
        let key = format!("k{i}");
        let mut batch = batch(0, i + 1, vec![change(&key, Some(titled(&def(), &key, &"word ".repeat(100))), false)]);
        batch.behind = Some(Behind { unread: 1 << 40, left: Duration::from_secs(3600) });
        batch.records = Some(Arc::downgrade(&store));
        index.submit(batch).expect("submitted");
    }
    index.close().expect("closed in order");
    assert!(index.failure().is_none());
    let (_, found) = open(dir.path(), def(), BOOT);
    let Found::Usable(positions) = found else { panic!("{found:?}") };
    assert!(positions.get(&0).is_none_or(|at| *at < 20), "left to the next start: {positions:?}");
}

#[test]
fn column_values_are_those_of_the_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let (index, _) = open(dir.path(), def(), BOOT);
    let values = BTreeMap::from([
        ("at", Value::Int(1_700_000_000_123)),
        ("brand", text("Acme")),
        ("live", Value::Bool(true)),
        ("name", text("Big kettle")),
        ("price", Value::Float(-1.5)),
        ("sold", Value::Int(-7)),
        ("tags", Value::Array(vec![text("b"), text("a")])),
    ]);
    let record = record(&def(), "a", &(values.clone(), BTreeMap::new()));
    index.submit(batch(0, 1, vec![change("a", Some(record), false)])).expect("submitted");
    index.flush().expect("flushed");
    let found = index.view().document_values(b"a").expect("the values");
    assert_eq!(found.len(), 1);
    for (name, value) in values {
        let mut expected = if let Value::Array(all) = value { all } else { vec![value] };
        let mut found = found[0][name].clone();
        let order = |v: &Value| format!("{v:?}");
        expected.sort_by_key(order);
        found.sort_by_key(order);
        assert_eq!(found, expected, "{name}");
    }
    assert!(index.view().document_values(b"b").expect("the values").is_empty());
}

#[test]
fn a_name_with_a_nul_is_no_field_and_panics_nowhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let (index, _) = open(dir.path(), def(), BOOT);
    let members = (BTreeMap::from([("title", text("one kettle"))]), BTreeMap::from([("size\0", Value::Int(3))]));
    index.submit(batch(0, 1, vec![change("a", Some(record(&def(), "a", &members)), false)])).expect("submitted");
    index.flush().expect("flushed");
    assert_eq!(count(&index, "title:kettle"), 1, "the rest of the record is found");
    assert!(index.view().fields.resolve("size\0").is_none());
    let parsed = parse::lenient(&index.view(), "size\0:3", &mut parse::Spent::default()).expect("a query");
    assert!(parsed.warnings[0].contains("no field"), "{:?}", parsed.warnings);
    let refused =
        parse::strict(&index.view(), "filter", "size\0:3", &mut parse::Spent::default()).expect_err("no field");
    assert!(refused.message().contains("no searchable field"), "{refused}");
}

const CRASH_DIR: &str = "KELD_TEST_CRASH_DIR";

/// Batch n gives key n % 7 the title "n"; every fifth batch removes its key instead.
fn step(n: i64, there: &mut BTreeMap<String, i64>) -> super::IndexBatch {
    let key = format!("k{}", n % 7);
    let existed = there.contains_key(&key);
    let record = (n % 5 != 0).then(|| titled(&def(), &key, &format!("n{n}")));
    if record.is_some() {
        there.insert(key.clone(), n)
    } else {
        there.remove(&key)
    };
    batch(0, n + 1, vec![change(&key, record, existed)])
}

/// The child of the test below; does nothing when run as an ordinary test.
#[test]
fn crash_child() {
    let Some(dir) = std::env::var_os(CRASH_DIR) else { return };
    let (index, _) = open(Path::new(&dir).join("index").as_path(), def(), BOOT);
    let mut there = BTreeMap::new();
    for n in 0..100 {
        index.submit(step(n, &mut there)).expect("submitted");
        index.flush().expect("flushed");
        fs::write(Path::new(&dir).join("flushed"), (n + 1).to_string()).expect("written");
    }
}

#[test]
fn an_abort_at_any_point_of_a_commit_leaves_an_index_that_is_right_for_its_position() {
    for point in ["index.1_before_commit", "index.2_prepared", "index.3_committed", "index.4_published"] {
        let dir = tempfile::tempdir().expect("a folder");
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program);
        child.args(["--exact", "--nocapture", "index::tests::crash_child"]).env(CRASH_DIR, dir.path());
        let ended = child.env("KELD_FAULT", format!("{point}:17")).output().expect("the child ran");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("fired"), "{point}: {ended:?}");
        let flushed: i64 = fs::read_to_string(dir.path().join("flushed")).expect("a number").parse().expect("a number");
        let (index, found) = open(&dir.path().join("index"), def(), BOOT);
        let Found::Usable(positions) = found else { panic!("{point}: {found:?}") };
        let at = positions[&0];
        assert!((flushed..=flushed + 1).contains(&at), "{point}: flushed {flushed}, found {at}");
        let mut expected = BTreeMap::new();
        for n in 0..at {
            step(n, &mut expected);
        }
        assert_eq!(keys(&index, 0), expected.keys().cloned().collect::<Vec<_>>(), "{point}");
        for (key, n) in expected {
            assert_eq!(count(&index, &format!("+sku:{key} +title:n{n}")), 1, "{point}: {key}");
        }
    }
}
