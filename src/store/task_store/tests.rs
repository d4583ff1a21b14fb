use super::*;
use crate::config::MemoryPlan;

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
