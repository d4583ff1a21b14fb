//! The quarantine: what is kept of an event that was refused, how it is found again, and how it is replayed once.
//!
//! Owns the form of an entry ([`entry`]), the marks of what was replayed ([`marks`]) and the header of a replayed event
//! ([`order`]), and when too many are refused ([`breaker`]). Does not own why an event is refused ([`crate::record`]) nor the transaction that an entry is written in
//! ([`crate::task::commit`]).

pub mod breaker;
pub mod entry;
pub mod find;
pub mod marks;
pub mod order;
pub mod replay;

pub use breaker::Breaker;
pub use entry::{Entry, EntryId, Room};
pub use find::{Filter, Found, Page};
pub use marks::Marks;
pub use order::Replay;
pub use replay::{Fate, Replayed, Replayer, Selection};
