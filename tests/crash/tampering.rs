//! `keld verify` finds what somebody else did to the files, and a rebuild heals it.

use keld::broker::Offset;
use keld::config::MemoryPlan;
use keld::index::{IndexBatch, IndexChange, IndexOptions, TableIndex};
use keld::metrics::Metrics;
use keld::record::Partitioner;
use keld::store::{SharedMemory, Store, StoreBatch, task_dir};

use crate::common::lab::{Lab, On, PARTITIONS, loaded};
use crate::common::workload::Workload;
use crate::common::{report, truth};
use crate::scene::{TABLE, Witness, finish, settings, verify};

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
        interval: settings.index.interval,
        catch_up_interval: settings.index.catch_up_interval,
        commit_interval: settings.index.commit_interval,
        sync_interval: settings.index.sync_interval,
        metrics: Metrics::new().table(TABLE, &sources, &[]),
    };
    let (index, _) = TableIndex::open(def.clone(), options).unwrap();
    let covered: Offset = index.covered(partition(key)).unwrap();
    let stored = stored.map(<[u8]>::to_vec);
    let changes = vec![IndexChange { key: key.as_bytes().into(), stored, existed: true }];
    let batch = IndexBatch {
        partition: partition(key),
        changelog: covered,
        sources: Vec::new(),
        changes,
        oldest_ms: None,
        catching_up: false,
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
