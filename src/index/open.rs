//! Opening an index: what is on disk is used only where nothing can be torn, and is replaced by an empty index elsewhere.
//!
//! Trusted are: everything, while the machine has not been booted since the last commit (the page cache has it all), and
//! after that exactly the state that the last full sync noted down in the marker file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tantivy::directory::error::LockError;
use tantivy::index::IndexSettings;
use tantivy::store::Compressor;
use tantivy::{Index, TantivyError};

use super::directory::{self, SoftDirectory};
use super::schema::Fields;
use super::{Covered, Found};
use crate::broker::Offset;
use crate::{Error, Kind, Result};

const LOCK: &str = ".keld.lock";
/// How long a lock may outlive its holder: a process that was killed is still being taken down, or has a child that was forked
/// off and has not begun its own program yet, which holds the lock as well.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const META: &str = "meta.json";
const MANAGED: &str = ".managed.json";
/// Holds the hash of the `meta.json` whose files are all on disk.
const MARKER: &str = ".synced";

/// What is written with every commit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Payload {
    /// Boot of the machine that wrote it, where known.
    boot: Option<String>,
    /// [`Fields::fingerprint`].
    schema: String,
    /// By partition: changelog position, source positions by topic.
    partitions: BTreeMap<u32, (Offset, BTreeMap<String, Offset>)>,
}

impl Payload {
    pub(super) fn new(boot: Option<&str>, fields: &Fields, covered: &BTreeMap<u32, Covered>) -> Self {
        let plain = |c: &Covered| (c.changelog, c.sources.iter().map(|(t, o)| (t.to_string(), *o)).collect());
        Self {
            boot: boot.map(str::to_owned),
            schema: fields.fingerprint(),
            partitions: covered.iter().map(|(p, c)| (*p, plain(c))).collect(),
        }
    }

    pub(super) fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::internal("the payload of an index commit").because(e))
    }

    fn covered(self) -> BTreeMap<u32, Covered> {
        let typed = |(changelog, sources): (Offset, BTreeMap<String, Offset>)| Covered {
            changelog,
            sources: sources.into_iter().map(|(t, o)| (Arc::from(t), o)).collect(),
        };
        self.partitions.into_iter().map(|(p, c)| (p, typed(c))).collect()
    }
}

/// An index that is open, and what was found.
pub(super) struct Opened {
    pub(super) index: Index,
    pub(super) found: Found,
    pub(super) covered: BTreeMap<u32, Covered>,
    /// Keeps other processes out while it is held.
    pub(super) lock: File,
}

/// Names the running boot of this machine, where the system tells.
pub(super) fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Opens what is in `dir`, or creates an empty index there.
pub(super) fn open(fields: &Fields, dir: &Path, boot: Option<&str>) -> Result<Opened> {
    let storage = |e| trouble(dir, "cannot be prepared").because(e);
    fs::create_dir_all(dir).map_err(storage)?;
    let lock = lock(dir)?;
    match existing(fields, dir, boot) {
        Ok((index, covered)) => {
            let positions = covered.iter().map(|(p, c)| (*p, c.changelog)).collect();
            Ok(Opened { index, found: Found::Usable(positions), covered, lock })
        }
        Err(reason) => {
            empty(dir).map_err(storage)?;
            let index = create(fields, dir).map_err(|e| failed(dir, e))?;
            Ok(Opened { index, found: Found::Empty(reason), covered: BTreeMap::new(), lock })
        }
    }
}

fn lock(dir: &Path) -> Result<File> {
    let options = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK));
    let file = options.map_err(|e| trouble(dir, "cannot be locked").because(e))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_PATIENCE / 50),
            Err(TryLockError::WouldBlock) => return Err(in_use(dir)),
            Err(TryLockError::Error(e)) => return Err(trouble(dir, "cannot be locked").because(e)),
        }
    }
}

fn create(fields: &Fields, dir: &Path) -> tantivy::Result<Index> {
    let settings = IndexSettings {
        docstore_compression: Compressor::None,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    };
    let tokenizers = fields.analyzers.index.clone();
    Index::builder()
        .schema(fields.schema.clone())
        .settings(settings)
        .tokenizers(tokenizers)
        .open_or_create(SoftDirectory::open(dir)?)
}

/// Removes everything but the lock. What is gone by itself is no trouble: threads of a writer that was just dropped in this
/// process may still be removing files that nobody needs.
fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        let is_dir = entry.file_type()?.is_dir();
        let removed = if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// The index in `dir` if it can be trusted, else why not.
fn existing(fields: &Fields, dir: &Path, boot: Option<&str>) -> Result<(Index, BTreeMap<u32, Covered>), String> {
    let meta = match fs::read(dir.join(META)) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err("there was no index".to_owned()),
        Err(e) => return Err(format!("its {META} cannot be read: {e}")),
    };
    let damaged = |e: TantivyError| format!("it is damaged: {e}");
    let mut index = Index::open(SoftDirectory::open(dir).map_err(|e| damaged(e.into()))?).map_err(damaged)?;
    index.set_tokenizers(fields.analyzers.index.clone());
    let payload = index.load_metas().map_err(damaged)?.payload.ok_or("nothing had been committed to it")?;
    let payload: Payload = serde_json::from_str(&payload).map_err(|e| format!("its positions cannot be read: {e}"))?;
    if payload.schema != fields.fingerprint() {
        return Err("the search options of the table have changed".to_owned());
    }
    if boot.is_none() || payload.boot.as_deref() != boot {
        synced(&index, dir, &meta)?;
    }
    let reader = index.reader_builder().reload_policy(tantivy::ReloadPolicy::Manual).try_into().map_err(damaged)?;
    drop(reader);
    Ok((index, payload.covered()))
}

/// Checks that what `meta` names was on disk before the machine was booted.
fn synced(index: &Index, dir: &Path, meta: &[u8]) -> Result<(), String> {
    if fs::read_to_string(dir.join(MARKER)).ok() != Some(hash(meta)) {
        return Err("the machine was started anew since its last commit, and that commit was not synced".to_owned());
    }
    match index.validate_checksum() {
        Ok(damaged) if damaged.is_empty() => Ok(()),
        Ok(damaged) => Err(format!("{} of its files do not match their checksums", damaged.len())),
        Err(e) => Err(format!("its files cannot be checked: {e}")),
    }
}

fn hash(meta: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(meta))
}

/// Brings the last commit to the disk and notes so in the marker. Returns whether it succeeded before a merge changed
/// the files once more; if not, the next time will do.
pub(super) fn sync(index: &Index, dir: &Path) -> Result<bool> {
    let storage = |e| trouble(dir, "cannot be synced").because(e);
    let before = fs::read(dir.join(META)).map_err(storage)?;
    // Held to the end: its files are not collected meanwhile.
    let metas = index.load_metas().map_err(|e| failed(dir, e))?;
    directory::sync(dir, metas.list_segment_files()).map_err(storage)?;
    directory::sync(dir, [PathBuf::from(META), PathBuf::from(MANAGED)]).map_err(storage)?;
    directory::sync_names(dir).map_err(storage)?;
    if fs::read(dir.join(META)).map_err(storage)? != before {
        return Ok(false);
    }
    fs::write(dir.join(MARKER), hash(&before)).map_err(storage)?;
    directory::sync(dir, [PathBuf::from(MARKER)]).map_err(storage)?;
    directory::sync_names(dir).map_err(storage)?;
    Ok(true)
}

fn in_use(dir: &Path) -> Error {
    Error::refused(format!("the index in {} is in use by another process", dir.display()))
        .advise("stop the other process, or give this one a data_dir of its own")
}

fn trouble(dir: &Path, what: &str) -> Error {
    Error::new(Kind::Storage, format!("the index in {} {what}", dir.display()))
}

/// What an error of the library means.
pub(super) fn failed(dir: &Path, e: TantivyError) -> Error {
    match e {
        TantivyError::LockFailure(LockError::LockBusy, _) => in_use(dir),
        TantivyError::DataCorruption(_) | TantivyError::IncompatibleIndex(_) => {
            Error::new(Kind::Corrupt, format!("the index in {} is damaged", dir.display()))
                .because(e)
                .advise("remove the folder: the index is built anew from the store")
        }
        e => trouble(dir, "failed").because(e).advise("see that the disk has space and can be written"),
    }
}
