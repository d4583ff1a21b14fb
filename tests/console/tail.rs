//! The live tail over a stream as the API describes it: what enters, changes and leaves, being cut, going on at the position.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::browser::Fake;
use crate::scene::Scene;

fn event(kind: &str, id: &str, data: &Value) -> String {
    format!("event: {kind}\nid: {id}\ndata: {data}\n\n")
}

/// A stream that ends with a cut, as the first connection gets it.
fn first() -> String {
    let hello = json!({"table": "things", "partitions": [0], "position": "c:0:1"});
    let record = |name: &str| json!({"id": "a", "name": name});
    let change = |key: &str, offset: u32, name: &str| json!({"key": key, "partition": 0, "offset": offset, "record": record(name), "time_ms": 1_700_000_000_000_i64});
    let parts = [
        event("hello", "c:0:1", &hello),
        ": heartbeat\nid: c:0:1\n\n".to_owned(),
        event("entered", "c:0:2", &change("a", 1, "blue")),
        event("changed", "c:0:3", &change("a", 2, "red")),
        event("left", "c:0:4", &json!({"key": "a", "partition": 0, "offset": 3})),
        event("left", "c:0:5", &json!({"key": "b", "partition": 0, "offset": 4, "deleted": true})),
        // Nothing that matches, but the position moves.
        ": heartbeat\nid: c:0:7\n\n".to_owned(),
        format!(
            "event: cut\ndata: {}\n\n",
            json!({"reason": "too_slow", "detail": "1,000 changes waited", "advice": "read faster"})
        ),
    ];
    parts.concat()
}

#[test]
fn what_enters_changes_and_leaves_is_told_in_words_and_a_cut_stream_goes_on_where_it_was() {
    let mut scene = Scene::new();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    scene.browser.fake(move |url| {
        if !url.contains("/changes?") {
            return None;
        }
        let mut asked = seen.lock().unwrap();
        asked.push(url.to_owned());
        let body = if asked.len() == 1 {
            first()
        } else {
            let change =
                json!({"key": "later", "partition": 0, "offset": 9, "record": {"id": "later", "name": "green"}});
            event("hello", "c:0:7", &json!({"table": "things", "partitions": [0], "position": "c:0:7"}))
                + &event("changed", "c:0:9", &change)
        };
        Some(Fake { status: 200, kind: "text/event-stream", body })
    });
    scene.browser.open("/tail/things?q=colour&filter=price%3A1");
    scene.browser.wait_text(".change.entered", "entered");
    scene.browser.wait_text(".change.entered .key", "a");
    scene.browser.wait_text(".change.entered .what", "blue");
    scene.browser.wait_text(".change.changed .what", "name red");
    scene.browser.wait_text(".change.left .badge", "left");
    scene.browser.wait_text(".change.deleted .badge", "deleted");
    scene.browser.wait_text(".change .key", "later");
    let urls = asked.lock().unwrap().clone();
    assert!(
        urls[0].contains("q=colour") && urls[0].contains("filter=price%3A1") && !urls[0].contains("from="),
        "{}",
        urls[0]
    );
    assert!(urls[1].contains("from=c%3A0%3A7"), "{}", urls[1]);
    scene.browser.check();

    // Filters from elsewhere become one, and each of them holds as a whole.
    scene.browser.open("/tail/things?filter=a%3A1%20OR%20a%3A2&filter=b%3A3");
    scene.browser.wait_for("the form", "document.querySelector('#filter') !== null");
    assert_eq!(scene.browser.eval("document.querySelector('#filter').value"), "(a:1 OR a:2) AND (b:3)");

    // Held, nothing moves; afterwards everything is there.
    scene.browser.open("/tail/things");
    scene.browser.click(".toolbar button[aria-pressed]");
    let before = scene.browser.eval("document.querySelectorAll('.change').length");
    scene.browser.wait_text(".meter", "held back");
    scene.browser.wait_for(
        "something to be held back",
        "/[1-9]\\d* rows? held back/.test(document.querySelector('.meter').innerText)",
    );
    assert_eq!(scene.browser.eval("document.querySelectorAll('.change').length"), before);
    scene.browser.click(".toolbar button[aria-pressed]");
    scene.browser.wait_for("the rows", &format!("document.querySelectorAll('.change').length > {before}"));
    scene.end();
}

#[test]
fn a_cut_says_its_reason_and_what_to_do() {
    let mut scene = Scene::new();
    let mut connections = 0;
    scene.browser.fake(move |url| {
        if !url.contains("/changes?") {
            return None;
        }
        connections += 1;
        // The second is refused for a moment, so that the first one's words stay.
        let problem = json!({"status": 503, "reason": "restoring", "detail": "at 40 %", "advice": "wait"});
        Some(if connections == 1 {
            Fake { status: 200, kind: "text/event-stream", body: first() }
        } else {
            Fake { status: 503, ..Fake::json(&problem) }
        })
    });
    scene.browser.open("/tail/things");
    scene.browser.wait_text(".notice", "too_slow");
    scene.browser.wait_text(".notice", "1,000 changes waited");
    scene.browser.wait_text(".notice .advice", "read faster");
    scene.browser.wait_text(".toolbar .state", "at 40 %");
    scene.end();
}

/// Without fakes: where the instance has the stream a change appears, and where it has none the page says so.
#[test]
fn a_change_of_the_table_appears() {
    let mut scene = Scene::new();
    scene.browser.open("/tail/things");
    scene.browser.wait_for(
        "the stream, or word that there is none",
        "/Live|Not here/.test(document.querySelector('.toolbar .state').innerText)",
    );
    if scene.browser.text(".toolbar .state").starts_with("Not here") {
        scene.browser.wait_text(".notice", "no stream of changes");
    } else {
        scene.thing("walnut", 1, &json!({"name": "desk"}));
        scene.browser.wait_text(".change .key", "walnut");
    }
    scene.end();
}
