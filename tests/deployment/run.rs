//! A pod's command, variables and probes, tried on a process.

use std::process::{Command, Stdio};

use crate::common::lab::Instance;
use crate::kubernetes::{container, variables};

/// The command line and the variables of the manifest, but for what only a cluster has: Kafka, and a volume.
#[test]
fn a_pod_runs_and_answers_its_probes() {
    let work = tempfile::tempdir().unwrap();
    let container = container();
    let arguments = container["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned());
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config/kubernetes/keld.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keld"));
    command.args(arguments).env_clear().envs(variables()).env("KELD_CONFIG", config);
    command.env("KELD_BROKER__KIND", "local").env("KELD_INSTANCE__LISTEN", "127.0.0.1:0");
    command.env("KELD_INSTANCE__DATA_DIR", work.path().join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut instance = Instance::new(command.spawn().unwrap());
    instance.wait_listening();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap().to_owned();
        assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
        instance.wait_for(probe, |client| (client.try_get(&path).ok()?.0 == 200).then_some(()));
    }
    let status = instance.client().get("/v1/status");
    assert_eq!(status["instance"], "keld-0");
    // As a node ends a pod.
    instance.stop();
}
