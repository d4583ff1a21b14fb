//! What several test binaries share: a Kafka, a laboratory to run the built binary in, workloads with their expected
//! records, and the checks that compare an instance with them.
//!
//! `KELD_TEST_SCALE=full` (`make acceptance`) runs the big ones whole; otherwise they run at a tenth.
#![expect(dead_code, reason = "every test binary uses a part of it")]

pub(crate) mod client;
pub(crate) mod dice;
pub(crate) mod kafka;
pub(crate) mod lab;
pub(crate) mod own_kafka;
pub(crate) mod python;
pub(crate) mod sse;
pub(crate) mod topics;
pub(crate) mod truth;
pub(crate) mod workload;

/// Whether the big tests run whole.
pub(crate) fn full_scale() -> bool {
    std::env::var("KELD_TEST_SCALE").as_deref() == Ok("full")
}

/// A number of events or keys at the current scale.
pub(crate) fn scaled(full: usize) -> usize {
    if full_scale() { full } else { full / 10 }
}

/// One line of the acceptance report.
#[expect(clippy::print_stdout, reason = "this is the report")]
pub(crate) fn report(line: &str) {
    println!("acceptance: {line}");
}
