//! The quarantine's page: what was refused, why, and its replay.

use serde_json::json;

use crate::scene::Scene;

#[test]
fn a_refused_event_is_shown_with_its_error_and_replayed_after_confirmation() {
    let mut scene = Scene::new();
    // Six contributions in order, then one that is older than the window of four: refused in its sum alone.
    for n in 20..26 {
        scene.thing("late", n, &json!({"sold_delta": 1}));
    }
    scene.thing("late", 3, &json!({"sold_delta": 1, "note": "kept"}));
    scene.thing("wrong", 1, &json!({"name": "wrong", "price": "much"}));
    scene.browser.open("/quarantine");
    scene.browser.wait_for("both", "document.querySelectorAll('.refused .entry').length === 2");
    scene.browser.wait_text(".entry .error", "price");
    scene.browser.eval("document.querySelectorAll('.entry details').forEach((d) => { d.open = true; })");
    scene.browser.wait_text(".entry pre", "\"price\": \"much\"");

    // One of them, chosen.
    scene.browser.eval("location.hash = '#/quarantine?table=things&reason=outside_window'");
    scene.browser.wait_for("one", "document.querySelectorAll('.refused .entry').length === 1");
    scene.browser.wait_text(".entry .badge", "outside_window");
    scene.browser.click(".entry > input");
    scene.browser.click(".toolbar .primary");
    scene.browser.wait_text("dialog.replay", "1 would be written");
    let record = scene.client.get("/v1/tables/things/records/late")["record"].clone();
    assert_eq!(record["sold"], 6, "nothing is replayed before it is confirmed: {record}");
    scene.browser.click("dialog.replay .primary");
    scene.browser.wait_text("dialog.replay", "1 event is in their topics again");
    scene.browser.press("Escape");
    scene.browser.wait_text(".entry .badge", "replayed");
    scene.instance.wait_for("the replay", |client| {
        (client.get("/v1/tables/things/records/late?stale=allow")["record"]["sold"] == 7).then_some(())
    });

    // All that match, which the server refuses one of again: the outcome says so.
    scene.browser.eval("location.hash = '#/quarantine?table=things'");
    scene.browser.wait_for("both again", "document.querySelectorAll('.refused .entry').length === 2");
    scene.browser.eval("[...document.querySelectorAll('.toolbar button')].find((b) => b.innerText === 'Replay all that match').click()");
    scene.browser.wait_text("dialog.replay", "1 would be written");
    scene.browser.click("dialog.replay .primary");
    scene.browser.wait_text("dialog.replay", "1 event is in their topics again");
    scene.instance.wait_for("the second refusal", |client| {
        (client.get("/v1/quarantine?reason=wrong_type")["entries"].as_array()?.len() == 2).then_some(())
    });
    scene.browser.eval("document.querySelector('dialog.replay').close()");
    scene.browser.wait_text(".entry", "again:");
    scene.end();
}
