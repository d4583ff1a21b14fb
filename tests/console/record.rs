//! A record's page: expected values, where they come from, what happens while one looks, and nothing of it as markup.

use serde_json::{Value, json};

use crate::common::client::escape;
use crate::scene::{Scene, has};

/// The values that the page shows, by field.
fn shown(scene: &mut Scene) -> Value {
    scene.browser.eval(
        "Object.fromEntries([...document.querySelectorAll('table.fields tr[data-field]:not(.cleared)')]\
         .map((r) => [r.dataset.field, r.querySelector('.value').innerText.trim()]))",
    )
}

#[test]
fn a_record_shows_its_expected_values_and_their_sources() {
    let mut scene = Scene::new();
    let key = scene.flights(|r| has(r, "status", "arrived") || has(r, "status", "landed"))[0].clone();
    scene.browser.open(&format!("/record/flights/{}", escape(&key)));
    scene.browser.wait_text("table.fields", &key);
    let values = shown(&mut scene);
    let expected = &scene.workload.expected[&key];
    assert_eq!(values.as_object().unwrap().len(), expected.len(), "{values}");
    for (name, value) in expected {
        let text = values[name].as_str().unwrap();
        match value {
            Value::String(s) if s.ends_with('Z') => assert!(!text.is_empty()),
            Value::Array(members) => {
                assert!(members.iter().all(|m| text.contains(m.as_str().unwrap())), "{name}: {text}")
            }
            Value::String(s) => assert_eq!(text, s.trim(), "{name}"),
            other => assert_eq!(text, other.to_string(), "{name}"),
        }
    }
    // Times are local, and UTC on hover.
    let departure = scene.browser.eval("document.querySelector('[data-field=sched_dep] time').dateTime");
    let expected_ms = expected["sched_dep"].as_str().unwrap();
    assert_eq!(departure.as_str().unwrap().replace(".000Z", "Z"), expected_ms.replace(".000Z", "Z"));
    assert!(
        scene
            .browser
            .eval("document.querySelector('[data-field=sched_dep] time').title")
            .as_str()
            .unwrap()
            .ends_with("UTC")
    );
    assert_eq!(scene.browser.text("[data-field=distance] .from .badge"), "schedule");
    scene.browser.click(".pair.words button:nth-child(2)");
    scene.browser.wait_text("pre.source", &key);
    scene.end();
}

#[test]
fn a_change_appears_with_what_differs_and_so_does_a_delete() {
    let mut scene = Scene::new();
    scene.thing("one", 1, &json!({"name": "first", "price": 2.5, "sold_delta": 3, "big": 9_007_199_254_740_993_i64}));
    scene.browser.open("/record/things/one");
    scene.browser.wait_text("[data-field=name] .value", "first");
    assert_eq!(scene.browser.text("[data-field=big] .value"), "9007199254740993", "beyond 2^53");
    assert_eq!(scene.browser.text("[data-field=worth] .value"), "5");
    scene.browser.wait_text("[data-field=worth] .from", "derived");
    scene.browser.wait_text("[data-field=sold] .from", "1 event");
    scene.browser.wait_text(".history .state", "");
    scene.thing("one", 2, &json!({"name": "second", "sold_delta": 4}));
    scene.browser.wait_text("[data-field=name] .value", "second");
    scene.browser.wait_text("[data-field=sold] .value", "7");
    scene.browser.wait_text(".history .diff[data-field=name] del", "first");
    scene.browser.wait_text(".history .diff[data-field=name] ins", "second");
    scene.browser.wait_text(".history .diff[data-field=sold] ins", "7");
    scene.browser.expected_errors.push("/records/one");
    scene.thing("one", 3, &json!({"deleted": true}));
    scene.browser.wait_text(".empty", "Deleted");
    scene.browser.wait_text(".history .entry .badge", "deleted");
    scene.thing("one", 4, &json!({"name": "third"}));
    scene.browser.wait_text("[data-field=name] .value", "third");
    scene.browser.wait_text(".notice", "Deleted before");
    scene.end();
}

#[test]
fn what_a_record_holds_is_text_and_never_markup() {
    let mut scene = Scene::new();
    let evil = "<img src=x onerror=\"globalThis.broken = 1\"><script>globalThis.broken = 1</script> <em>walnut</em> &lt;b&gt; ";
    let key = "<img src=x onerror=globalThis.broken=1>/\"?#";
    scene.thing(key, 1, &json!({"name": evil, "price": 1.5, "<b>member</b>": [evil, {"<i>": evil}]}));
    scene.ingest(&json!({"id": "odd", "ts": evil, "event_id": "e", "name": evil}).to_string());
    let places = [
        format!("/search/things?q=walnut&filter={}", escape("price:1.5")),
        "/search/things?view=table".to_owned(),
        format!("/record/things/{}", escape(key)),
        format!("/search/things?q={}", escape(evil)),
        format!("/tail/things?q={}", escape(evil)),
        "/quarantine".to_owned(),
    ];
    for place in places {
        scene.browser.open(&place);
        scene.browser.wait_for("the page to settle", "!document.querySelector('[aria-busy]')");
        scene.browser.eval("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
        scene.browser.eval("new Promise((done) => setTimeout(done, 400))");
        let found = scene.browser.eval("globalThis.broken === undefined && document.querySelector('main img, main script, main b > b, main em') === null");
        assert_eq!(found, true, "{place}");
        scene.browser.check();
    }
    scene.browser.open("/search/things?q=walnut");
    scene.browser.wait_text(".hit mark", "walnut");
    scene.browser.wait_text(".hit .title", "<em>walnut</em> &lt;b&gt");
    assert!(scene.browser.text(".hit a.key").contains(key), "the key as it is");
    scene.browser.click(".hit a.key");
    scene.browser.wait_text("h1", key);
    scene.browser.wait_text("[data-field=name] .value", "<script>");
    scene.end();
}
