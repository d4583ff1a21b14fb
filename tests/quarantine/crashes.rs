//! The process aborted at every step of a replay, which is then asked for again.

use std::os::unix::process::ExitStatusExt;

use keld::fault::POINTS;
use serde_json::json;

use crate::common::lab::On;
use crate::scene::{Scene, late, listed, replay, thing};

const SIGABRT: i32 = 6;

pub(crate) fn a_crash_within_a_replay_neither_loses_nor_repeats_it(on: On) {
    let points: Vec<&&str> = POINTS.iter().filter(|p| p.starts_with("replay.")).collect();
    assert_eq!(points.len(), 3);
    for point in points {
        let mut scene = Scene::new(on);
        scene.send(&late("late"));
        let mut instance = scene.lab.spawn(&[], &[("KELD_FAULT", point)]);
        instance.wait_listening();
        scene.wait_consumed(&mut instance, 0);
        let body = json!({ "reason": "outside_window" });
        let asked =
            instance.client().try_post("/v1/quarantine/replay", "application/json", body.to_string().as_bytes());
        assert!(asked.is_err(), "{point}: it died before it answered");
        let (status, stderr) = instance.wait_end();
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}\n{stderr}");
        assert!(stderr.contains(&format!("fault point {point} fired")), "{point}: {stderr}");

        let mut instance = scene.lab.start();
        let client = instance.client();
        instance.wait_for("the table to run", |c| c.try_get("/health/ready").ok().filter(|(code, _)| *code == 200));
        let committed = u64::from(*point == "replay.3_committed");
        let answer = replay(&client, &body);
        assert_eq!(answer["replayed"], 1 - committed, "{point}: {answer}");
        let status = scene.wait_consumed(&mut instance, 1);
        assert_eq!(thing(&client, "late")["sold"], 7, "{point}: once");
        assert_eq!(scene.accounts(&status, 1)["quarantined"], 1, "{point}");
        assert!(listed(&client, "").iter().all(|e| e["replayed_ms"].is_i64()), "{point}");
        instance.stop();
        scene.lab.verify();
    }
}
