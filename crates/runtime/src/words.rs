//! What the supervisor reports, in the words of the log.

use nix::sys::signal::Signal;
use remuda_journal::{event, log};
use remuda_supervisor::{
    BootFailure, Cause, Ending, Notice, Occasion, Reason, Stood, UpgradeFailure, WorkerId,
};

/// The request that a worker is held up by, or what stands instead of it.
pub(crate) type RequestOf<'a> = &'a dyn Fn(WorkerId, Stood) -> String;

/// Writes a notice to the log.
pub(crate) fn say(
    notice: &Notice,
    zygotes: &dyn Fn(u32) -> (u64, bool),
    request_of: RequestOf<'_>,
) {
    match notice {
        Notice::WorkerForked { pid, .. } => log!(WORKER_FORKED, pid = pid.0),
        Notice::WorkerReady { slot, pid, took, .. } => {
            log!(WORKER_READY, took_ms = took.as_millis(), pid = pid.0, slot = slot.0);
        }
        Notice::WorkerDraining { pid, cause, .. } => {
            log!(WORKER_DRAINING, pid = pid.0, cause = cause_name(*cause));
        }
        Notice::WorkerHung { worker, pid, what, stood, .. } => {
            let (request, stood_s) = (request_of(*worker, *what), seconds(*stood));
            log!(WORKER_HUNG, pid = pid.0, request = request, stood_s = stood_s);
        }
        Notice::WorkerSlow { worker, pid, stood, .. } => {
            let (request, stood_s) = (request_of(*worker, Stood::Standing), seconds(*stood));
            log!(WORKER_SLOW, pid = pid.0, request = request, stood_s = stood_s);
        }
        Notice::WorkerOverdue { worker, pid, stood, .. } => {
            let (request, stood_s) = (request_of(*worker, Stood::Request), seconds(*stood));
            log!(WORKER_OVERDUE, pid = pid.0, request = request, stood_s = stood_s);
        }
        Notice::WorkerBootTimedOut { pid, .. } => log!(WORKER_BOOT_TIMEOUT, pid = pid.0),
        Notice::WorkerDrainTimedOut { worker, pid, .. } => {
            let request = request_of(*worker, Stood::Request);
            log!(WORKER_DRAIN_TIMEOUT, pid = pid.0, request = request);
        }
        Notice::WorkerExited { pid, ending, cause, .. } => say_exit(pid.0, *ending, *cause),
        Notice::ForkFailed { slot, .. } => log!(FORK_FAILED, slot = slot.0),
        Notice::BackingOff { slot, deaths, wait } => {
            log!(BACKING_OFF, slot = slot.0, deaths = deaths, wait_ms = wait.as_millis());
        }
        Notice::SlotClosed { slot, pid } => log!(SLOT_CLOSED, slot = slot.0, pid = pid.0),
        Notice::ZygoteReady { generation, pid } => {
            let (took_ms, preloaded) = zygotes(generation.0);
            let preloaded = if preloaded { "yes" } else { "no" };
            log!(ZYGOTE_READY, took_ms = took_ms, preloaded = preloaded, pid = pid.0);
        }
        // The runtime has said it already, with the zygote's own words.
        Notice::ZygoteFailed { .. } => {}
        Notice::ZygoteBootTimedOut { generation } => {
            log!(ZYGOTE_BOOT_TIMEOUT, generation = generation.0);
        }
        Notice::ZygoteLost { generation, ending } => {
            log!(ZYGOTE_LOST, generation = generation.0, ending = ending_words(*ending));
        }
        Notice::DirtyStarted { pid, .. } => log!(DIRTY_STARTED, pid = pid.0),
        Notice::DirtyForkFailed { wait, .. } => {
            log!(DIRTY_FORK_FAILED, wait_ms = wait.as_millis());
        }
        Notice::DirtyLost { pid, ending, wait, .. } => {
            let (ending, wait_ms) = (ending_words(*ending), wait.as_millis());
            log!(DIRTY_LOST, pid = pid.0, ending = ending, wait_ms = wait_ms);
        }
        Notice::DirtyTimedOut { pid } => log!(DIRTY_TIMEOUT, pid = pid.0),
        Notice::DirtyExited { pid, ending } => {
            let ending = match ending {
                // gunicorn's words.
                Ending::Exited(0) => "exited".to_owned(),
                ending => ending_words(*ending),
            };
            log!(DIRTY_EXITED, pid = pid.0, ending = ending);
        }
        Notice::WorkerTooLarge { pid, first, bytes, limit, total, .. } => {
            let (first, bytes, limit) = (mib(*first), mib(*bytes), mib(*limit));
            match total {
                None => {
                    log!(WORKER_TOO_LARGE, pid = pid.0, bytes = bytes, first = first, limit = limit)
                }
                Some(total) => log!(
                    TOTAL_TOO_LARGE,
                    pid = pid.0,
                    bytes = bytes,
                    first = first,
                    total = mib(*total),
                    limit = limit
                ),
            }
        }
        Notice::WorkerFarTooLarge { pid, bytes, takes, limit, .. } => log!(
            WORKER_FAR_TOO_LARGE,
            pid = pid.0,
            bytes = mib(*bytes),
            takes = mib(*takes),
            limit = mib(*limit)
        ),
        Notice::WorkerMakesRoom { pid, takes, newcomer, limit, .. } => log!(
            WORKER_MAKES_ROOM,
            pid = pid.0,
            takes = mib(*takes),
            newcomer = mib(*newcomer),
            limit = mib(*limit)
        ),
        Notice::MemoryLimitTooLow { limit, takes } => {
            log!(MEMORY_LIMIT_TOO_LOW, limit = mib(*limit), takes = mib(*takes));
        }
        other => say_of_service(other),
    }
}

fn say_of_service(notice: &Notice) {
    match notice {
        Notice::CrashLoop { deaths, pace, serving } => {
            log!(CRASH_LOOP, deaths = deaths, pace_ms = pace.as_millis(), serving = serving);
        }
        Notice::CrashLoopOver => log!(CRASH_LOOP_OVER),
        Notice::Shortage { refusals, wait } => {
            log!(SHORTAGE, refusals = refusals, wait_ms = wait.as_millis());
        }
        Notice::ShortageOver => log!(SHORTAGE_OVER),
        Notice::ReloadStarted { occasion: Occasion::Asked, .. } => log!(RELOAD_STARTED),
        Notice::ReloadStarted { occasion: Occasion::Learned, .. } => log!(REFRESH_STARTED),
        // The file was named when its change was seen.
        Notice::ReloadStarted { occasion: Occasion::Edited, .. } => {}
        Notice::ReloadOvertaken { .. } => log!(RELOAD_OVERTAKEN),
        Notice::ReloadDone { generation, took } => {
            log!(RELOAD_DONE, generation = generation.0, took_ms = took.as_millis());
        }
        Notice::ReloadGivenUp { serving, failure, .. } => {
            let why = match failure {
                Some(BootFailure::Import) => " (importing it failed)",
                Some(BootFailure::App) => " (it has no such application)",
                Some(BootFailure::Class | BootFailure::Setup) => " (it could not be set up)",
                Some(BootFailure::Unsafe) => " (a fork would break it)",
                Some(BootFailure::Shortage) => " (there is no room for it now)",
                Some(BootFailure::NoRetry) => " (it asks not to be started again)",
                None => "",
            };
            log!(RELOAD_GIVEN_UP, why = why, serving = serving.0);
        }
        Notice::ReloadQueued => log!(RELOAD_QUEUED),
        Notice::Serving { workers } => log!(SERVING, workers = workers),
        Notice::Scaled { workers } => log!(SCALED, workers = workers),
        Notice::Stopping { reason } => {
            log!(STOPPING);
            if let Some(reason) = reason {
                log!(STOP_REASON, reason = stop_reason(*reason));
            }
        }
        Notice::UpgradeStarted { pid } => log!(UPGRADE_STARTED, pid = pid.0),
        Notice::UpgradeRefused { why } => log!(UPGRADE_REFUSED, why = why),
        Notice::UpgradeGivenUp { why } => {
            let why = match why {
                UpgradeFailure::Spawn => "it could not be executed".to_owned(),
                UpgradeFailure::Exited(ending) => format!("it {}", ending_words(*ending)),
                UpgradeFailure::TimedOut => "it was not ready within twice boot_timeout".to_owned(),
            };
            log!(UPGRADE_GIVEN_UP, why = why);
        }
        Notice::HandedOver { pid, took: Some(took) } => {
            log!(HANDED_OVER, pid = pid.0, took_ms = took.as_millis());
        }
        Notice::HandedOver { pid, took: None } => log!(HANDED_OVER_UNREADY, pid = pid.0),
        Notice::HeirLost { pid, ending } => {
            log!(HEIR_LOST, pid = pid.0, ending = ending_words(*ending));
        }
        Notice::TakenBack { pid, ending } => {
            log!(TAKEN_BACK, pid = pid.0, ending = ending_words(*ending));
        }
        Notice::Promoted => log!(PROMOTED),
        Notice::Surprise { what } => log!(SURPRISE, what = what),
        // All others were said by the caller.
        _ => {}
    }
}

fn stop_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Boot(BootFailure::Import) => "Worker failed to boot.",
        Reason::Boot(BootFailure::App) => "App failed to load.",
        Reason::Boot(BootFailure::Class) => "The worker class cannot run here.",
        Reason::Boot(BootFailure::Setup) => "The application could not be set up.",
        Reason::Boot(BootFailure::Unsafe) => "A fork would break the application (fork_check).",
        Reason::Boot(BootFailure::Shortage) => "There is no room for another process now.",
        Reason::Boot(BootFailure::NoRetry) => "The application asks not to be started again.",
        Reason::CrashLoop => "Workers are in a crash loop (crash_loop_exit).",
    }
}

fn say_exit(pid: i32, ending: Ending, cause: Option<Cause>) {
    match (ending, cause) {
        (Ending::Exited(0), Some(cause)) => {
            log!(WORKER_EXITED, pid = pid, cause = cause_name(cause));
        }
        (Ending::Exited(0), None) => log!(WORKER_EXITED, pid = pid, cause = "its own"),
        // The master has said why when it broke the request off.
        (
            Ending::Exited(code),
            Some(Cause::Hang | Cause::Stop | Cause::HandOver | Cause::DrainTimeout),
        ) => {
            let message = event::WORKER_FAILED.fill(&[("pid", &pid), ("code", &code)]);
            tracing::debug!("{message}");
        }
        (Ending::Exited(code), _) => log!(WORKER_FAILED, pid = pid, code = code),
        (Ending::Signaled(number), Some(cause)) => {
            log!(
                WORKER_KILLED_BY_US,
                pid = pid,
                signal = signal_name(number),
                cause = cause_name(cause)
            );
        }
        (Ending::Signaled(libc::SIGKILL), None) => log!(WORKER_OUT_OF_MEMORY, pid = pid),
        (Ending::Signaled(number), None) => {
            log!(WORKER_SIGNALED, pid = pid, signal = signal_name(number));
        }
    }
}

fn seconds(length: std::time::Duration) -> String {
    format!("{:.1}", length.as_secs_f64())
}

fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |s| s.as_str().to_owned())
}

fn ending_words(ending: Ending) -> String {
    match ending {
        Ending::Exited(status) => format!("exited with code {status}"),
        Ending::Signaled(number) => format!("was ended by {}", signal_name(number)),
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

pub(crate) fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Recycle => "max_requests",
        Cause::Memory => "memory",
        Cause::Age => "max_worker_age",
        Cause::Reload => "reload",
        Cause::Scale => "fewer workers wanted",
        Cause::Stop => "stop",
        Cause::HandOver => "a new master serves",
        Cause::Hang => "it hung",
        Cause::BootTimeout => "boot_timeout",
        Cause::DrainTimeout => "graceful_timeout",
    }
}

#[cfg(test)]
mod tests {
    use remuda_journal::exit;

    use super::*;

    #[test]
    fn every_end_has_words_and_an_exit_status_that_is_declared() {
        let failures = [
            BootFailure::Import,
            BootFailure::App,
            BootFailure::Class,
            BootFailure::Setup,
            BootFailure::Shortage,
            BootFailure::NoRetry,
        ];
        let reasons = failures.map(Reason::Boot).into_iter().chain([Reason::CrashLoop]);
        let declared = [
            exit::BOOT,
            exit::APP,
            exit::UNABLE,
            exit::UNABLE,
            exit::SHORTAGE,
            exit::NO_RETRY,
            exit::CRASH_LOOP,
        ];
        for (reason, declared) in reasons.zip(declared) {
            assert_eq!(remuda_supervisor::status_of(reason), declared.code, "{reason:?}");
            assert!(stop_reason(reason).ends_with('.'));
        }
    }
}
