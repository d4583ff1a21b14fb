//! A topic of nothing but bad events: the table stops and says why, others go on, and nothing is lost.

use serde_json::{Value, json};

use crate::common::lab::On;
use crate::scene::{Scene, deep, event, listed, thing};

/// Events of the bad topic: more than one poll takes.
const BAD: i64 = 12_000;

pub(crate) fn a_table_that_refuses_most_of_its_events_stops_and_goes_on_when_told(on: On) {
    let mut scene = Scene::new(on);
    let mut events = vec![event("good", 1, &json!({ "name": "before" }))];
    events.extend((0..BAD).map(|n| deep(&format!("deep-{n}"), n)));
    scene.send(&events);
    let sent = events.len() as u64;

    let mut instance = scene.lab.start();
    let table = |status: &Value, name: &str| {
        let account = status["tables"].as_array()?.iter().find(|t| t["name"] == name)?["accounting"]["things"].clone();
        account["consumed"].as_u64().map(|consumed| (consumed, account["quarantined"].as_u64().unwrap()))
    };
    let why = instance.wait_for("the table to stop", |client| {
        let status = client.get("/v1/status");
        let mut tasks = status["tasks"].as_array()?.iter().filter(|t| t["table"] == "things");
        let why = tasks.find_map(|t| t["phase"]["why"].as_str().map(str::to_owned))?;
        // The other table reads the same topic to its end.
        (table(&status, "others")? == (sent, 0)).then_some(why)
    });
    for word in ["\"things\" were refused", "quarantine.max_rate = 0.5", "too_deep", "start again"] {
        assert!(why.contains(word), "{word} in {why}");
    }
    let client = instance.client();
    let (consumed, quarantined) = table(&client.get("/v1/status"), "things").unwrap();
    assert!(quarantined < BAD.unsigned_abs() && consumed < sent, "{quarantined} of {BAD} were set aside");
    let metrics = client.try_get("/metrics").unwrap().1;
    assert!(metrics.contains("keld_table_stopped{table=\"things\"} 1\n"), "{metrics}");
    assert!(metrics.contains("keld_table_stopped{table=\"others\"} 0\n"), "{metrics}");
    let (code, ready) = client.get_any("/health/ready");
    assert!(code == 503 && ready["detail"].as_str().unwrap().contains("max_rate"), "{ready}");
    let (code, refused) = client.get_any("/v1/tables/things/records/good");
    assert_eq!((code, &refused["reason"]), (503, &json!("stopped")), "{refused}");
    assert_eq!(client.get_any("/v1/tables/others/records/good?stale=allow").0, 200, "the other table answers");
    instance.stop();

    // Whoever wants all of them set aside says so.
    scene.lab.sets.push("quarantine.max_rate=1".into());
    let mut instance = scene.start(0);
    let status = scene.wait_consumed(&mut instance, 0);
    let accounts = scene.accounts(&status, 0);
    assert_eq!((&accounts["quarantined"], &accounts["applied"]), (&json!(BAD), &json!(1)), "{accounts}");
    let client = instance.client();
    assert_eq!(thing(&client, "good")["name"], "before");
    assert_eq!(listed(&client, "limit=3").len(), 3);
    instance.stop();
    scene.lab.verify();
}
