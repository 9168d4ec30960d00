//! What workers share, and how much memory they may take.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Zero};

pub(super) const ALL: &[Setting] = &[
    WARMUP_PATHS,
    WARMUP_REQUESTS,
    PREFETCH_IMPORTS,
    PREFETCH_AFTER,
    IMMORTAL_HEAP,
    MAX_MEMORY,
    MAX_MEMORY_TOTAL,
    MEMORY_SAMPLE_RATE,
    MEMORY_PROFILE,
];

pub(crate) const WARMUP_PATHS: Setting = Setting {
    name: "warmup_paths",
    group: Group::Memory,
    kind: Kind::CommaList("paths or URLs"),
    flags: &["warmup-paths"],
    gunicorn: false,
    short: "Pages that are asked for before workers are forked, separated by commas",
    long: "\
What the first requests build is then shared by all workers: less memory, and no slow first request. \
Each is a path such as `/` or, where the app wants a certain host, an URL such as \
`https://example.org/`; without a host, Django's `ALLOWED_HOSTS` is asked. They are GET requests \
without a session. Afterwards Django's database and cache connections are closed; when something else \
is left that a fork would break, the app is loaded again without warm-up. Has no effect when \
each worker imports the app by itself.",
    ..FULL
};

pub(crate) const WARMUP_REQUESTS: Setting = Setting {
    name: "warmup_requests",
    group: Group::Memory,
    kind: Kind::Whole { min: 1, max: 1000 },
    default: "20",
    flags: &["warmup-requests"],
    gunicorn: false,
    short: "How often each page of `warmup_paths` is asked for",
    long: "Python specialises code that has run several times. After ten seconds no more is begun.",
    ..FULL
};

pub(crate) const PREFETCH_IMPORTS: Setting = Setting {
    name: "prefetch_imports",
    group: Group::Memory,
    kind: Kind::Switch,
    default: "true",
    flags: &["prefetch-imports"],
    gunicorn: false,
    short: "Import before workers are forked what earlier workers have imported late",
    long: "\
Workers tell the master which modules requests have made them import; the next zygote imports them \
once for all. A module that fails, starts a thread or opens a connection when it is imported is \
found in a trial and left out. Has no effect when each worker imports the app by itself.",
    ..FULL
};

pub(crate) const PREFETCH_AFTER: Setting = Setting {
    name: "prefetch_after",
    group: Group::Memory,
    kind: Kind::Seconds(Zero::Never),
    default: "60",
    flags: &["prefetch-after"],
    gunicorn: false,
    short: "Time after which the app is loaded again to share late imports; 0 = at a reload only",
    long: "\
Once, when workers have imported at least ten modules late: as a reload does, without a lost request, \
with the code that is on disk by then. With `warmup_paths` there is mostly nothing left to learn.",
    ..FULL
};

pub(crate) const IMMORTAL_HEAP: Setting = Setting {
    name: "immortal_heap",
    group: Group::Memory,
    kind: Kind::Switch,
    default: "true",
    flags: &["immortal-heap"],
    gunicorn: false,
    short: "Never count references to what was there before the fork, so that it stays shared",
    long: "\
With CPython 3.12 and 3.13; others count in another way, and are left alone. Concerns functions, code, \
classes, modules, texts, numbers, tuples, dicts, sets and instances of Python classes, and nothing whose \
end could be noticed: nothing with a finalizer or a weak reference to it, and nothing that owns a file, \
a socket or a lock. `sys.getrefcount` gives 4294967295 for them.",
    ..FULL
};

pub(crate) const MAX_MEMORY: Setting = Setting {
    name: "max_memory",
    group: Group::Memory,
    kind: Kind::Memory,
    default: "0",
    flags: &["max-memory"],
    gunicorn: false,
    short: "Memory of its own at which a worker is replaced; 0 = no limit",
    long: "\
`512M`, `1.5G`, or `80%` of what the container or the machine has. What it shares with others does not \
count. The largest goes first, one at a time, its successor is ready before, and no request is lost. At one and a \
half times as much it is killed. A worker that has hardly grown since its start stays, since a new \
one would take as much; the log says so.",
    ..FULL
};

pub(crate) const MAX_MEMORY_TOTAL: Setting = Setting {
    name: "max_memory_total",
    group: Group::Memory,
    kind: Kind::Memory,
    default: "",
    flags: &["max-memory-total"],
    gunicorn: false,
    short: "Memory of all processes at which the largest worker is replaced; 0 = no limit",
    long: "\
Without it 85% of the container's limit where there is one, and none elsewhere. Pages that processes \
share count once. Above 95% of the container's limit, or 1.2 times a limit given here, the largest \
worker is killed, before the kernel kills one or all.",
    ..FULL
};

pub(crate) const MEMORY_SAMPLE_RATE: Setting = Setting {
    name: "memory_sample_rate",
    group: Group::Memory,
    kind: Kind::Share,
    default: "0",
    flags: &["memory-sample-rate"],
    gunicorn: false,
    short: "Share of the requests after which the worker's memory is logged; 0 = none",
    long: "\
`0.01` logs one in a hundred: `Memory: 123MB | Path: /page | Grew: 40kB`. Memory is what the worker has in \
RAM, with what it shares; grown is what has been allocated since the request began, by it and by those \
at the same time. `remuda status` has the sums by path.",
    ..FULL
};

pub(crate) const MEMORY_PROFILE: Setting = Setting {
    name: "memory_profile",
    group: Group::Memory,
    kind: Kind::Seconds(Zero::Never),
    default: "0",
    flags: &["memory-profile"],
    gunicorn: false,
    short: "How often the worker of slot 0 logs which lines its memory grows by; 0 = never",
    long: "\
`true` is every 600 seconds, 3600 the most. That worker traces its allocations all the time, which makes it \
slower and larger; what it knows when it leaves is logged as well. Where commands can be given, `remuda \
memory-profile` does it once.",
    ..FULL
};
