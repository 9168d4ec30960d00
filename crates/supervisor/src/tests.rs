//! Tests of the whole: `driver` is the world around a supervisor, `table` prints every pair of
//! state and event, the others are rules told as sentences.

mod crash;
mod dirty;
mod driver;
mod edits;
mod hang;
mod memory;
mod recycle;
mod refresh;
mod reload;
mod standing;
mod start;
mod stop;
mod table;
mod upgrade;
