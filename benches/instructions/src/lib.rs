//! Only a place for the benchmark in `benches/steps.rs`.
