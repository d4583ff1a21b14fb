//! Named fault points: the process aborts when it reaches the one that `KELD_FAULT` names.
//!
//! `KELD_FAULT=commit.4_committed` aborts at the first arrival, `KELD_FAULT=commit.4_committed:7` at the seventh.
//! The crash tests run a child process with it and check that the abort really happened.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every fault point, in the order in which a batch meets them. The crash tests iterate over this list, so a point
/// that is not in it fails [`point`]'s debug assertion and one that no code reaches fails the crash tests.
pub const POINTS: &[&str] = &[
    "commit.1_begun",
    "commit.2_produced",
    "commit.3_drained",
    "commit.4_offsets_sent",
    "commit.5_committed",
    "commit.6_store_partial",
    "commit.7_applied",
    "commit.8_index_handed",
    "index.1_before_commit",
    "index.2_prepared",
    "index.3_committed",
    "index.4_published",
    "index.5_live_built",
    "replay.1_produced",
    "replay.2_drained",
    "replay.3_committed",
];

struct Armed {
    name: String,
    left: AtomicU64,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED
        .get_or_init(|| {
            let text = std::env::var("KELD_FAULT").ok().filter(|t| !t.is_empty())?;
            let (name, nth) = text.rsplit_once(':').unwrap_or((&text, "1"));
            Some(Armed { name: name.to_owned(), left: AtomicU64::new(nth.parse().unwrap_or(1)) })
        })
        .as_ref()
}

/// Checks that `KELD_FAULT`, if set, names a point that exists; a misspelt point would silently test nothing.
pub fn check_armed() -> crate::Result<()> {
    match armed() {
        Some(a) if !POINTS.contains(&a.name.as_str()) => {
            Err(crate::Error::refused(format!("KELD_FAULT names {:?}, which is no fault point", a.name))
                .advise(format!("one of: {}", POINTS.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Marks a fault point: aborts the process here if it is the armed one and its count is reached.
#[inline]
pub fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "fault point {name} is not in POINTS");
    if let Some(a) = armed()
        && a.name == name
        && a.left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        fire(name);
    }
}

#[cold]
#[expect(clippy::print_stderr, reason = "the last words of a process that aborts on purpose")]
fn fire(name: &str) -> ! {
    eprintln!("fault point {name} fired: aborting");
    std::process::abort()
}
