//! The pure parts of Keld, and what the fuzz targets share.

#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/record/mod.rs"]
pub mod record;

mod tables;

pub use error::{Error, Kind, Reaction, Result};
pub use tables::{All, decode, encoded, everything, raw};
