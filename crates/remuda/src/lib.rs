//! From settings to what each crate needs: the part of the command that tests and benchmarks use, too.

#![forbid(unsafe_code)]

pub mod limits;
pub mod plan;
pub mod sizing;
