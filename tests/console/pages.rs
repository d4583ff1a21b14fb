//! Every page in every setting: wide and narrow, light and dark. With `KELD_PICTURES=<folder>` pictures of them are kept there, and
//! with `KELD_CONSOLE=<address>` they are of an instance that runs already (`scripts/screenshots` uses both).

use std::path::Path;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::common::client::{Client, escape};
use crate::scene::Scene;

/// Width, height, colours, and what pictures of it are called.
const SETTINGS: [(u32, u32, &str, &str); 5] = [
    (1280, 800, "light", "light"),
    (1280, 800, "dark", "dark"),
    (390, 844, "light", "narrow"),
    (360, 740, "dark", ""),
    (820, 900, "light", ""),
];

/// Texts that do not stand out 4.5:1 (large ones 3:1) from what is behind them, and controls without a name.
const FAULTS: &str = r#"(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [0, 1, 2].map((i) => [r, g, b][i] * a + below[i] * (1 - a));
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faults = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode());) {
    const node = text.parentElement, style = getComputedStyle(node);
    if (!text.data.trim() || !node.checkVisibility() || node.closest(".unseen, .skip, :disabled, noscript, datalist, option")) continue;
    const ground = behind(node), ink = over(rgba(style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) faults.push(`${ratio.toFixed(2)}:1 ${text.data.trim().slice(0, 40)} (${node.className || node.tagName})`);
  }
  const named = (n) => n.getAttribute("aria-label") || n.innerText?.trim() || n.title || n.labels?.length || (n.getAttribute("aria-labelledby"));
  for (const n of document.querySelectorAll("input, select, textarea, button, a[href], summary")) {
    if (n.checkVisibility() && !named(n)) faults.push(`without a name: ${n.outerHTML.slice(0, 120)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((n) => n.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => faults.push(`id ${id} twice`));
  return faults;
})()"#;

/// What of the page stands out at the side.
const WIDER: &str = "[document.documentElement.scrollWidth - innerWidth, \
    [...document.querySelectorAll('body *')].filter((n) => n.checkVisibility() && !n.closest('.scroll, pre, .unseen, .skip') \
    && n.getBoundingClientRect().right > innerWidth + 1).slice(0, 5).map((n) => n.outerHTML.slice(0, 100))]";

/// How long a page has before it is looked at, milliseconds; and one whose picture is to show what happens.
const SETTLE_MS: u64 = 500;
const PICTURE_MS: u64 = 20_000;

struct Page {
    name: &'static str,
    place: String,
    /// Holds when there is something to look at.
    ready: &'static str,
    /// Done before the picture.
    then: &'static str,
}

fn pages(client: &Client) -> Vec<Page> {
    let key = |query: &str| -> String {
        let answer = client.get(&format!("/v1/tables/flights/search?limit=1&{query}"));
        escape(answer["hits"][0]["key"].as_str().expect("a flight"))
    };
    let page = |name, place: String, ready, then| Page { name, place, ready, then };
    let hits = "document.querySelector('.hit, table.data tbody tr, .empty') !== null";
    vec![
        page("search", "/search/flights?q=snow".into(), hits, ""),
        page(
            "table",
            "/search/flights?view=table&filter=dep_delay%3A%5B60%20TO%20*%5D&sort=-sched_dep".into(),
            hits,
            "",
        ),
        page(
            "explain",
            "/search/flights?q=chicago&in.origin=JFK".into(),
            hits,
            "document.querySelector('.score summary')?.click()",
        ),
        page("nothing", "/search/flights?q=zzzzqqq".into(), "document.querySelector('.empty') !== null", ""),
        page(
            "wrong",
            "/search/flights?filter=dep_delay%3A%5Bsoon".into(),
            "document.querySelector('.notice.bad') !== null",
            "",
        ),
        page(
            "record",
            format!("/record/flights/{}", key("q=notice:*&sort=_key")),
            "document.querySelector('table.fields') !== null",
            "",
        ),
        page("tail", "/tail/flights".into(), "document.querySelector('.change, .notice, .empty') !== null", ""),
        page(
            "status",
            "/status".into(),
            "document.querySelector('[data-task]') && document.querySelector('.figures div')",
            "",
        ),
        page(
            "quarantine",
            "/quarantine".into(),
            "document.querySelector('.entry, .empty') !== null",
            "document.querySelector('.entry summary')?.click()",
        ),
        page("tables", "/tables/flights".into(), "document.querySelector('.examples li') !== null", ""),
        page(
            "api",
            format!("/api/{}", escape("get /v1/tables/{table}/search")),
            "document.querySelector('.operation') !== null",
            "",
        ),
        page("help", "/search/flights".into(), hits, "document.querySelector('#help-open').click()"),
    ]
}

fn faults(browser: &mut Browser, wide: u32) -> Vec<String> {
    let mut found: Vec<String> =
        browser.eval(FAULTS).as_array().unwrap().iter().map(|f| f.as_str().unwrap().to_owned()).collect();
    let wider = browser.eval(WIDER);
    if wider[0].as_i64().unwrap() > 0 || wider[1] != json!([]) {
        found.push(format!("wider than {wide}: {wider}"));
    }
    found
}

fn look(browser: &mut Browser, client: &Client) {
    let pictures = std::env::var("KELD_PICTURES").ok();
    browser.expected_errors.push("/search?");
    let mut found = Vec::new();
    for (width, height, scheme, called) in SETTINGS {
        browser.window(width, height, scheme);
        for page in pages(client) {
            browser.open(&page.place);
            browser.wait_for(page.name, page.ready);
            browser.wait_for("the page to settle", "!document.querySelector('[aria-busy]')");
            if !page.then.is_empty() {
                browser.eval(page.then);
            }
            // Animations end; charts and the tail of a picture have something to show.
            let lasting = pictures.is_some() && !called.is_empty() && matches!(page.name, "status" | "tail");
            let wait = if lasting { PICTURE_MS } else { SETTLE_MS };
            browser.eval(&format!("new Promise((done) => setTimeout(done, {wait}))"));
            found.extend(faults(browser, width).into_iter().map(|f| format!("{} at {width} {scheme}: {f}", page.name)));
            if let Some(folder) = pictures.as_ref().filter(|_| !called.is_empty()) {
                let file = Path::new(folder).join(format!("console-{}-{called}.png", page.name));
                std::fs::write(file, browser.picture()).unwrap();
            }
            browser.check();
        }
    }
    found.dedup();
    assert!(found.is_empty(), "{} faults\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_page_is_whole_in_every_setting() {
    if let Ok(address) = std::env::var("KELD_CONSOLE") {
        let mut browser = Browser::start(&address);
        return look(&mut browser, &Client::new(&address));
    }
    let mut scene = Scene::new();
    scene.thing("wrong", 1, &json!({"name": "wrong", "price": "much", "note": Value::Null}));
    look(&mut scene.browser, &scene.client.clone());
    scene.end();
}
