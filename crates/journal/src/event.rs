//! Every event of the master's log, declared once: the line, and the reference page.
//!
//! The words are gunicorn's where it has the event, so that existing log searches find it.

use std::fmt::Display;

use crate::Level;

/// One event of the log.
#[derive(Debug)]
pub struct LogEvent {
    /// Dotted name, for the reference page.
    pub name: &'static str,
    /// Its level.
    pub level: Level,
    /// The message; `{name}` stands for a value.
    pub words: &'static str,
    /// What it means to an operator.
    pub meaning: &'static str,
}

impl LogEvent {
    /// The message with its values filled in.
    #[must_use]
    pub fn fill(&self, values: &[(&str, &dyn Display)]) -> String {
        let mut message = self.words.to_owned();
        for (name, value) in values {
            message = message.replace(&format!("{{{name}}}"), &value.to_string());
        }
        debug_assert!(!message.contains("{{"), "{}: {message}", self.name);
        message
    }
}

macro_rules! events {
    ($($constant:ident = $name:literal, $level:ident, $words:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: LogEvent = LogEvent {
                name: $name, level: Level::$level, words: $words, meaning: $meaning,
            };
        )*

        /// All events, in the order of a service's life.
        pub const ALL: &[&LogEvent] = &[$(&$constant),*];
    };
}

events! {
    STARTING = "master.starting", Info, "Starting remuda {version}",
        "The master begins; settings were read and are valid.";
    LISTENING = "master.listening", Info, "Listening at: {addresses} ({pid})",
        "The sockets are bound. Connections wait in their queues until a worker is ready.";
    USING_WORKER = "master.using_worker", Info, "Using worker: {class}",
        "The worker class.";
    BIND_BUSY = "master.bind_busy", Error, "Connection in use: {address}",
        "Another process holds the address; it is tried again for a few seconds.";
    BIND_RETRY = "master.bind_retry", Error, "Retrying in 1 second.",
        "Follows `Connection in use`.";
    SIGNAL = "master.signal", Info, "Handling signal: {signal}",
        "An operator or the platform has sent a signal to the master.";
    SIGNAL_CHILD = "master.signal_child", Debug, "Handling signal: chld",
        "A child has ended.";
    ZYGOTE_HELLO = "zygote.hello", Debug, "Zygote {generation} runs Python {python} (pid: {pid})",
        "The interpreter was found and has the package.";
    ZYGOTE_READY = "zygote.ready", Info, "Application loaded in {took_ms} ms, shared by all workers: {preloaded} (zygote pid: {pid})",
        "The zygote can fork. When the application is not shared, each worker imports it by itself.";
    ZYGOTE_FAILED = "zygote.failed", Error, "The application could not be loaded: {message}",
        "The zygote gave up. Details and traceback stand above this line.";
    ZYGOTE_UNUSABLE = "zygote.unusable", Error, "{message}",
        "The Python interpreter cannot run remuda's package.";
    ZYGOTE_BOOT_TIMEOUT = "zygote.boot_timeout", Critical, "Loading the application took longer than boot_timeout; the zygote of generation {generation} is killed",
        "The import hangs or is slow. Raise `boot_timeout` if it is only slow.";
    ZYGOTE_LOST = "zygote.lost", Warning, "The zygote of generation {generation} {ending}; a new one is started, the workers serve on",
        "No worker can be forked until the new zygote is ready.";
    WORKER_FORKED = "worker.booting", Info, "Booting worker with pid: {pid}",
        "A worker was forked.";
    WORKER_READY = "worker.ready", Debug, "Worker ready after {took_ms} ms (pid:{pid}, slot {slot})",
        "A worker takes requests from now on.";
    SERVING = "master.serving", Info, "{workers} workers ready to serve",
        "All wanted workers are ready for the first time.";
    WORKER_DRAINING = "worker.draining", Debug, "Worker drains (pid:{pid}, cause: {cause})",
        "A worker accepts no more, finishes what it holds, and leaves.";
    WORKER_HUNG = "worker.timeout", Critical, "WORKER TIMEOUT (pid:{pid}) {request} for {stood_s}s",
        "A request (sync) or the loop (other classes) has stood still for longer than `timeout`. The Python stacks of the worker follow, then it is replaced.";
    WORKER_TOO_LARGE = "worker.memory", Warning, "Worker (pid:{pid}) takes {bytes} MiB of its own, above max_memory ({limit} MiB); it began with {first} MiB and is replaced",
        "A worker has grown. Its successor is ready before it goes, and no request is lost.";
    TOTAL_TOO_LARGE = "workers.memory", Warning, "All processes take {total} MiB, above max_memory_total ({limit} MiB): the largest worker (pid:{pid}, {bytes} MiB of its own, {first} MiB when it was new) is replaced",
        "The same for the whole service.";
    WORKER_FAR_TOO_LARGE = "worker.memory_kill", Error, "Out of memory soon: {takes} MiB are taken, the hard limit is {limit} MiB; the largest worker (pid:{pid}, {bytes} MiB of its own) is killed",
        "There is no time to replace it: otherwise the kernel would choose whom to kill, perhaps all. Its requests are lost.";
    WORKER_MAKES_ROOM = "worker.makes_room", Warning, "Memory is short: worker (pid:{pid}) leaves before its successor comes ({takes} MiB are taken, a new worker takes {newcomer} MiB, the hard limit is {limit} MiB)",
        "There is no room for both. It finishes its requests; until the successor is ready, one worker less serves.";
    MEMORY_LIMIT_TOO_LOW = "workers.memory_low", Warning, "The memory limit of {limit} MiB is passed ({takes} MiB), but no worker has grown: new ones would take as much",
        "Raise the limit, or run fewer workers. Said once until the memory is below the limit again.";
    MEMORY_REPORT = "master.memory_report", Info, "Memory in {hours} hours, least/mean/most in MiB: all processes {total}; {slots}; workers replaced: {replaced}",
        "Every 24 hours and at the end. Of all processes what they share counts once (PSS); of the workers in a slot what is theirs alone.";
    WORKER_SLOW = "worker.slow", Warning, "Slow request (pid:{pid}) {request} for {stood_s}s",
        "A request (sync) or the loop (other classes) has stood still for longer than `slow_request_log`. The Python stacks of the worker follow; it goes on.";
    WORKER_OVERDUE = "worker.overdue", Error, "Worker is replaced (pid:{pid}): a request outlives request_timeout: {request} for {stood_s}s",
        "A request could not be broken off at `request_timeout`: it hangs in C code, or the application swallows the exception. The worker's other requests are finished first.";
    WORKER_BOOT_TIMEOUT = "worker.boot_timeout", Critical, "Worker was not ready within boot_timeout and is killed (pid:{pid})",
        "Importing the application, or a hook after the fork, hangs.";
    WORKER_DRAIN_TIMEOUT = "worker.drain_timeout", Warning, "Worker graceful timeout (pid:{pid}): ended with its requests, the oldest is {request}",
        "A worker did not finish within `graceful_timeout`. Its Python stacks follow.";
    WORKER_EXITED = "worker.exited", Debug, "Worker left (pid:{pid}, cause: {cause})",
        "A worker has ended as it was told to.";
    WORKER_FAILED = "worker.failed", Error, "Worker (pid:{pid}) exited with code {code}.",
        "A worker has ended by itself, with an error.";
    WORKER_KILLED_BY_US = "worker.killed", Warning, "Worker (pid:{pid}) was sent {signal} by the master: {cause}",
        "A worker did not leave in time and was ended by the master.";
    WORKER_OUT_OF_MEMORY = "worker.sigkill", Error, "Worker (pid:{pid}) was sent SIGKILL! Perhaps out of memory?",
        "Somebody else killed a worker: most often the kernel, for want of memory.";
    WORKER_OOM_KILLED = "worker.oom_killed", Error, "Worker (pid:{pid}) was sent SIGKILL! Out of memory: the kernel has killed it to keep the container within its limit",
        "The memory group's count of kernel kills has grown. Lower `workers`, or raise the container's limit.";
    WORKER_SIGNALED = "worker.signaled", Warning, "Worker (pid:{pid}) was sent {signal}!",
        "A worker crashed, or somebody sent it a signal.";
    FORK_FAILED = "worker.fork_failed", Error, "A worker could not be forked (slot {slot}); trying again",
        "The kernel refused, or the zygote did not answer in time.";
    BACKING_OFF = "worker.backing_off", Warning, "Slot {slot}: {deaths} workers in a row died early; the next one waits {wait_ms} ms",
        "A crash loop. The waits grow until a worker lives for a while.";
    CRASH_LOOP = "workers.crash_loop", Error, "Crash loop: {deaths} workers died early; one is started every {pace_ms} ms, {serving} serve",
        "More than `crash_loop_limit` early deaths within `crash_loop_window`. Said when it begins and once a window, with the deaths since the last such line.";
    CRASH_LOOP_OVER = "workers.crash_loop_over", Info, "The crash loop is over: a worker has lived for a while",
        "Workers are started without delay again.";
    SHORTAGE = "workers.shortage", Error, "No room for another process ({refusals} times in a row); nothing is started for {wait_ms} ms",
        "The kernel has refused a process, or has ended one for want of memory. Workers that run serve on; one is tried after the wait.";
    SHORTAGE_OVER = "workers.shortage_over", Info, "There is room for processes again",
        "A worker could be started after all.";
    SLOT_CLOSED = "worker.no_retry", Error, "Worker (pid:{pid}) asks not to be started again (exit status 78); slot {slot} stays empty until the application is loaded anew",
        "The application knows that another try is of no use. When no worker is left, the service ends with the same status.";
    DIRTY_STARTED = "dirty.started", Info, "Spawned dirty arbiter (pid: {pid})",
        "gunicorn's process for long jobs was forked; it starts `dirty_workers` processes of its own.";
    DIRTY_FORK_FAILED = "dirty.fork_failed", Warning, "No dirty arbiter could be forked; the next try is after {wait_ms} ms",
        "The kernel or the zygote has refused it. Until there is one, its clients get `DirtyConnectionError`.";
    DIRTY_LOST = "dirty.lost", Error, "Dirty arbiter (pid:{pid}) {ending}; another one is started after {wait_ms} ms",
        "Its workers end with it, and their jobs are lost; clients get `DirtyConnectionError` until there is another. There will be none if only old workers that drain would need it.";
    DIRTY_TIMEOUT = "dirty.timeout", Warning, "Dirty arbiter (pid:{pid}) has not left within dirty_graceful_timeout, and is killed with its workers",
        "A job runs on, or a worker does not listen.";
    DIRTY_EXITED = "dirty.exited", Info, "Dirty arbiter (pid:{pid}) {ending}",
        "It was told to leave, since nobody is left who could ask it.";
    RELOAD_STARTED = "reload.started", Info, "Hang up: Master",
        "A reload begins: the new code is loaded beside the old.";
    RELOADER_ON = "reload.watching", Warning, "Reloader is on. Use in development only!",
        "`reload` is set: files of the application are watched, and a change loads it anew.";
    EDITED = "reload.edited", Info, "Reloading: {file} modified{more}",
        "A file that is watched has been changed, made or removed. The code is loaded as at HUP, once nothing has changed for a moment.";
    RELOAD_OVERTAKEN = "reload.overtaken", Info, "The code has changed while it was being loaded: loading it anew",
        "Another change came before a worker of the new code was ready. The old code serves on meanwhile.";
    WATCH_BY_POLLING = "reload.polling", Warning, "Changed files are looked for once a second: {error}",
        "The kernel does not tell of changes, for want of inotify instances or watches (sysctl fs.inotify). `reload_engine` is `poll` from now on.";
    WATCH_FULL = "reload.full", Warning, "Not all files are watched for changes: there are more than {most}",
        "The application has more source files than the master keeps in mind.";
    LEARNED = "worker.imports", Debug, "Imported late by a worker, and before the fork next time: {names}",
        "Requests have made workers import what the application's own import had not. See `prefetch_imports`.";
    WORKERS_COUNTED = "workers.counted", Info, "Workers: {workers} (auto: {why})",
        "`workers` is `auto`, and a reload has counted again. At the start the same stands in the first lines.";
    REFRESH_STARTED = "reload.refresh", Info, "Loading the application again, so that workers share what they have imported late",
        "Our own reload, once, `prefetch_after` the start; see there.";
    RELOAD_DONE = "reload.done", Info, "Reload done: generation {generation} serves after {took_ms} ms",
        "Every worker runs the new code.";
    RELOAD_GIVEN_UP = "reload.given_up", Error, "Reload given up: the new code does not run{why}; generation {serving} serves on",
        "Nothing has changed for the clients. The reason stands above this line.";
    HOOK_FAILED = "hook.failed", Error, "Exception in hook {hook}\n{error}",
        "A function of the configuration file has raised. The service goes on.";
    HERALD_BEHIND = "herald.behind", Warning, "A hook of the master was not called: {error}",
        "The process that calls the hooks of the master is busy with one of them, or gone.";
    HERALD_LOST = "herald.lost", Error, "The process that calls the hooks of the master has ended; they are not called until the next reload",
        "A hook has ended its own process, or it was killed.";
    RELOAD_QUEUED = "reload.queued", Info, "A reload is under way; the next one follows it",
        "Two reloads never overlap.";
    SCALED = "master.scaled", Info, "{workers} workers wanted",
        "The number of workers was changed by a signal.";
    STOPPING = "master.stopping", Info, "Shutting down: Master",
        "The service ends; requests in flight and in the accept queue are answered first.";
    STOP_REASON = "master.stop_reason", Error, "Reason: {reason}",
        "Why the service cannot run.";
    UPGRADE_STARTED = "upgrade.started", Info, "Upgrade: a new master boots beside this one (pid: {pid})",
        "It was executed as this one was, with the listeners. This one serves until the new one does.";
    UPGRADE_NOT_STARTED = "upgrade.not_started", Error, "The new master could not be executed: {error}",
        "The program is missing, or the kernel has no room for another process.";
    UPGRADE_REFUSED = "upgrade.refused", Warning, "Signal usr2 ignored: {why}",
        "There is no upgrade now.";
    UPGRADE_GIVEN_UP = "upgrade.given_up", Error, "Upgrade given up, this master serves on: the new master does not serve, {why}",
        "Nothing has changed for the clients. What the new master said stands above, with its own pid.";
    HANDED_OVER = "upgrade.handed_over", Info, "Upgrade done: the new master serves after {took_ms} ms (pid: {pid}); this one finishes what it holds",
        "The old master leaves when its workers have drained.";
    HANDED_OVER_UNREADY = "upgrade.handed_over_unready", Warning, "Told to leave during an upgrade: the new master has to go on alone, and is not ready yet (pid: {pid})",
        "Connections wait in the accept queue until it is.";
    HEIR_LOST = "upgrade.heir_lost", Critical, "The new master {ending} (pid: {pid}) after it had taken over; this one is on its way out",
        "It was told to leave, or this one was; nobody serves any more.";
    TAKEN_BACK = "upgrade.taken_back", Critical, "Upgrade undone: the new master {ending} (pid: {pid}) after it had taken over; this one serves again",
        "Connections wait in the accept queue until new workers are ready. What the new workers held they finish.";
    PROMOTED = "upgrade.promoted", Info, "Master has been promoted.",
        "The master before this one has left, or has left everything to this one.";
    PIDFILE_NOT_RENAMED = "upgrade.pidfile", Error, "The pid file keeps its second name: {error}",
        "Whoever looks for the master there finds the old one.";
    NOTIFY_FAILED = "systemd.failed", Warning, "The service manager cannot be told how the service stands: {error}",
        "`NOTIFY_SOCKET` names a socket that does not work. The service runs without.";
    CONTROL_LISTENING = "control.listening", Debug, "Control socket listening at {path}",
        "`remuda status`, `reload`, `upgrade` and `stop` ask there.";
    CONTROL_UNAVAILABLE = "control.unavailable", Warning, "There is no control socket: {error}",
        "The service runs without. Signals work as ever.";
    CONTROL_ACCEPT_FAILED = "control.accept_failed", Warning, "A client of the control socket could not be accepted: {error}",
        "Said once; it is tried again and again. Most often there are no descriptors left.";
    CONTROL_NOT_RENAMED = "upgrade.control_socket", Error, "The control socket keeps its second name: {error}",
        "Whoever asks at the old name finds nobody.";
    LEFTOVERS = "master.leftovers", Warning, "{count} processes that the application has started are left; they are told to leave, then killed",
        "Children of workers that nobody has waited for. A stop leaves nothing behind, except what has made itself a daemon.";
    LOG_NOT_REOPENED = "log.not_reopened", Error, "The log file could not be opened again: {error}",
        "The old file is kept.";
    UNKNOWN_MESSAGE = "channel.unknown", Warning, "A message on the channel of {who} was not understood and is ignored",
        "Versions differ, or something else writes to our sockets.";
    SURPRISE = "master.surprise", Debug, "Unexpected: {what}",
        "An event that the state does not expect. Harmless, but worth a report.";
}

/// The reference page of all events, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Log events\n\nGenerated from `crates/journal/src/event.rs`; do not edit.\n\n\
         Each line has gunicorn's form: `[time] [pid] [LEVEL] message`.\n\n\
         | event | level | message | meaning |\n| --- | --- | --- | --- |\n",
    );
    for event in ALL {
        let level = event.level.name().to_lowercase();
        page +=
            &format!("| `{}` | {level} | `{}` | {} |\n", event.name, event.words, event.meaning);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in() {
        assert_eq!(WORKER_FORKED.fill(&[("pid", &7)]), "Booting worker with pid: 7");
    }

    #[test]
    fn names_are_unique_and_meanings_are_sentences() {
        for (index, event) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != event.name), "{}", event.name);
            assert!(event.meaning.ends_with('.'), "{}", event.name);
        }
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        crate::page::check("log-events.md", &reference());
    }
}
