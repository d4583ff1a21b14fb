//! Configuration: loading, checking, and the settings that the rest of Keld sees.

pub mod memory;
pub mod settings;

pub use memory::MemoryPlan;
pub use settings::*;

/// Loads, overrides and checks a configuration.
///
/// `path`: the file; `overrides`: `section.key=value` pairs from flags, strongest last. `KELD_<SECTION>__<KEY>` variables of `env` stand
/// between the file and the flags. All mistakes of the file are reported in one error, one line each:
/// `file:line:column: path: what is wrong (what to do)`.
pub fn load(_path: &std::path::Path, _env: &[(String, String)], _overrides: &[String]) -> crate::Result<Settings> {
    todo!()
}
