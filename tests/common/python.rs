//! Programs of Python that tests run, at the versions that `scripts/python-tools.txt` names.

use std::path::PathBuf;
use std::process::Command;

/// `python3 -m <module>`. Without its installation the test fails: nothing would have been checked.
pub(crate) fn module(name: &str) -> Command {
    let mut command = python();
    command.args(["-m", name]);
    command
}

/// `python3` with these programs' packages.
pub(crate) fn python() -> Command {
    let cache = std::env::var_os("KELD_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/keld");
    let dir = cache.unwrap_or_else(home).join("python-tools");
    assert!(dir.join("list.txt").is_file(), "{} is missing: run scripts/setup --tests", dir.display());
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", dir).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The documents of a YAML file as JSON.
pub(crate) fn yaml(path: &std::path::Path) -> Vec<serde_json::Value> {
    let script = "import json, sys, yaml; print(json.dumps([d for d in yaml.safe_load_all(open(sys.argv[1])) if d]))";
    let done = python().args(["-c", script]).arg(path).output().unwrap();
    assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}
