//! What several test binaries share. Include the parts that a binary needs by path:
//! `#[path = "common/kafka.rs"] mod kafka;` (all of them: `mod common;`).

pub(crate) mod kafka;
