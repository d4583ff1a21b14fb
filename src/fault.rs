//! Named fault points: the process aborts when it reaches the one that `KELD_FAULT` names.
//!
//! `KELD_FAULT=commit.5_committed` aborts at the first arrival, `KELD_FAULT=commit.5_committed:7` at the seventh.
//! `KELD_FAULT=commit.5_committed:7:stall=15000` stalls there for so many milliseconds instead, once.
//! The crash tests run a child process with it and check that the abort really happened.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Every fault point: those that a batch meets, in their order, then those of replays, of a restore, of a task that is given back
/// and of a standby. The crash tests iterate over this list, so a point
/// that is not in it fails [`point`]'s debug assertion and one that no code reaches fails the crash tests.
pub const POINTS: &[&str] = &[
    "commit.1_begun",
    "commit.2_ahead",
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
    "index.6_taken_whole",
    "replay.1_produced",
    "replay.2_drained",
    "replay.3_committed",
    "restore.1_applied",
    "release.1_synced",
    "standby.1_applied",
    "standby.2_index_handed",
];

struct Armed {
    name: String,
    left: AtomicU64,
    stall: Option<Duration>,
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED
        .get_or_init(|| {
            let text = std::env::var("KELD_FAULT").ok().filter(|t| !t.is_empty())?;
            let mut parts = text.split(':');
            let name = parts.next().unwrap_or_default().to_owned();
            let left = AtomicU64::new(parts.next().and_then(|nth| nth.parse().ok()).unwrap_or(1));
            let stall = parts.next().and_then(|s| s.strip_prefix("stall=")?.parse().ok()).map(Duration::from_millis);
            Some(Armed { name, left, stall })
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
        match a.stall {
            None => fire(name),
            Some(stall) => {
                say(&format!("fault point {name} fired: stalling for {stall:?}"));
                std::thread::sleep(stall);
            }
        }
    }
}

#[cold]
fn fire(name: &str) -> ! {
    say(&format!("fault point {name} fired: aborting"));
    std::process::abort()
}

#[cold]
#[expect(clippy::print_stderr, reason = "words of a process that fails on purpose")]
fn say(words: &str) {
    eprintln!("{words}");
}
