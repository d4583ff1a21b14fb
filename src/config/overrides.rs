//! Environment variables and `--set` flags, laid over the tree of the file.

use super::mistakes::{Mistakes, Origin};
use super::tree::{self, Members};

/// Variables that are Keld's but say nothing about the configuration.
const OTHER: &[&str] = &[
    "KELD_FAULT",
    "KELD_LOG",
    "KELD_LOG_FORMAT",
    "KELD_CACHE",
    "KELD_CONFIG",
    "KELD_PEERS",
    "KELD_URL",
    "KELD_WORKLOADS",
];
/// The same, by how they start.
const OTHER_STARTS: &[&str] = &["KELD_KAFKA_", "KELD_LAW_", "KELD_TEST_"];

/// Lays `env`, then `flags`, over the file. An empty variable counts as not set.
pub(super) fn apply(root: &mut Members, env: &[(String, String)], flags: &[String], mistakes: &Mistakes) {
    let mut env: Vec<_> = env.iter().filter(|(name, text)| is_setting(name) && !text.is_empty()).collect();
    env.sort();
    for (name, text) in env {
        lay(root, &variable_path(name), text, &Origin::Variable(name.as_str().into()), mistakes);
    }
    for (nth, flag) in flags.iter().enumerate() {
        let (key, text) = flag.split_once('=').map_or((flag.as_str(), None), |(k, t)| (k.trim(), Some(t.trim())));
        let origin = Origin::Flag(nth, key.into());
        match text {
            Some(text) => lay(root, &flag_path(key), text, &origin, mistakes),
            None => mistakes.note(&origin, "", "expected section.key=value"),
        }
    }
}

fn lay(root: &mut Members, path: &[String], text: &str, origin: &Origin, mistakes: &Mistakes) {
    if path.iter().any(String::is_empty) {
        return mistakes.note(origin, "", "names no setting: a part of the name is empty");
    }
    if let Err(what) = tree::insert(root, path, tree::loose(text, origin)) {
        mistakes.note(origin, &path.join("."), what);
    }
}

fn is_setting(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("KELD_") else { return false };
    let other = OTHER.contains(&name) || OTHER_STARTS.iter().any(|start| name.starts_with(start));
    !other && !is_service_link(rest)
}

/// Kubernetes tells every pod of every service by variables (`KELD_SERVICE_HOST`, `KELD_PORT_7070_TCP`, …): those of a
/// service that is called `keld` or `keld-…` are no settings.
fn is_service_link(rest: &str) -> bool {
    !rest.contains("__")
        && (format!("_{rest}").contains("_SERVICE_HOST")
            || format!("_{rest}").contains("_SERVICE_PORT")
            || format!("_{rest}_").contains("_PORT_"))
}

/// `KELD_INSTANCE__DATA_DIR` → `instance`, `data_dir`; within `broker.client` a `_` is a dot.
fn variable_path(name: &str) -> Vec<String> {
    let lower = name.strip_prefix("KELD_").unwrap_or(name).to_lowercase();
    let parts: Vec<String> = lower.split("__").map(str::to_owned).collect();
    match parts.as_slice() {
        [broker, client, rest @ ..] if broker == "broker" && client == "client" && !rest.is_empty() => {
            vec![parts[0].clone(), parts[1].clone(), rest.join(".").replace('_', ".")]
        }
        _ => parts,
    }
}

/// `instance.data_dir` → `instance`, `data_dir`; behind `broker.client.` all is one name.
fn flag_path(key: &str) -> Vec<String> {
    match key.strip_prefix("broker.client.") {
        Some(rest) => vec!["broker".to_owned(), "client".to_owned(), rest.trim_matches('"').to_owned()],
        None => key.split('.').map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables_become_paths() {
        assert_eq!(variable_path("KELD_APPLICATION"), ["application"]);
        assert_eq!(variable_path("KELD_INSTANCE__DATA_DIR"), ["instance", "data_dir"]);
        assert_eq!(variable_path("KELD_BROKER__CLIENT__SASL_PASSWORD"), ["broker", "client", "sasl.password"]);
        assert_eq!(flag_path("broker.client.sasl.password"), ["broker", "client", "sasl.password"]);
        assert_eq!(flag_path("tables.a.window.events"), ["tables", "a", "window", "events"]);
    }

    #[test]
    fn what_kubernetes_sets_is_no_setting() {
        for name in [
            "KELD_SERVICE_HOST",
            "KELD_SERVICE_PORT_HTTP",
            "KELD_PORT",
            "KELD_PORT_7070_TCP_ADDR",
            "KELD_PEERS_SERVICE_HOST",
        ] {
            assert!(!is_setting(name), "{name}");
        }
        for name in ["KELD_LOG", "KELD_TEST_KAFKA", "KELD_LAW_CASES", "PATH", "KELD_FAULT"] {
            assert!(!is_setting(name), "{name}");
        }
        for name in ["KELD_APPLICATION", "KELD_APLICATION", "KELD_INSTANCE__PORT", "KELD_BROKER__KIND"] {
            assert!(is_setting(name), "{name}");
        }
    }
}
