//! The worker classes by all their names.

use crate::ForeignWorker;
use crate::nearest::nearest;
use crate::value::Misfit;

/// How a worker runs the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerClass {
    /// One request at a time.
    #[default]
    Sync,
    /// A pool of threads.
    Gthread,
    /// Greenlets on gevent's hub.
    Gevent,
    /// Tasks on asyncio's loop.
    Asgi,
}

impl WorkerClass {
    /// The short name, as the log shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Gthread => "gthread",
            Self::Gevent => "gevent",
            Self::Asgi => "asgi",
        }
    }
}

/// Every name that works.
const KNOWN: &[(&str, WorkerClass)] = &[
    ("sync", WorkerClass::Sync),
    ("gthread", WorkerClass::Gthread),
    ("gevent", WorkerClass::Gevent),
    ("gevent_wsgi", WorkerClass::Gevent),
    ("gevent_pywsgi", WorkerClass::Gevent),
    ("gunicorn.workers.sync.SyncWorker", WorkerClass::Sync),
    ("asgi", WorkerClass::Asgi),
    ("gunicorn.workers.gthread.ThreadWorker", WorkerClass::Gthread),
    ("gunicorn.workers.ggevent.GeventWorker", WorkerClass::Gevent),
    ("gunicorn.workers.ggevent.GeventPyWSGIWorker", WorkerClass::Gevent),
    ("gunicorn.workers.ggevent.PyWSGIWorker", WorkerClass::Gevent),
    ("gunicorn.workers.gasgi.ASGIWorker", WorkerClass::Asgi),
    ("uvicorn.workers.UvicornWorker", WorkerClass::Asgi),
    ("uvicorn.workers.UvicornH11Worker", WorkerClass::Asgi),
    ("uvicorn_worker.UvicornWorker", WorkerClass::Asgi),
    ("uvicorn_worker.UvicornH11Worker", WorkerClass::Asgi),
];

/// Real classes that this version does not have, with what to use instead.
const ELSEWHERE: &[(&[&str], &str, &str)] = &[
    (
        &["eventlet", "gunicorn.workers.geventlet.EventletWorker"],
        "eventlet is no longer maintained, and gunicorn dropped it too",
        "use `gevent`, which works the same way",
    ),
    (
        &["tornado", "gunicorn.workers.gtornado.TornadoWorker"],
        "tornado apps are not supported",
        "use `sync` or `gevent` for a WSGI app; run a tornado app with tornado itself",
    ),
];

/// Every path that can be judged without a look at the class.
pub fn known_paths() -> impl Iterator<Item = &'static str> {
    let elsewhere = ELSEWHERE.iter().flat_map(|(names, ..)| names.iter().copied());
    KNOWN.iter().map(|(known, _)| *known).chain(elsewhere).filter(|name| name.contains('.'))
}

/// Whether this may be the path of a class that only Python knows.
pub(crate) fn is_foreign(text: &str) -> bool {
    let text = text.trim();
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    text.contains('.') && text.split('.').all(is_name) && !known_paths().any(|known| known == text)
}

/// Reads a name or a class path. `foreign` is what Python has found, if it was asked.
pub(crate) fn parse(text: &str, foreign: Option<&ForeignWorker>) -> Result<WorkerClass, Misfit> {
    let text = text.trim();
    // gunicorn writes `egg:gunicorn#sync` for its own entry points.
    let name = text.strip_prefix("egg:gunicorn#").unwrap_or(text);
    if let Some((_, class)) = KNOWN.iter().find(|(known, _)| *known == name) {
        return Ok(*class);
    }
    if let Some(foreign) = foreign.filter(|foreign| foreign.path == name) {
        return foreign.stands_for();
    }
    let elsewhere = ELSEWHERE.iter().find(|(names, ..)| names.contains(&name));
    if let Some((_, why, hint)) = elsewhere {
        return Err(Misfit::because(*why).hint(*hint));
    }
    let names = KNOWN.iter().map(|(known, _)| *known);
    let names = names.chain(ELSEWHERE.iter().flat_map(|(names, ..)| names.iter().copied()));
    let hint = match nearest(name, names).map(|near| (near, parse(near, None))) {
        Some((near, Ok(_))) => format!("did you mean `{near}`?"),
        Some((near, Err(misfit))) => {
            let instead = misfit.hint.unwrap_or_default();
            format!("did you mean `{near}`? Then {instead}")
        }
        None => {
            "third-party worker classes cannot be loaded; use `sync`, `gthread`, `gevent` or `asgi`"
                .to_owned()
        }
    };
    Err(Misfit::because("no worker class has this name").hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_hint(name: &str, expected: &str) {
        let misfit = parse(name, None).expect_err(name);
        assert!(misfit.hint.as_deref().unwrap_or("").contains(expected), "{name}: {misfit:?}");
    }

    #[test]
    fn gunicorns_names_are_known() {
        for (name, class) in KNOWN {
            assert_eq!(parse(name, None), Ok(*class), "{name}");
        }
        assert_eq!(parse(" gevent ", None), Ok(WorkerClass::Gevent));
        assert_eq!(parse("egg:gunicorn#sync", None), Ok(WorkerClass::Sync));
    }

    #[test]
    fn paths_that_only_python_knows_are_told_apart() {
        assert!(is_foreign("shop.workers.Worker") && is_foreign(" aiohttp.GunicornWebWorker "));
        let others =
            ["gevnt", "gunicorn.workers.sync.SyncWorker", "egg:gunicorn#sync", "a..b", "a. b"];
        assert!(others.iter().all(|text| !is_foreign(text)));
    }

    #[test]
    fn a_class_of_another_version_names_what_to_use() {
        check_hint("eventlet", "`gevent`");
        check_hint("tornado", "`sync` or `gevent`");
    }

    #[test]
    fn an_unknown_class_names_the_nearest() {
        check_hint("gevnt", "did you mean `gevent`?");
        check_hint("gtread", "did you mean `gthread`?");
        check_hint("evntlet", "did you mean `eventlet`? Then use");
        check_hint("meinheld.gmeinheld.MeinheldWorker", "third-party");
    }
}
