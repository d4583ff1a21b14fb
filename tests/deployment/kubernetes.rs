//! The manifests: valid by Kubernetes' own schemas, consistent, and a configuration that Keld takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

use crate::common::python;
use crate::image;

/// Versions whose schemas the manifests must fit: the first that knows a preStop that sleeps, and a new one.
const VERSIONS: &[&str] = &["1.30", "1.37"];

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kubernetes")
}

/// The manifests that `kustomization.yaml` names.
fn files() -> Vec<PathBuf> {
    let frame = kustomization();
    frame["resources"].as_array().unwrap().iter().map(|f| dir().join(f.as_str().unwrap())).collect()
}

fn kustomization() -> Value {
    python::yaml(&dir().join("kustomization.yaml")).remove(0)
}

fn objects() -> Vec<Value> {
    files().iter().flat_map(|file| python::yaml(file)).collect()
}

fn object(kind: &str, name: &str) -> Value {
    let found = objects().into_iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The one container of the stateful set.
pub(crate) fn container() -> Value {
    let pod = pod();
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    pod["containers"][0].clone()
}

fn pod() -> Value {
    object("StatefulSet", "keld")["spec"]["template"]["spec"].clone()
}

/// The variables of the first pod in a namespace `shop`: as the image has them, then as the manifest says.
pub(crate) fn variables() -> BTreeMap<String, String> {
    let mut all = image::variables();
    for entry in container()["env"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap().to_owned();
        let value = match entry["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => "keld-0".to_owned(),
            Some("metadata.namespace") => "shop".to_owned(),
            Some(other) => panic!("{name} is made of {other}, which this test does not know"),
            // Only what was said before can be named.
            None => all.iter().fold(entry["value"].as_str().unwrap().to_owned(), |text, (name, value)| {
                text.replace(&format!("$({name})"), value)
            }),
        };
        all.insert(name, value);
    }
    all
}

fn settings() -> keld::config::Settings {
    let variables: Vec<(String, String)> = variables().into_iter().collect();
    keld::config::load(&dir().join("keld.toml"), &variables, &[]).unwrap()
}

/// A quantity of Kubernetes, bytes.
fn quantity(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    format!("{text}B").parse::<ByteSize>().unwrap_or_else(|e| panic!("{text}: {e}")).as_u64()
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs(value.as_u64().unwrap_or_else(|| panic!("{value} is no number of seconds")))
}

#[test]
fn every_manifest_fits_the_schemas_of_kubernetes() {
    for version in VERSIONS {
        let mut command = python::module("kubernetes_validate");
        let done = command.args(["--strict", "-k", version]).args(files()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
        let passed = said.lines().filter(|line| line.starts_with("INFO") && line.contains("passed")).count();
        assert_eq!(passed, objects().len(), "every object must be known to {version}:\n{said}");
        assert!(said.contains(&format!("against version {version}")), "{said}");
    }
}

#[test]
fn a_mistake_in_a_manifest_is_noticed() {
    let text = std::fs::read_to_string(dir().join("statefulset.yaml")).unwrap();
    let broken = text.replace("terminationGracePeriodSeconds: 60", "terminationGracePeriodsSeconds: 60");
    assert_ne!(text, broken);
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("statefulset.yaml");
    std::fs::write(&path, broken).unwrap();
    let done = python::module("kubernetes_validate").args(["--strict", "-k", VERSIONS[0]]).arg(path).output();
    let done = done.unwrap();
    assert!(!done.status.success() && String::from_utf8_lossy(&done.stdout).contains("terminationGracePeriodsSeconds"));
}

#[test]
fn every_file_is_named_and_every_name_is_a_file() {
    let frame = kustomization();
    let strings = |list: &Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let generated = &frame["configMapGenerator"][0];
    let mut named = strings(&frame["resources"]);
    named.extend(strings(&generated["files"]));
    named.insert("kustomization.yaml".to_owned());
    let there = std::fs::read_dir(dir()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), named);
    // The config map, the image and the volume of the pod are those that the frame makes and renames.
    let volume = &pod()["volumes"][0];
    assert_eq!(volume["configMap"]["name"], generated["name"]);
    assert_eq!(container()["image"], frame["images"][0]["name"]);
    let mount = mounts().remove(volume["name"].as_str().unwrap()).unwrap();
    let config = Path::new(&variables()["KELD_CONFIG"]).to_owned();
    assert_eq!(config.parent().unwrap().to_str(), Some(mount.as_str()));
    assert!(named.contains(config.file_name().unwrap().to_str().unwrap()));
}

/// Paths by the name of the volume.
fn mounts() -> BTreeMap<String, String> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    container()["volumeMounts"].as_array().unwrap().iter().map(|m| (text(&m["name"]), text(&m["mountPath"]))).collect()
}

#[test]
fn labels_and_ports_meet() {
    let set = object("StatefulSet", "keld");
    let labels = set["spec"]["template"]["metadata"]["labels"].clone();
    let has = |selector: &Value| selector.as_object().unwrap().iter().all(|(name, value)| labels[name] == *value);
    let port = container()["ports"][0].clone();
    assert!(has(&set["spec"]["selector"]["matchLabels"]));
    for name in ["keld", "keld-peers"] {
        let service = object("Service", name)["spec"].clone();
        assert!(has(&service["selector"]), "{service}");
        assert_eq!(service["ports"][0]["targetPort"], port["name"]);
    }
    assert!(has(&object("PodDisruptionBudget", "keld")["spec"]["selector"]["matchLabels"]));
    let policy = object("NetworkPolicy", "keld")["spec"].clone();
    assert!(has(&policy["podSelector"]["matchLabels"]));
    assert!(has(&policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"]), "instances must reach each other");
    assert_eq!(policy["ingress"][0]["ports"][0]["port"], port["name"]);
    let spread = &pod()["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
    let apart = pod()["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0].clone();
    assert!(has(spread) && has(&apart["podAffinityTerm"]["labelSelector"]["matchLabels"]));
    let annotations = &set["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], port["containerPort"].to_string());
}

#[test]
fn the_configuration_of_a_pod_is_one_that_keld_takes() {
    let settings = settings();
    assert_eq!(settings.instance.id, "keld-0");
    assert!(settings.instance.static_membership);
    // The headless service gives pods the names that they are told to be found by, also before they are ready.
    let set = object("StatefulSet", "keld")["spec"].clone();
    let peers = object("Service", set["serviceName"].as_str().unwrap())["spec"].clone();
    assert_eq!((&peers["clusterIP"], &peers["publishNotReadyAddresses"]), (&"None".into(), &true.into()));
    let (name, port) = (set["serviceName"].as_str().unwrap(), &peers["ports"][0]["port"]);
    assert_eq!(settings.instance.advertise, format!("http://keld-0.{name}.shop.svc:{port}"));
    assert_eq!(settings.instance.listen.port(), container()["ports"][0]["containerPort"].as_u64().unwrap() as u16);
    assert!(settings.instance.listen.ip().is_unspecified());
    let claim = set["volumeClaimTemplates"][0].clone();
    let mount = mounts().remove(claim["metadata"]["name"].as_str().unwrap()).unwrap();
    assert!(settings.instance.data_dir.starts_with(mount), "{}", settings.instance.data_dir.display());
    assert!(quantity(&claim["spec"]["resources"]["requests"]["storage"]) >= 2 * settings.state.budget);
    assert!(set["replicas"].as_u64().unwrap() as usize > settings.cluster.standbys + 1, "one may be away");
}

#[test]
fn memory_and_processors_fit_the_container() {
    let (settings, resources) = (settings(), container()["resources"].clone());
    let limit = quantity(&resources["limits"]["memory"]);
    assert!(settings.memory_budget * 4 <= limit * 3, "{} of {limit}", settings.memory_budget);
    assert_eq!(resources["limits"]["memory"], resources["requests"]["memory"]);
    // By default they go by the processors of the node.
    let text = std::fs::read_to_string(dir().join("keld.toml")).unwrap();
    for setting in ["workers", "search_threads"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{setting} = "))), "{setting} must be given");
    }
}

#[test]
fn a_pod_has_time_to_end_and_to_come_back() {
    let (settings, pod, container) = (settings(), pod(), container());
    let drained = seconds(&container["lifecycle"]["preStop"]["sleep"]["seconds"]);
    let grace = seconds(&pod["terminationGracePeriodSeconds"]);
    assert!(grace >= drained + settings.processing.transaction_timeout * 2 + Duration::from_secs(15), "{grace:?}");
    // Static members that stay: the group waits for a pod that is replaced in order.
    assert_eq!(container["args"], serde_json::json!(["run", "--on-stop", "stay"]));
    assert!(settings.broker.session_timeout >= Duration::from_secs(30));
    let unready = seconds(&container["readinessProbe"]["periodSeconds"]) * 2;
    assert!(drained >= unready, "services must know before it stops to listen");
}

#[test]
fn a_pod_may_do_nothing_that_it_need_not() {
    let (pod, container) = (pod(), container());
    let (user, group) = {
        let user = image::said("USER");
        let (user, group) = user.split_once(':').unwrap();
        (user.parse::<u64>().unwrap(), group.parse::<u64>().unwrap())
    };
    let of = &pod["securityContext"];
    assert_eq!((&of["runAsNonRoot"], &of["runAsUser"], &of["fsGroup"]), (&true.into(), &user.into(), &group.into()));
    let of = &container["securityContext"];
    assert_eq!((&of["readOnlyRootFilesystem"], &of["allowPrivilegeEscalation"]), (&true.into(), &false.into()));
    assert_eq!(of["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(pod["automountServiceAccountToken"], false);
}
