//! Where a task's files are: `<data_dir>/<application>/<table>/<partition>/`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Kind, Result};

/// Name of the file that holds the format version of a task's folder.
pub const FORMAT_FILE: &str = "FORMAT";
const FORMAT: &str = "1";

/// The folder of a task.
pub fn task_dir(data_dir: &Path, application: &str, table: &str, partition: u32) -> PathBuf {
    data_dir.join(application).join(table).join(partition.to_string())
}

/// Creates the folder if it is missing and checks that this build can read it.
pub(super) fn prepare(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| unusable(dir, e))?;
    let file = dir.join(FORMAT_FILE);
    match fs::read_to_string(&file) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        // Cut off by a power loss before anything else was written here.
        Ok(found) if found.is_empty() => note(&file).map_err(|e| unusable(dir, e)),
        Ok(found) => Err(Error::refused(format!(
            "{} was written in format {:?}, this build reads {FORMAT}",
            dir.display(),
            found.trim()
        ))
        .advise("run the build that wrote it, or start with --rebuild")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => note(&file).map_err(|e| unusable(dir, e)),
        Err(e) => Err(unusable(dir, e)),
    }
}

/// Notes the format, whole or not at all: a disk that is full leaves no empty file behind.
fn note(file: &Path) -> std::io::Result<()> {
    let draft = file.with_extension("new");
    fs::write(&draft, FORMAT)?;
    fs::rename(&draft, file)
}

fn unusable(dir: &Path, e: std::io::Error) -> Error {
    Error::new(Kind::Storage, format!("cannot use the data directory {}", dir.display()))
        .because(e)
        .advise("check that it exists, is writable and has space, or set instance.data_dir")
}
