//! Skeleton; see the modules.
#![forbid(unsafe_code)]
mod action;
mod event;
mod ids;
mod notice;
mod plan;
pub use action::*;
pub use event::*;
pub use ids::*;
pub use notice::*;
pub use plan::*;
