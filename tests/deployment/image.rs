//! The Dockerfile, as far as it can be read without an engine.

use std::collections::BTreeMap;

use crate::common::lab::{Lab, On};

/// The lines of the image that runs, continued ones joined; comments are left out.
pub(crate) fn lines() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile")).unwrap();
    let text = text.rsplit_once("\nFROM ").unwrap().1.replace("\\\n", " ");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What stands behind an instruction.
pub(crate) fn said(instruction: &str) -> String {
    let start = format!("{instruction} ");
    let found = lines().into_iter().find_map(|line| line.strip_prefix(&start).map(str::to_owned));
    found.unwrap_or_else(|| panic!("the Dockerfile says no {instruction}"))
}

/// The variables of the image.
pub(crate) fn variables() -> BTreeMap<String, String> {
    let pair = |word: &str| word.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
    said("ENV").split(' ').filter_map(pair).collect()
}

/// The command of the health check.
pub(crate) fn health_check() -> Vec<String> {
    let check = said("HEALTHCHECK");
    serde_json::from_str(check.split_once(" CMD ").unwrap().1).unwrap()
}

#[test]
fn the_image_is_configured_and_not_root() {
    let mut variables: Vec<(String, String)> = variables().into_iter().collect();
    let (user, group) = {
        let user = said("USER");
        let (user, group) = user.split_once(':').unwrap();
        (user.parse::<u32>().unwrap(), group.parse::<u32>().unwrap())
    };
    assert!(user > 0 && group > 0);
    let config = variables.iter().find(|(name, _)| name == "KELD_CONFIG").unwrap().1.clone();
    let copied = lines().into_iter().find(|l| l.starts_with("COPY config/")).unwrap();
    let name = config.strip_prefix("/etc/keld/").unwrap();
    assert!(copied.contains(&format!("config/{name} ")), "{config} is not copied by {copied:?}");
    for file in copied.split(' ').filter(|word| word.starts_with("config/")) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let settings = keld::config::load(&path, &variables, &[]).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(settings.instance.listen.port().to_string(), said("EXPOSE"));
        assert!(settings.instance.data_dir.starts_with(said("VOLUME")), "{}", settings.instance.data_dir.display());
    }
    variables.push(("KELD_NO_SUCH__SETTING".into(), "1".into()));
    let reference = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/keld.toml");
    assert!(keld::config::load(&reference, &variables, &[]).is_err(), "an unknown variable must be noticed");
}

/// The health check is a command of Keld, and says how the instance is; there is no other program in the image to ask with.
#[test]
fn the_health_check_follows_the_instance() {
    let command = health_check();
    assert_eq!(command, ["keld", "health"]);
    let lab = Lab::new(On::Local, "catalog.toml");
    let mut instance = lab.start();
    instance.wait_caught_up(&Default::default());
    let address = instance.address.clone().unwrap();
    let ask = |arguments: &[&str]| {
        let mut health = lab.command("health");
        let listen = format!("instance.listen={}", address.strip_prefix("http://").unwrap());
        health.args(["--set", &listen]).args(arguments).output().unwrap()
    };
    let well = ask(&[]);
    assert!(well.status.success(), "{}", String::from_utf8_lossy(&well.stderr));
    assert_eq!(String::from_utf8_lossy(&well.stdout), "live\n");
    instance.wait_for("being ready", |_| ask(&["--ready"]).status.success().then_some(()));
    instance.stop();
    let gone = ask(&[]);
    assert_eq!(gone.status.code(), Some(1));
    let said = String::from_utf8_lossy(&gone.stderr);
    assert!(said.contains("no instance answers at http://127.0.0.1:"), "{said}");
}
