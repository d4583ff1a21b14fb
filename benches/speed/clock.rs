//! CPU time of the calling thread.

use std::time::Duration;

/// CPU time that the calling thread has used so far.
pub(crate) fn cpu() -> Duration {
    cpu_time::ThreadTime::now().as_duration()
}
