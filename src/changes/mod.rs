//! Streams of changes: what a table's changelog says, as it is committed, for many readers at once.
//!
//! A stream reads the changelog from the broker, where all partitions are, whoever works on them; so it goes on where tasks move,
//! and takes nothing from the workers. [`Tail`] reads it once for all readers who are at its end, into a [`Window`] that they
//! share; who comes from further back reads for itself ([`catch_up()`]) until the window has what it needs. [`Membership`] says what
//! a change is to a live query. Who is passed by the window has been too slow.
//!
//! Owns what is between the broker and a stream. Does not own how a stream is asked for or written: [`crate::api`] does.

mod catch_up;
mod membership;
mod position;
mod tail;
mod window;

pub use catch_up::catch_up;
pub use membership::{Kind, Membership, Room};
pub use position::{Named, Position};
pub use tail::Tail;
pub use window::{Change, Chunk, Ended, Look, Window};

#[cfg(test)]
mod tests;
