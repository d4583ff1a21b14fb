//! What a stream is refused, and when it is cut.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::lab::{Instance, Lab, On};
use crate::common::report;
use crate::common::sse::Events;
use crate::scene::{CHANGES, Maker, Reader, path, shop};

fn start(sets: &[&str]) -> (Lab, Instance) {
    let mut lab = shop(On::Local);
    lab.sets.extend(sets.iter().map(|s| (*s).to_owned()));
    let mut instance = lab.start();
    instance.wait_for("to be ready", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    (lab, instance)
}

/// The last event of a stream.
fn cut(mut events: Events) -> serde_json::Value {
    while let Some(event) = events.next() {
        if event.name == "cut" {
            assert!(events.next().is_none(), "nothing comes after it");
            assert!(event.data["detail"].is_string() && event.data["advice"].is_string(), "{}", event.data);
            return event.data;
        }
    }
    panic!("it ended without a word")
}

#[test]
fn a_slow_reader_is_cut_and_nobody_waits_for_it() {
    let (lab, mut instance) = start(&["api.stream_buffer=64KiB"]);
    let address = instance.address.clone().unwrap();
    // It says hello, and is not read from until everything is over.
    let (slow, status, _socket) = Events::connect(&address, CHANGES, None);
    assert_eq!(status, 200);
    let mut quick = Reader::begin(&address, "q=red");
    let metric = |client: &crate::common::client::Client, name: &str| {
        let (_, text) = client.try_get("/metrics").unwrap();
        text.lines().find(|l| l.starts_with(name)).map(str::to_owned)
    };
    // Now: who takes nothing for 30 s is cut, and counts no more.
    instance.wait_for("both streams to be counted", |c| {
        (metric(c, "keld_change_streams{")? == "keld_change_streams{table=\"products\"} 2").then_some(())
    });
    let (client, topic) = (instance.client(), lab.topic("catalog"));
    // More than the buffers of the connection take, and for longer than anybody is waited for. One record is larger than what is held.
    let note = "x".repeat(200_000);
    let begun = Instant::now();
    let mut sent = 0;
    while sent < 250 || begun.elapsed() < Duration::from_secs(3) {
        sent += 1;
        let v = sent;
        client.ingest(&topic, &json!({"sku": format!("s{}", v % 7), "v": v, "note": note, "price": v}).to_string());
    }
    let mut maker = Maker::new("beside a slow reader", 10);
    maker.send(&lab, &client, 50);
    let ends = maker.send_ends(&lab, &client);
    quick.read_to(&ends);
    let counted = |c: &crate::common::client::Client| {
        metric(c, "keld_change_streams_cut_total{table=\"products\",reason=\"too_slow\"}")
    };
    // Read at last, it finds what was on its way, and why there is no more.
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut { slow }, &mut rest).unwrap();
    let text = String::from_utf8(rest).unwrap();
    assert!(
        text.contains("event: cut\n") && text.contains("\"reason\":\"too_slow\""),
        "{}",
        &text[text.len().saturating_sub(500)..]
    );
    let told = text.matches("event: changed").count();
    assert!((1..sent).contains(&told), "{told} of {sent} changes");
    instance.wait_for("the cut to be counted", |c| counted(c).filter(|line| line.ends_with(" 1")));
    instance.wait_for("its place to be free", |c| {
        (metric(c, "keld_change_streams{")? == "keld_change_streams{table=\"products\"} 1").then_some(())
    });
    drop(quick);
    instance.stop();
}

#[test]
fn streams_beyond_the_limit_are_refused_until_one_ends() {
    let (_lab, mut instance) = start(&["api.max_streams=2"]);
    let address = instance.address.clone().unwrap();
    let (first, _) = Events::hello(&address, CHANGES, None);
    let (_second, _) = Events::hello(&address, CHANGES, None);
    let (status, problem) = instance.client().get_any(CHANGES);
    assert_eq!((status, &problem["reason"]), (429, &json!("too_many_requests")));
    assert!(problem["advice"].as_str().unwrap().contains("api.max_streams"), "{problem}");
    drop(first);
    instance.wait_for("a place", |_| (Events::open(&address, CHANGES, None).status == 200).then_some(()));
    instance.stop();
}

#[test]
fn a_stop_cuts_streams_and_does_not_wait_for_them() {
    let (_lab, instance) = start(&[]);
    let address = instance.address.clone().unwrap();
    let all: Vec<Events> = ["", "q=red"].iter().map(|q| Events::hello(&address, &path(q), None).0).collect();
    instance.signal("TERM");
    for events in all {
        assert_eq!(cut(events)["reason"], "stopping");
    }
    let (status, err) = instance.wait_end();
    assert!(status.success(), "{err}");
}

#[test]
fn a_position_that_the_changelog_does_not_reach_is_a_gap() {
    let (_lab, instance) = start(&[]);
    let address = instance.address.clone().unwrap();
    for id in ["0:999999", "0:0@1700000000000"] {
        assert_eq!(cut(Events::hello(&address, CHANGES, Some(id)).0)["reason"], "gap", "{id}");
    }
    instance.stop();
}

#[test]
fn what_cannot_be_understood_is_refused_before_the_stream_begins() {
    let (lab, instance) = start(&["api.max_live_matches=2"]);
    let client = instance.client();
    for (query, parameter) in [
        ("from=soon", Some("from")),
        ("from=77:0", Some("from")),
        ("heartbeat=x", Some("heartbeat")),
        ("nothing=1", Some("nothing")),
        ("filter=price:cheap", None),
        ("filter=colour:red", None),
    ] {
        let (status, problem) = client.get_any(&path(query));
        assert_eq!((status, &problem["reason"]), (400, &json!("bad_request")), "{query}: {problem}");
        if let Some(name) = parameter {
            assert_eq!(problem["parameter"], name, "{query}");
        }
    }
    let (status, _) = client.get_any("/v1/tables/nobody/changes");
    assert_eq!(status, 404);
    // A query with more matches than may be remembered; as a stream of all changes it is no trouble.
    let mut maker = Maker::new("too many", 1_000);
    maker.send(&lab, &client, 40);
    let mut instance = instance;
    instance.wait_for("them to be found", |c| {
        (c.get("/v1/tables/products/search?limit=1")["total"].as_u64()? > 2).then_some(())
    });
    let (status, problem) = client.get_any(&path("filter=price:[0 TO *]"));
    assert_eq!(status, 400, "{problem}");
    assert!(problem["advice"].as_str().unwrap().contains("api.max_live_matches"), "{problem}");
    instance.stop();
}

#[test]
fn a_quiet_stream_says_that_it_lives_and_moves_its_position() {
    let (lab, instance) = start(&[]);
    let address = instance.address.clone().unwrap();
    let (mut lines, status, _socket) = Events::connect(&address, &path("q=nothing&heartbeat=100ms"), None);
    assert_eq!(status, 200);
    let mut next_id = || {
        let (mut line, mut beat) = (String::new(), false);
        loop {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut lines, &mut line).unwrap() > 0);
            beat |= line.starts_with(": heartbeat");
            if let Some(id) = line.strip_prefix("id: ").filter(|_| beat) {
                return id.trim().split('@').next().unwrap().to_owned();
            }
        }
    };
    let before = next_id();
    let mut maker = Maker::new("nothing of it matches", 20);
    maker.send(&lab, &instance.client(), 20);
    let until = Instant::now() + Duration::from_secs(60);
    while next_id() == before {
        assert!(Instant::now() < until, "the position stands still");
    }
    instance.stop();
}

/// Turns that there are for streams that read for themselves.
const TURNS: usize = 8;

#[test]
fn readers_that_take_nothing_give_their_turns_to_catch_up_to_others() {
    let (lab, mut instance) = start(&["api.stream_buffer=64KiB"]);
    let address = instance.address.clone().unwrap();
    // More than connections hold: each record is a key of its own, so that none replaces another.
    let (client, topic) = (instance.client(), lab.topic("catalog"));
    let note = "x".repeat(200_000);
    for n in 0..150 {
        client.ingest(&topic, &json!({"sku": format!("s{n}"), "v": n, "note": note, "price": n}).to_string());
    }
    instance
        .wait_for("them to be found", |c| (c.get("/v1/tables/products/search?limit=1")["total"] == 150).then_some(()));
    // With somebody at the end nobody begins the window further back.
    let (_at_the_end, _) = Events::hello(&address, CHANGES, None);
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..TURNS).map(|_| Events::connect(&address, &path("from=beginning"), None)).collect();
    for (lines, status, _) in &mut slow {
        assert_eq!(*status, 200);
        // It has had its turn when its first change comes; from then on nothing is taken.
        let mut line = String::new();
        while !line.starts_with("event: changed") {
            line.clear();
            assert!(std::io::BufRead::read_line(lines, &mut line).unwrap() > 0, "it ended");
        }
    }
    let (mut quick, _) = Events::hello(&address, &path("from=beginning"), None);
    assert_eq!(quick.next().expect("an event").name, "changed");
    let (_, text) = client.try_get("/metrics").unwrap();
    // Who takes nothing for longer is cut, as promised.
    if begun.elapsed() < Duration::from_secs(30) {
        assert!(text.contains("keld_change_streams{table=\"products\"} 10"), "none was cut for it");
        assert!(!text.contains("reason=\"too_slow\""));
    } else {
        report(
            "NOT CHECKED: that slow readers in their turns are not cut: it took longer than 30 s, after which they may be",
        );
    }
    for _ in 1..150 {
        assert_eq!(quick.next().expect("an event").name, "changed");
    }
    let (_, text) = client.try_get("/metrics").unwrap();
    let told = text.lines().find_map(|l| l.strip_prefix("keld_change_events_total{table=\"products\"} ")).unwrap();
    assert!(told.parse::<usize>().unwrap() < 150 * (TURNS + 1), "the slow ones were to be kept waiting: {told}");
    drop(slow);
    instance.stop();
}
