//! Worker classes that are not ours: which ones only set up what we run ourselves, and what to say of
//! the others.
//!
//! Python has imported the class, and here it is judged. Most classes in use are uvicorn's with
//! keyword arguments for it (`CONFIG_KWARGS`), since gunicorn has no flags for these; we have.

use serde_json::{Map, Value};

use crate::table::{
    ASGI_LIFESPAN, ASGI_LOOP, FORWARDED_ALLOW_IPS, GRACEFUL_TIMEOUT, KEEPALIVE, MAX_REQUESTS,
    MAX_REQUESTS_JITTER, ROOT_PATH, WEBSOCKET_COMPRESSION, WEBSOCKET_MAX_MESSAGE_SIZE,
    WEBSOCKET_PING_INTERVAL,
};
use crate::value::Misfit;
use crate::wishes::{Given, Wishes};
use crate::{Origin, Setting, Warning, WorkerClass, worker_class};

/// A worker class as Python sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForeignWorker {
    /// Its path, as it was given.
    pub path: String,
    /// The path of its nearest base that is known, or of what it is based on.
    pub base: String,
    /// What it has of its own that this base would run.
    pub overrides: Vec<String>,
    /// What it passes to uvicorn.
    pub kwargs: Map<String, Value>,
    /// Why it could not be imported.
    pub error: Option<String>,
}

/// uvicorn's arguments for which there is a setting.
const SETTINGS: &[(&str, &Setting)] = &[
    ("loop", &ASGI_LOOP),
    ("lifespan", &ASGI_LIFESPAN),
    ("root_path", &ROOT_PATH),
    ("forwarded_allow_ips", &FORWARDED_ALLOW_IPS),
    ("timeout_keep_alive", &KEEPALIVE),
    ("timeout_graceful_shutdown", &GRACEFUL_TIMEOUT),
    ("limit_max_requests", &MAX_REQUESTS),
    ("limit_max_requests_jitter", &MAX_REQUESTS_JITTER),
    ("ws_max_size", &WEBSOCKET_MAX_MESSAGE_SIZE),
    ("ws_ping_interval", &WEBSOCKET_PING_INTERVAL),
    ("ws_per_message_deflate", &WEBSOCKET_COMPRESSION),
];

/// Those that nobody misses: how uvicorn does it, or what gunicorn's settings say already.
const NEEDLESS: &[&str] = &[
    "access_log",
    "backlog",
    "h11_max_incomplete_event_size",
    "http",
    "log_config",
    "log_level",
    "timeout_notify",
    "timeout_worker_healthcheck",
    "use_colors",
    "ws_max_queue",
    "ws_ping_timeout",
];

/// Those that are missed, but not so much that the service should not start, with what happens.
const MISSED: &[(&str, &str)] = &[
    ("date_header", "responses have the header `Date`"),
    ("server_header", "responses have the header `Server`"),
    ("proxy_headers", "`forwarded_allow_ips` says whose scheme is believed"),
    ("ws", "WebSocket connections are offered to the app"),
];

/// Methods for which a hook stands in.
const HOOKS: &[(&str, &str)] = &[
    ("__init__", "the hook `post_fork`"),
    ("setup", "the hook `on_starting`"),
    ("patch", "the hook `post_fork`"),
    ("init_process", "the hook `post_fork` or `post_worker_init`"),
    ("run", "the hook `post_worker_init`"),
    ("handle_abort", "the hook `worker_abort`"),
    ("handle_exit", "the hook `worker_int` or `worker_exit`"),
    ("handle_quit", "the hook `worker_int`"),
    ("handle", "the hooks `pre_request` and `post_request`"),
    ("handle_request", "the hooks `pre_request` and `post_request`"),
];

impl ForeignWorker {
    /// Which of our classes does the same.
    ///
    /// # Errors
    ///
    /// When none does.
    pub(crate) fn stands_for(&self) -> Result<WorkerClass, Misfit> {
        let Self { path, base, .. } = self;
        if let Some(error) = &self.error {
            let why = format!("`{path}` cannot be imported: {error}");
            return Err(Misfit::because(why).hint(OURS));
        }
        let Ok(class) = worker_class::parse(base, None) else {
            let why = format!(
                "`{path}`, which is based on `{base}`, has a server of its own, and it is remuda that \
                 serves"
            );
            return Err(Misfit::because(why).hint(OURS));
        };
        if !self.overrides.is_empty() {
            let why = format!(
                "`{path}` is a subclass of `{base}` with its own {}, which would not be called",
                names(&self.overrides)
            );
            return Err(Misfit::because(why).hint(self.instead(class)));
        }
        let unknown: Vec<_> = self.kwargs.keys().filter(|key| !is_known(key)).cloned().collect();
        if !unknown.is_empty() {
            let why = format!(
                "`{path}` passes {} to uvicorn (CONFIG_KWARGS), for which there is nothing here",
                names(&unknown)
            );
            return Err(
                Misfit::because(why).hint(format!("use `{}` if you can do without", class.name()))
            );
        }
        Ok(class)
    }

    fn instead(&self, class: WorkerClass) -> String {
        let hooks = self.overrides.iter().filter_map(|name| {
            let (_, hook) = HOOKS.iter().find(|(method, _)| method == name)?;
            Some(format!("for `{name}` {hook}"))
        });
        let hooks: Vec<_> = hooks.collect();
        let class = class.name();
        match hooks.is_empty() {
            true => format!("use `{class}`, and gunicorn's hooks for the rest"),
            false => format!("use `{class}`, and {}", hooks.join(", ")),
        }
    }

    /// What uvicorn's arguments mean as settings; any other source of a setting is stronger.
    pub(crate) fn wishes(&self) -> Wishes {
        let mut wishes = Wishes::default();
        for (name, setting) in SETTINGS {
            if let Some(text) = self.kwargs.get(*name).and_then(|value| text_of(name, value)) {
                let origin = Origin::WorkerClass(format!("{}, {name}", self.path));
                wishes.set(setting, Given::one(text, origin));
            }
        }
        wishes
    }

    /// What of uvicorn's arguments is missed.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = Warning> {
        let missed = MISSED.iter().filter(|(name, _)| match self.kwargs.get(*name) {
            Some(Value::Bool(value)) => !value,
            Some(Value::String(value)) => value == "none",
            _ => false,
        });
        missed.map(|(name, instead)| {
            Warning(format!("`{name}` of the worker class {} has no effect: {instead}", self.path))
        })
    }
}

const OURS: &str = "use `sync`, `gthread` or `gevent` for a WSGI app, `asgi` for an ASGI app";

fn is_known(name: &str) -> bool {
    SETTINGS.iter().any(|(known, _)| *known == name)
        || MISSED.iter().any(|(known, _)| *known == name)
        || NEEDLESS.contains(&name)
}

/// A value as one would write it for the setting; nothing for what only says "as usual".
fn text_of(name: &str, value: &Value) -> Option<String> {
    match value {
        // An asyncio loop without more ado.
        Value::String(text) if name == "loop" && text == "none" => Some("asyncio".to_owned()),
        Value::String(text) => Some(text.clone()),
        Value::Array(texts) => {
            Some(texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
        }
        // No pings.
        Value::Null if name == "ws_ping_interval" => Some("0".to_owned()),
        Value::Null | Value::Object(_) => None,
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn worker(base: &str, kwargs: Value) -> ForeignWorker {
        let kwargs = kwargs.as_object().cloned().unwrap_or_default();
        let (path, base) = ("shop.workers.Worker".to_owned(), base.to_owned());
        ForeignWorker { path, base, kwargs, ..ForeignWorker::default() }
    }

    #[test]
    fn uvicorns_arguments_become_settings() {
        let given = json!({
            "loop": "none", "http": "h11", "lifespan": "off", "ws_ping_interval": null,
            "timeout_keep_alive": 9, "ws_per_message_deflate": false, "log_config": null,
            "forwarded_allow_ips": ["10.0.0.1", "10.0.0.2"],
        });
        let worker = worker("uvicorn.workers.UvicornWorker", given);
        assert_eq!(worker.stands_for(), Ok(WorkerClass::Asgi));
        let wishes = worker.wishes();
        let text = |setting| wishes.get(setting).map(Given::text).unwrap_or_default();
        let texts = SETTINGS.iter().map(|(_, setting)| text(setting)).collect::<Vec<_>>();
        let given = ["asyncio", "off", "", "10.0.0.1,10.0.0.2", "9", "", "", "", "", "0", "false"];
        assert_eq!(texts, given);
        let origin = wishes.get(&KEEPALIVE).map(|given| given.origin.to_string());
        assert_eq!(origin.as_deref(), Some("worker class shop.workers.Worker, timeout_keep_alive"));
    }

    #[test]
    fn what_is_missed_is_said() {
        let given = json!({"server_header": false, "date_header": true, "ws": "none"});
        let worker = worker("uvicorn_worker.UvicornWorker", given);
        let said: Vec<_> = worker.warnings().map(|Warning(text)| text).collect();
        assert_eq!(
            said,
            [
                "`server_header` of the worker class shop.workers.Worker has no effect: responses \
                 have the header `Server`",
                "`ws` of the worker class shop.workers.Worker has no effect: WebSocket connections \
                 are offered to the app",
            ]
        );
    }
}
