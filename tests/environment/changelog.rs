//! A changelog that is gone: never "restored, empty".

use crate::common::lab::{Lab, On, loaded};
use crate::common::topics::recreate;
use crate::setting::{CONFIG, available, exact, failed, workload};

#[test]
fn a_changelog_made_anew_is_refused_and_rebuilding_works() {
    if !available(On::Kafka) {
        return;
    }
    let lab = Lab::with_config(On::Kafka, CONFIG);
    let workload = workload(3_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    let (broker, changelog) = (lab.broker(), format!("{}-things-changelog", lab.name));
    recreate(&*broker, &changelog);
    failed(lab.spawn(&[], &[]), &["things/", "ends at 0", "made anew", "bring the changelog back", "--rebuild"]);
    // The store gone as well: the group's offsets still tell that there was something.
    std::fs::remove_dir_all(lab.data_dir()).unwrap();
    failed(lab.spawn(&[], &[]), &["things/", &lab.name, "changelog and store are empty", "--rebuild"]);
    let mut instance = lab.spawn(&["--rebuild"], &[]);
    instance.wait_listening();
    exact(&lab, instance, &workload, &ends);
}

#[test]
fn a_store_ahead_of_a_changelog_made_anew_is_rebuilt_when_told_so() {
    if !available(On::Kafka) {
        return;
    }
    let lab = Lab::with_config(On::Kafka, CONFIG);
    let workload = workload(3_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    recreate(&*lab.broker(), &format!("{}-things-changelog", lab.name));
    let mut instance = lab.spawn(&["--rebuild"], &[]);
    instance.wait_listening();
    exact(&lab, instance, &workload, &ends);
}

#[test]
fn an_embedded_log_that_is_gone_is_refused_and_goes_on_when_it_is_back() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let workload = workload(3_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    let log = lab.data_dir().join(&lab.name).join("log");
    let aside = lab.dir.path().join("aside");
    std::fs::rename(&log, &aside).unwrap();
    failed(lab.spawn(&[], &[]), &["things/", "ends at 0", "made anew", "--rebuild"]);
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    exact(&lab, lab.start(), &workload, &ends);
}

#[test]
fn a_rebuild_takes_the_changelog_as_the_truth() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let workload = workload(3_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    let mut instance = lab.spawn(&["--rebuild"], &[]);
    instance.wait_listening();
    instance.wait_caught_up(&ends);
    instance.wait_words("restored=", 1);
    exact(&lab, instance, &workload, &ends);
}
