//! Told to stop: the first time it finishes, the second time it ends at once.

use std::time::{Duration, Instant};

use crate::common::lab::{Lab, On, loaded};
use crate::setting::{CONFIG, available, exact, workload};

fn interrupt_under_load(on: On) {
    if !available(on) {
        return;
    }
    let lab = Lab::with_config(on, CONFIG);
    let workload = workload(60_000, 200);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_for("the first events", |client| {
        let status = client.get("/v1/status");
        let accounts = status["tables"][0]["accounting"].as_object()?.values();
        (accounts.map(|a| a["consumed"].as_u64().unwrap()).sum::<u64>() > 0).then_some(())
    });
    instance.signal("INT");
    let (status, err) = instance.wait_end();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(err.contains("finishing the commits"), "{err}");

    let mut again = lab.start();
    let open = |err: &str| err.lines().filter(|l| l.contains("task is open")).map(str::to_owned).collect::<Vec<_>>();
    again.wait_caught_up(&ends);
    let err = again.wait_words("task is open", 4);
    assert!(err.contains("the index on disk is usable"), "{err}");
    assert_eq!(open(&err).len(), 4, "{err}");
    for line in open(&err) {
        assert!(line.contains("restored=0 reindexed=0 whole_index=false"), "{line}");
    }
    exact(&lab, again, &workload, &ends);
}

#[test]
fn on_the_embedded_log_an_interrupt_under_load_closes_cleanly() {
    interrupt_under_load(On::Local);
}

#[test]
fn on_kafka_an_interrupt_under_load_closes_cleanly() {
    interrupt_under_load(On::Kafka);
}

#[test]
fn a_second_interrupt_ends_at_once_and_loses_nothing() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let workload = workload(1_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    // A reader that waits for what never comes holds the first stop up for seconds.
    let client = instance.client();
    let path = format!("/v1/tables/things/records/thing-1?at_least={}:0:999999&timeout=9s", lab.topic("feed"));
    let reader = std::thread::spawn(move || client.try_get(&path).is_ok());
    let metrics = instance.client();
    instance.wait_for("the reader", |_| in_flight(&metrics).then_some(()));
    instance.signal("INT");
    let until = Instant::now() + Duration::from_secs(60);
    while !instance.stderr().contains("once more to stop at once") {
        assert!(Instant::now() < until, "{}", instance.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    instance.signal("INT");
    let (status, err) = instance.wait_end();
    assert_eq!(status.code(), Some(130), "{err}");
    assert_eq!(err.lines().last(), Some("keld: error: stopped at once, as told; what was committed is safe"), "{err}");
    // Whatever came of it, the reader must not hang.
    let _ = reader.join().unwrap();
    exact(&lab, lab.start(), &workload, &ends);
}

/// Whether a reader waits: nothing tells from outside, so give it the time of a request that comes after it.
fn in_flight(client: &crate::common::client::Client) -> bool {
    client.get("/v1/status");
    std::thread::sleep(Duration::from_secs(2));
    true
}
