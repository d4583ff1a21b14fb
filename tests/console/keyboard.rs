//! Everything by keyboard.

use crate::scene::{Scene, has};

const FOCUSED: &str = "document.activeElement.closest('[data-key]')?.dataset.key ?? ''";

#[test]
fn search_is_reached_typed_walked_opened_and_returned_to_by_keys_alone() {
    let mut scene = Scene::new();
    let wanted = scene.flights(|r| has(r, "origin", "JFK")).len();
    let browser = &mut scene.browser;
    browser.open("/status");
    // The first stop is the link past the navigation, and it is seen.
    browser.press("Tab");
    browser.wait_for(
        "the skip link",
        "document.activeElement.id === 'skip' && document.activeElement.getBoundingClientRect().left >= 0",
    );
    browser.press("Enter");
    browser.wait_for("the content", "document.activeElement.id === 'main' && location.hash === '#/status'");
    browser.press("/");
    browser.wait_for("the search box", "document.activeElement.id === 'q'");
    browser.type_text("origin:JFK");
    let total = format!("document.querySelector('.summary b')?.innerText === ({wanted}).toLocaleString('en')");
    browser.wait_for("the hits", &total);
    browser.press("ArrowDown");
    let first = browser.wait_for("the first hit", FOCUSED);
    browser.press("j");
    browser.press("ArrowDown");
    browser.press("k");
    let second = browser.eval(FOCUSED);
    assert!(second != "" && second != first, "{first} {second}");
    let outline = browser.eval("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "the focus is seen");
    browser.press("Enter");
    browser.wait_text("h1", second.as_str().unwrap());
    browser.wait_for("the title to have the focus", "document.activeElement.matches('h1')");
    browser.press("Escape");
    browser.wait_for("the hit to have the focus again", &format!("({FOCUSED}) === {second}"));
    assert_eq!(browser.eval("document.querySelector('#q').value"), "origin:JFK");
    browser.press("/");
    browser.wait_for("the search box", "document.activeElement.id === 'q'");
    browser.press("Escape");
    browser.wait_for("an empty box", "document.querySelector('#q').value === ''");

    browser.press("Escape");
    browser.press("?");
    browser.wait_for("the help", "document.querySelector('#help').open");
    browser.press("Escape");
    browser.wait_for("no help", "!document.querySelector('#help').open");
    browser.press("g");
    browser.press("q");
    browser.wait_text("h1", "Quarantine");
    scene.end();
}

#[test]
fn single_keys_can_be_switched_off_and_the_theme_is_kept() {
    let mut scene = Scene::new();
    let browser = &mut scene.browser;
    browser.open("/search/flights");
    browser.click("#help-open");
    browser.click("#single-keys");
    browser.press("Escape");
    browser.eval("document.activeElement.blur()");
    browser.press("g");
    browser.press("i");
    browser.eval("new Promise((done) => setTimeout(done, 200))");
    assert!(browser.text("h1").starts_with("Search"));
    let colour = "getComputedStyle(document.body).backgroundColor";
    let light = browser.eval(colour);
    browser.click("#theme");
    assert_eq!(browser.eval(colour), light, "light, as the system");
    browser.click("#theme");
    let dark = browser.eval(colour);
    assert_ne!(dark, light);
    browser.open("/status");
    assert_eq!(browser.eval(colour), dark, "kept");
    browser.click("#theme");
    assert_eq!(browser.eval(colour), light);
    browser.window(1280, 800, "dark");
    assert_eq!(browser.eval(colour), dark, "as the system");
    scene.end();
}
