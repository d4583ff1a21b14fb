//! Searching finds what the expected records say.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::browser::Browser;
use crate::scene::{Scene, has};

/// Waits until the page says so many records.
fn wait_total(browser: &mut Browser, total: usize) {
    let said = format!("({total}).toLocaleString('en')");
    let shown = "document.querySelector('.summary b')?.innerText";
    browser.wait_for(
        &format!("{total} records"),
        &format!("{shown} === {said} && !document.querySelector('[aria-busy]')"),
    );
}

/// The counts that a facet shows.
fn shown_counts(browser: &mut Browser, field: &str) -> BTreeMap<String, u64> {
    let lines = format!("[...document.querySelectorAll('[data-facet=\"{field}\"] li')]");
    let all = browser.eval(&format!(
        "{lines}.map((l) => [l.querySelector('input').dataset.value, Number(l.querySelector('.count').title.replaceAll(',', ''))])"
    ));
    all.as_array().unwrap().iter().map(|p| (p[0].as_str().unwrap().to_owned(), p[1].as_u64().unwrap())).collect()
}

fn type_search(browser: &mut Browser, text: &str) {
    browser.eval("(document.querySelector('#q').focus(), document.querySelector('#q').select())");
    browser.type_text(text);
}

#[test]
fn typing_finds_and_facets_narrow_to_what_the_expected_records_say() {
    let mut scene = Scene::new();
    scene.browser.open("/search/flights");
    let all = scene.workload.expected.len();
    wait_total(&mut scene.browser, all);
    assert_eq!(shown_counts(&mut scene.browser, "origin"), scene.counts("origin", |_| true));

    type_search(&mut scene.browser, "carrier:UA");
    let within = |r: &Map<String, Value>| has(r, "carrier", "UA");
    let found = scene.flights(within).len();
    assert!(found > 20 && found < all, "{found} of {all}");
    wait_total(&mut scene.browser, found);

    // One value, then two, then the other alone; the facet itself goes on counting all of its values.
    let of = scene.counts("origin", within);
    scene.browser.click("[data-facet=origin] input[data-value=JFK]");
    wait_total(&mut scene.browser, of["JFK"] as usize);
    assert_eq!(shown_counts(&mut scene.browser, "origin"), of);
    let dest = scene.counts("dest", |r| within(r) && has(r, "origin", "JFK"));
    let shown = shown_counts(&mut scene.browser, "dest");
    assert!(!shown.is_empty() && shown.iter().all(|(v, n)| dest[v] == *n), "{shown:?} {dest:?}");
    scene.browser.click("[data-facet=origin] input[data-value=EWR]");
    wait_total(&mut scene.browser, (of["JFK"] + of["EWR"]) as usize);
    scene.browser.click("[data-facet=origin] input[data-value=JFK]");
    wait_total(&mut scene.browser, of["EWR"] as usize);
    // Back goes through the choices one by one, and what is linked to is shown again.
    scene.browser.eval("history.back()");
    wait_total(&mut scene.browser, (of["JFK"] + of["EWR"]) as usize);
    scene.browser.click(".chip button[aria-label*='origin: EWR']");
    wait_total(&mut scene.browser, of["JFK"] as usize);
    let place = scene.browser.eval("location.hash.slice(1)");
    scene.browser.open(place.as_str().unwrap());
    wait_total(&mut scene.browser, of["JFK"] as usize);
    scene.end();
}

#[test]
fn words_are_marked_hits_are_sorted_and_pages_follow_each_other() {
    let mut scene = Scene::new();
    // A word of the expected records.
    let word = "newark";
    let contains =
        |r: &Map<String, Value>| r.values().any(|v| v.as_str().is_some_and(|t| t.to_lowercase().contains(word)));
    let found = scene.flights(contains).len();
    assert!(found > 0);
    scene.browser.open("/search/flights?q=newark");
    wait_total(&mut scene.browser, found);
    scene.browser.wait_text(".hit mark", "Newark");
    scene.browser.click(".score summary");
    scene.browser.wait_text(".score .why", "idf");

    // By a sort key, over several pages: keys in the order that the expected records have.
    let mut expected: Vec<(&str, &String)> = scene
        .workload
        .expected
        .iter()
        .filter(|(_, r)| r.contains_key("sched_dep"))
        .map(|(k, r)| (r["sched_dep"].as_str().unwrap(), k))
        .collect();
    expected.sort();
    let keys: Vec<String> = expected.iter().take(60).map(|(_, k)| (*k).clone()).collect();
    scene.browser.open("/search/flights?sort=sched_dep");
    scene.browser.wait_for("a page", "document.querySelectorAll('.hit').length === 30");
    scene.browser.click(".more");
    scene.browser.wait_for("two pages", "document.querySelectorAll('.hit').length === 60");
    assert_eq!(scene.browser.texts(".hit a.key"), keys);

    // The same as a table, with the columns that are chosen, also after loading anew.
    scene.browser.click("button[aria-label='As a table']");
    scene.browser.wait_for("a table", "document.querySelectorAll('table.data tbody tr').length === 60");
    scene.browser.eval("document.querySelector('details.menu').open = true");
    scene
        .browser
        .eval("[...document.querySelectorAll('.checks label')].find((l) => l.innerText === 'tailnum').click()");
    scene.browser.wait_text("table.data thead", "tailnum");
    scene.browser.open("/search/flights?view=table");
    scene.browser.wait_text("table.data thead", "tailnum");
    scene.end();
}

#[test]
fn what_is_wrong_is_told_with_advice_and_what_is_odd_with_a_warning() {
    let mut scene = Scene::new();
    scene.browser.expected_errors.push("/search?");
    scene.browser.open("/search/flights?filter=dep_delay%3A%5Bsoon%20TO");
    scene.browser.wait_text(".notice.bad", "filter");
    scene.browser.wait_text(".notice.bad .advice", "write field:value");
    scene.browser.open("/search/flights?q=nofield%3Ax");
    scene.browser.wait_text(".notice", "there is no field");
    scene.browser.open("/search/flights?q=zzzzqqq");
    scene.browser.wait_text(".empty", "Nothing matches");
    scene.browser.expected_errors.push("/v1/tables/none");
    scene.browser.open("/search/none");
    scene.browser.wait_text(".notice.bad", "there is no table `none`");
    scene.browser.wait_text(".notice.bad .advice", "flights");
    scene.end();
}

/// Letters that come while an answer is under way end the request of before.
#[test]
fn the_last_letters_win_however_late_the_answers_come() {
    let mut scene = Scene::new();
    scene.browser.open("/search/flights");
    let all = scene.workload.expected.len();
    wait_total(&mut scene.browser, all);
    let slow = "const was = fetch; globalThis.fetch = async (url, options) => { \
                if (String(url).includes('q=status%3Acancelled&')) await new Promise((d) => setTimeout(d, 600)); return was(url, options); }";
    scene.browser.eval(slow);
    type_search(&mut scene.browser, "status:cancelled");
    scene.browser.wait_for("the slow one to be asked", "location.hash.includes('cancelled')");
    type_search(&mut scene.browser, "origin:JFK");
    let wanted = scene.flights(|r| has(r, "origin", "JFK")).len();
    wait_total(&mut scene.browser, wanted);
    scene.browser.eval("new Promise((done) => setTimeout(done, 900))");
    wait_total(&mut scene.browser, wanted);
    assert_eq!(scene.browser.eval("document.querySelector('#q').value"), json!("origin:JFK"));
    scene.end();
}

/// A page of what was asked before is none of what is shown now.
#[test]
fn more_of_what_was_asked_before_is_not_shown_among_what_was_asked_since() {
    let mut scene = Scene::new();
    scene.browser.open("/search/flights?sort=sched_dep");
    scene.browser.wait_for("a page", "document.querySelectorAll('.hit').length === 30");
    let slow = "const was = fetch; globalThis.cursors = []; globalThis.late = Promise.withResolvers(); \
                globalThis.fetch = async (url, options) => { \
                if (!String(url).includes('cursor=')) return was(url, options); \
                await late.promise; const answer = await was(url, options); cursors.push(answer.status); return answer; }";
    scene.browser.eval(slow);
    scene.browser.click(".more");
    type_search(&mut scene.browser, "origin:JFK");
    let wanted = scene.flights(|r| has(r, "origin", "JFK")).len();
    wait_total(&mut scene.browser, wanted);
    scene.browser.eval("late.resolve()");
    scene.browser.wait_for("the late page", "cursors.length === 1");
    scene.browser.eval("new Promise((done) => setTimeout(done, 300))");
    assert_eq!(scene.browser.eval("cursors[0]"), 200);
    assert_eq!(scene.browser.eval("document.querySelectorAll('.hit').length"), wanted.min(30));
    scene.end();
}
