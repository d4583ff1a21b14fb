//! The console in a real browser (headless Chromium), over an instance with data: what it shows is what the expected records say,
//! it works by keyboard, and nothing leaves the instance.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "console/browser.rs"]
mod browser;
mod common;
#[path = "console/keyboard.rs"]
mod keyboard;
#[path = "console/pages.rs"]
mod pages;
#[path = "console/quarantine.rs"]
mod quarantine;
#[path = "console/record.rs"]
mod record;
#[path = "console/scene.rs"]
mod scene;
#[path = "console/search.rs"]
mod search;
#[path = "console/status.rs"]
mod status;
#[path = "console/tail.rs"]
mod tail;
