//! The files of tasks that have gone.

use std::path::Path;

use crate::common::report;
use crate::common::workload::Workload;
use crate::fleet::{Fleet, PARTITIONS, TABLE, shares};

/// Words that say that files are deleted.
const DELETED: &str = "files of a task are deleted";

/// Partitions that have files in a table's folder.
fn on_disk(dir: &Path) -> Vec<u32> {
    let names = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    found.sort_unstable();
    found
}

#[test]
fn files_of_a_task_that_has_gone_are_kept_then_deleted_and_restored_when_it_comes_back() {
    let Some(mut fleet) = Fleet::new(&["state.retention=30s", "cluster.standbys=0"]) else { return };
    let workload = Workload::catalog(20_000, 2_000, &["--dup", "0.1", "--late", "0.1"]);
    let parts: Vec<_> = workload.deliveries.chunks(workload.deliveries.len().div_ceil(3)).collect();
    let dir = fleet.lab.dir.path().join("data-0").join(&fleet.lab.name).join(TABLE);
    fleet.start(0..1);
    let ends = fleet.append(parts[0]);
    fleet.wait_done(&ends, |owners| shares(owners).len() == 1);
    fleet.start(1..2);
    let ends = fleet.append(parts[1]);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[6, 6]));
    let said = fleet.stderr(0);
    assert!(!said.contains(DELETED), "at once\n{said}");
    assert_eq!(on_disk(&dir).len(), PARTITIONS as usize, "a move wipes nothing\n{said}");

    let own: Vec<u32> = owners.iter().filter(|(_, owner)| **owner == 0).map(|(partition, _)| *partition).collect();
    fleet.wait_for("the files to be deleted", |_| (on_disk(&dir) == own).then_some(()));
    let said = fleet.running[&0].wait_words(DELETED, 6);
    assert_eq!(said.matches(DELETED).count(), 6, "{said}");
    assert!(said.contains("longer than state.retention"), "{said}");

    fleet.kill(1);
    let ends = fleet.append(parts[2]);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).len() == 1);
    assert_eq!(on_disk(&dir).len(), PARTITIONS as usize);
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..2);
    report(&format!(
        "state.retention: the files of six tasks that had moved were kept, deleted after 30 s, and restored from their changelogs \
         when the tasks came back: {} records equal",
        workload.expected.len()
    ));
}
