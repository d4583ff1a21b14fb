//! Waiting for memory once instead of again and again. Pure.

use std::hint::black_box;

/// Bytes that a processor loads together.
const LINE: usize = 64;

/// Bytes from the beginning of a place on that are loaded: what reads on from there is seen coming by the processor itself.
const MOST: usize = 1024;

/// Loads what is about to be read from many places, each of which is far from the others: loads that do not depend on one another are
/// waited for together, while code that reads one thing after the other waits for each.
pub(crate) fn touch<'a>(places: impl Iterator<Item = &'a [u8]>) {
    black_box(places.flat_map(|bytes| bytes.iter().take(MOST).step_by(LINE)).fold(0, |seen, byte| seen ^ byte));
}
