//! Workers, assignment and supervision.

pub mod health;

pub use health::Health;
