//! What workers share, and how much memory they may take.

use super::FULL;
use crate::declare::{Group, Kind, Setting, Zero};

pub(super) const ALL: &[Setting] =
    &[WARMUP_PATHS, WARMUP_REQUESTS, PREFETCH_IMPORTS, PREFETCH_AFTER, IMMORTAL_HEAP];

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
