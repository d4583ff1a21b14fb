//! Any text is a configuration or refused with places.
#![no_main]

use keld_fuzz::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(e) = config::from_text("f.toml", text, &[], &[]) {
        assert!(e.to_string().contains("f.toml"), "{e}");
    }
});
