//! One process a data directory.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Error, Kind, Result};

/// Holds the lock of an application's data directory until it is dropped.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Creates the directory if it is missing and locks it.
    pub fn take(data_dir: &Path, application: &str) -> Result<Self> {
        let dir = data_dir.join(application);
        let unusable = |e: std::io::Error| {
            Error::new(Kind::Storage, format!("cannot use the data directory {}", dir.display())).because(e).advise(
                "check that it can be created and written and that the disk has space, or set instance.data_dir",
            )
        };
        std::fs::create_dir_all(&dir).map_err(unusable)?;
        let file = File::options().create(true).append(true).open(dir.join("LOCK")).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::refused(format!("the data directory {} is in use by another process", dir.display()))
                    .advise("stop the other Keld, or give this one its own instance.data_dir"))
            }
            Err(TryLockError::Error(e)) => Err(unusable(e)),
        }
    }
}
