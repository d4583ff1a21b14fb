//! `keld verify` finds what somebody else did to the files, and a rebuild heals it.

use keld::broker::Offset;
use keld::config::MemoryPlan;
use keld::index::{IndexBatch, IndexChange, IndexOptions, TableIndex};
use keld::metrics::Metrics;
use keld::record::Partitioner;
use keld::store::{SharedMemory, Store, StoreBatch, task_dir};

use crate::common::lab::{Lab, On, PARTITIONS, loaded};
use crate::common::topics::recreate;
use crate::common::workload::Workload;
use crate::common::{report, truth};
use crate::scene::{TABLE, Witness, counted, finish, settings, verify, verify_with};

fn partition(key: &str) -> u32 {
    Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap()
}

/// Opens the store of a key's task; nobody else has it open.
fn with_store<T>(lab: &Lab, key: &str, work: impl FnOnce(&Store) -> T) -> T {
    let settings = settings(lab);
    let shared = SharedMemory::new(&MemoryPlan::share(settings.memory_budget, 1, 1), 1).unwrap();
    let dir = task_dir(&settings.instance.data_dir, &settings.application, TABLE, partition(key));
    work(&Store::open(&dir, &shared).unwrap())
}

/// Writes behind Keld's back: the changelog knows nothing of it.
fn put(lab: &Lab, key: &str, value: Option<&[u8]>) {
    with_store(lab, key, |store| {
        let changelog = store.changelog().unwrap();
        store.apply(&StoreBatch { records: vec![(key.as_bytes(), value)], position: None, changelog }).unwrap();
    });
}

fn stored(lab: &Lab, key: &str) -> Vec<u8> {
    with_store(lab, key, |store| store.get(key.as_bytes()).unwrap().unwrap())
}

/// Changes the index behind Keld's back; `None` removes the document.
fn index(lab: &Lab, key: &str, stored: Option<&[u8]>) {
    let settings = settings(lab);
    let def = settings.tables.iter().find(|t| t.name == TABLE).unwrap();
    let sources: Vec<String> = def.sources.iter().map(|s| s.name.clone()).collect();
    let options = IndexOptions {
        dir: settings.instance.data_dir.join(&settings.application).join(TABLE).join("index"),
        writer_memory: 16 << 20,
        queue_memory: 1 << 20,
        sets_memory: 1 << 20,
        interval: settings.index.interval,
        catch_up_interval: settings.index.catch_up_interval,
        commit_interval: settings.index.commit_interval,
        sync_interval: settings.index.sync_interval,
        metrics: Metrics::new().table(TABLE, &sources, &[]),
    };
    let (index, _) = TableIndex::open(def.clone(), options).unwrap();
    let covered: Offset = index.covered(partition(key)).unwrap();
    let stored = stored.map(Into::into);
    let changes = vec![IndexChange { key: key.as_bytes().into(), stored, existed: true }];
    let batch = IndexBatch {
        partition: partition(key),
        changelog: covered,
        sources: Vec::new(),
        changes,
        oldest_ms: None,
        behind: None,
        records: None,
    };
    index.submit(batch).unwrap();
    index.close().unwrap();
}

/// `keld verify` must fail, and name the key with what is wrong with it.
fn found(lab: &Lab, key: &str, what: &str) {
    let done = verify(lab);
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.status.code(), Some(1), "verify must find {what:?}\n{out}\n{err}");
    let line = out.lines().find(|line| line.contains(&format!("{key:?}")) && line.contains(what));
    let line = line.unwrap_or_else(|| panic!("verify must say of {key} that it is {what:?}\n{out}\n{err}"));
    assert!(err.contains("start with --rebuild"), "{err}");
    println!("verify: {}", line.trim());
}

pub(crate) fn is_found_and_healed() {
    let workload = Workload::catalog(3_000, 300, &[]);
    let lab = Lab::new(On::Local, "catalog.toml");
    let ends = loaded(&lab, &workload);
    let before = Witness::default().look(&lab);
    finish(&lab, &workload, &ends, before, lab.start());
    let mut live = workload.expected.keys();
    let (key, other) = (live.next().unwrap().as_str(), live.next().unwrap().as_str());
    let (whole, foreign) = (stored(&lab, key), stored(&lab, other));

    put(&lab, key, None);
    found(&lab, key, "in the changelog, not in the store");
    found(&lab, key, "in the index, but the store has nothing to show");
    put(&lab, key, Some(&foreign));
    found(&lab, key, "store and changelog hold different records");
    put(&lab, key, Some(&whole));
    lab.verify();

    put(&lab, "sku-nobody", Some(&whole));
    found(&lab, "sku-nobody", "in the store, not in the changelog");
    put(&lab, "sku-nobody", None);
    lab.verify();

    index(&lab, key, None);
    found(&lab, key, "0 documents in the index instead of 1");
    index(&lab, key, Some(&foreign));
    found(&lab, key, "in the index");
    index(&lab, key, Some(&whole));
    lab.verify();

    // Both at once, and the way out that verify names.
    put(&lab, key, None);
    index(&lab, other, None);
    found(&lab, key, "in the changelog, not in the store");
    let mut instance = lab.spawn(&["--rebuild"], &[]);
    instance.wait_listening();
    instance.wait_caught_up(&ends);
    truth::by_key(&instance.client(), TABLE, &workload);
    truth::by_search(&instance.client(), TABLE, "sku", &workload);
    instance.stop();
    lab.verify();
    report("verify named six kinds of tampering, and a rebuild healed it");
}

/// Runs `keld verify --repair` with more arguments; whether it was content, and what it wrote to stderr.
fn repair(lab: &Lab, arguments: &[&str]) -> (bool, String) {
    let all: Vec<&str> = ["--repair"].into_iter().chain(arguments.iter().copied()).collect();
    let done = verify_with(lab, &all);
    (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
}

/// Cuts the newest table file of a key's store, as a disk that lost its end does.
fn tear(lab: &Lab, key: &str) {
    let settings = settings(lab);
    let dir = task_dir(&settings.instance.data_dir, &settings.application, TABLE, partition(key));
    let dir = dir.join("db");
    let files = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path());
    let tables: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "sst")).collect();
    let newest = tables.iter().max().unwrap_or_else(|| panic!("{} has no table file", dir.display()));
    let bytes = std::fs::metadata(newest).unwrap().len();
    std::fs::File::options().write(true).open(newest).unwrap().set_len(bytes / 2).unwrap();
}

/// A store that cannot be read whole, and a changelog that is gone: what is left of the store is all there is.
fn keeps_what_it_cannot_restore(lab: &Lab, key: &str, mine: &str) {
    tear(lab, key);
    recreate(&*lab.broker(), &settings(lab).changelog_topic(TABLE));
    let settings = settings(lab);
    let dir = task_dir(&settings.instance.data_dir, &settings.application, TABLE, partition(key)).join("db");
    let tables = || {
        let files = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path());
        files.filter(|f| f.extension().is_some_and(|e| e == "sst")).collect::<std::collections::BTreeSet<_>>()
    };
    let before = tables();
    let (content, said) = repair(lab, &["--yes", "--partition", &partition(key).to_string()]);
    assert!(
        !content && said.contains("nothing was deleted") && !said.contains(&format!("{mine}: made anew")),
        "{said}"
    );
    assert!(!before.is_empty() && tables().is_superset(&before), "files of the store are gone: {before:?}");
}

pub(crate) fn is_repaired(on: On) {
    let workload = Workload::catalog(3_000, 300, &[]);
    let lab = Lab::new(on, "catalog.toml");
    let ends = loaded(&lab, &workload);
    let before = Witness::default().look(&lab);
    finish(&lab, &workload, &ends, before, lab.start());
    let key = workload.expected.keys().next().unwrap().as_str();
    let elsewhere = |k: &&String| partition(k) != partition(key);
    let other = workload.expected.keys().find(elsewhere).unwrap().as_str();
    let (mine, its) = (format!("{TABLE}/{}", partition(key)), format!("{TABLE}/{}", partition(other)));

    // It says what it would do, and deletes nothing without a yes.
    put(&lab, key, None);
    index(&lab, other, None);
    let (content, said) = repair(&lab, &[]);
    assert!(!content && said.contains("nothing was repaired") && said.contains("--yes"), "{said}");
    assert!(said.contains(&format!("{mine}: 1 differences between changelog and store: its store")), "{said}");
    assert!(said.contains(&format!("{its}: 1 differences between store and index: its documents")), "{said}");
    found(&lab, key, "in the changelog, not in the store");

    // One partition alone, then the rest; an index is no loss, so nobody is asked.
    let (content, said) = repair(&lab, &["--yes", "--partition", &partition(key).to_string()]);
    assert!(content && said.contains(&format!("{mine}: made anew")) && !said.contains(&its), "{said}");
    found(&lab, other, "0 documents in the index instead of 1");
    let (content, said) = repair(&lab, &[]);
    assert!(content && said.contains(&format!("{its}: made anew")) && !said.contains(&mine), "{said}");
    lab.verify();

    // Files that cannot be read.
    tear(&lab, key);
    assert_eq!(verify(&lab).status.code(), Some(1));
    let (content, said) = repair(&lab, &["--yes"]);
    assert!(content && said.contains(&format!("{mine}: made anew")), "{said}");
    lab.verify();
    assert_eq!(repair(&lab, &[]).1.matches("made anew").count(), 0, "there is nothing left to repair");

    // Positions have come back with the records: no event is read again.
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    assert_eq!(counted(&instance.client()), 0);
    truth::by_key(&instance.client(), TABLE, &workload);
    truth::by_search(&instance.client(), TABLE, "sku", &workload);
    instance.stop();
    lab.verify();
    if on == On::Kafka {
        keeps_what_it_cannot_restore(&lab, key, &mine);
    }
    report(&format!("verify --repair made a tampered store, a tampered index and a torn store anew ({on:?})"));
}
