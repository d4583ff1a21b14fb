//! When a task's files were last in use, and how much of the disk they take: what decides how long they are kept after the task
//! has gone.

use std::fs;
use std::path::Path;

use crate::{Error, Kind, Result};

/// Name of the file that says when the task was last held, in milliseconds since the epoch.
const HELD_FILE: &str = "HELD";

/// Notes that the files in `dir` are in use at `now_ms`.
pub fn note_held(dir: &Path, now_ms: i64) -> Result<()> {
    let (file, draft) = (dir.join(HELD_FILE), dir.join("HELD.new"));
    let noted = fs::write(&draft, now_ms.to_string()).and_then(|()| fs::rename(&draft, &file));
    noted.map_err(|e| Error::new(Kind::Storage, format!("cannot write {}", file.display())).because(e))
}

/// When the files in `dir` were last in use; `None` if nobody has noted it, or there are none.
pub fn last_held(dir: &Path) -> Option<i64> {
    fs::read_to_string(dir.join(HELD_FILE)).ok()?.trim().parse().ok()
}

/// Bytes of the files in `dir` and in its folders. A file that goes meanwhile does not count.
pub fn disk_bytes(dir: &Path) -> u64 {
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    };
    fs::read_dir(dir).into_iter().flatten().flatten().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_again_and_damage_counts_as_nothing_noted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_held(dir.path()), None);
        note_held(dir.path(), 1_700_000_000_123).unwrap();
        note_held(dir.path(), 1_700_000_000_456).unwrap();
        assert_eq!(last_held(dir.path()), Some(1_700_000_000_456));
        assert_eq!(disk_bytes(dir.path()), 13, "one file with thirteen digits");
        // Where the database is.
        fs::create_dir(dir.path().join("db")).unwrap();
        fs::write(dir.path().join("db/000001.sst"), [0; 1_000]).unwrap();
        assert_eq!(disk_bytes(dir.path()), 1_013);
        fs::write(dir.path().join(HELD_FILE), "soon").unwrap();
        assert_eq!(last_held(dir.path()), None);
        assert!(note_held(&dir.path().join("nowhere"), 1).is_err());
        assert_eq!(disk_bytes(&dir.path().join("nowhere")), 0);
    }
}
