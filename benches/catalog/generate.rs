//! The reference workload, made by `scripts/workload` once and kept in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Result;

/// Which workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    /// Distinct events.
    pub(crate) events: u64,
    /// Keys.
    pub(crate) keys: u64,
    /// Seed.
    pub(crate) seed: u64,
    /// More flags for the generator.
    pub(crate) more: &'a str,
}

impl Shape<'_> {
    /// The folder with events.tsv and expected.ndjson; generated unless it is there.
    pub(crate) fn generated(&self, root: &Path) -> Result<PathBuf> {
        let cache = match std::env::var_os("KELD_CACHE") {
            Some(dir) => PathBuf::from(dir),
            None => {
                let home = std::env::var_os("HOME").ok_or("neither KELD_CACHE nor HOME is set")?;
                PathBuf::from(home).join(".cache/keld")
            }
        };
        let extra: String = self.more.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        let name = format!("catalog-{}-{}-{}{extra}", self.events, self.keys, self.seed);
        let dir = cache.join("workloads").join(name);
        if dir.join("complete").exists() {
            return Ok(dir);
        }
        println!("== generating {} events of {} keys, once, into {}", self.events, self.keys, dir.display());
        let generated = Command::new(root.join("scripts/workload"))
            .args(["catalog", "--events", &self.events.to_string(), "--keys", &self.keys.to_string()])
            .args(["--seed", &self.seed.to_string()])
            .args(self.more.split_whitespace())
            .arg("--out")
            .arg(&dir)
            .status()?;
        if !generated.success() {
            return Err("scripts/workload failed (above)".into());
        }
        std::fs::write(dir.join("complete"), "")?;
        Ok(dir)
    }
}
