//! What master, zygote and workers say to each other.
//!
//! Two kinds of channel, both `SOCK_SEQPACKET` socket pairs, so one packet is one message and a
//! reader never sees half of one:
//!
//! - master ↔ zygote: JSON, since Python reads and writes it ([`ToZygote`], [`FromZygote`]).
//! - master ↔ herald: JSON as well ([`ToHerald`], [`FromHerald`]).
//! - master ↔ worker: one word a packet, since Rust reads and writes it inside the worker's own
//!   epoll loop ([`ToWorker`], [`FromWorker`]); and a worker's lists of what it has imported late
//!   and where its memory grows ([`Growths`]).
//!
//! And the control socket, a line of JSON each way: operator ↔ master ([`Ask`], [`Answer`]).
//!
//! End of file on either means that the other side is dead.
//!
//! This crate holds the words only; who says them when is decided in `supervisor`, and the
//! sockets belong to `runtime`, `front` and `python/remuda/zygote.py`.

#![forbid(unsafe_code)]

mod control;
mod growth;
mod herald;
mod imported;
mod plan;
mod profile;
mod sources;
mod word;
mod zygote;

pub use control::{
    Answer, Ask, MemoryPeriod, MemoryRange, MemoryStatus, REQUEST_BYTES_MAX, RequestStatus,
    SlotMemory, Status, WorkerStatus, ZygoteStatus,
};
pub use growth::{Growth, Growths};
pub use herald::{
    ClassQuestion, ConfigPlace, ConfigValue, FromHerald, ToHerald, ValueForm, WorkerForm,
};
pub use imported::{IMPORTED_BYTES_MAX, imported_names, imported_packet};
pub use plan::{
    AsgiPlan, ForkCheck, IdentityPlan, LeniencePlan, ListenerPlan, LoggingPlan, MemoryPlan,
    Preload, ProtocolPlan, ProxyPlan, RelayPlan, StatsdPlan, SyslogPlan, TlsPlan, Underscores,
    WorkerClass, WorkerPlan,
};
pub use profile::{PROFILE_SECONDS_MAX, profile_packet, profile_seconds};
pub use sources::Sources;
pub use word::{FromWorker, ToWorker, UnknownWord};
pub use zygote::{
    BootFailure, CHANNEL_FD, DirtyPlace, FIRST_LISTENER_FD, FromZygote, RELAY_GIVE_FD,
    RELAY_TAKE_FD, SCOREBOARD_FD, ToZygote,
};

/// Spaces in the last argument of each process of Python: its title is written over its arguments
/// (`python/remuda/titles.py`).
pub const TITLE_ROOM_BYTES: usize = 120;

/// Longest packet on any channel, in bytes; a longer traceback is cut by its sender.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
