//! The compose file: valid by its own schema, and instances that differ in what must differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::common::python;
use crate::image;

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/compose.yaml")
}

/// The instances by the names of their services.
fn instances() -> BTreeMap<String, Value> {
    let file = python::yaml(&path()).remove(0);
    let services = file["services"].as_object().unwrap().clone();
    services.into_iter().filter(|(name, _)| name.starts_with("keld-")).collect()
}

fn check(path: &Path) -> (bool, String) {
    let mut command = python::module("check_jsonschema");
    let done = command.args(["--builtin-schema", "vendor.compose-spec", "-v"]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (done.status.success(), said)
}

#[test]
fn the_file_fits_the_schema_of_compose_files() {
    let (valid, said) = check(&path());
    assert!(valid, "{said}");
    let text = std::fs::read_to_string(path()).unwrap();
    let work = tempfile::tempdir().unwrap();
    let broken = work.path().join("compose.yaml");
    std::fs::write(&broken, text.replace("stop_grace_period:", "stop_grace_periods:")).unwrap();
    let (valid, said) = check(&broken);
    assert!(!valid && said.contains("stop_grace_periods"), "{said}");
}

#[test]
fn instances_are_configured_and_apart() {
    let instances = instances();
    assert_eq!(instances.len(), 3);
    let (mut ids, mut volumes, mut ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (name, service) in &instances {
        let mut variables = image::variables();
        let said = service["environment"].as_object().unwrap();
        variables.extend(said.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())));
        let file = variables["KELD_CONFIG"].strip_prefix("/etc/keld/").unwrap().to_owned();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file);
        let variables: Vec<_> = variables.into_iter().collect();
        let settings = keld::config::load(&config, &variables, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(settings.instance.id, *name);
        assert_eq!(settings.instance.advertise, format!("http://{name}:{}", settings.instance.listen.port()));
        assert_eq!(service["hostname"], **name);
        assert!(settings.topics.create_sources, "nobody else makes them");
        let broker = settings.broker.bootstrap_servers.split(':').next().unwrap();
        assert_eq!(service["depends_on"][0], broker);
        let volume = service["volumes"][0].as_str().unwrap().to_owned();
        assert!(settings.instance.data_dir.starts_with(volume.split(':').nth(1).unwrap()), "{volume}");
        let port = service["ports"][0].as_str().unwrap().to_owned();
        assert!(port.starts_with("127.0.0.1:"), "{port}: without access control only this machine may ask");
        assert!(ids.insert(settings.instance.id) && volumes.insert(volume) && ports.insert(port));
        assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()));
    }
}
