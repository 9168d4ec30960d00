//! Deaths that nobody asked for: of workers, of zygotes, of strangers.

use std::time::Duration;

use super::driver::*;
use crate::{
    Action, BootFailure, Ending, Event, Generation, Notice, Phase, Pid, Plan, Reason, Refusal,
    SlotId, Wish, WorkerId,
};

fn waits(actions: &[Action]) -> Vec<(u32, Duration)> {
    let wait = |notice: Notice| match notice {
        Notice::BackingOff { deaths, wait, .. } => Some((deaths, wait)),
        _ => None,
    };
    notices(actions).into_iter().filter_map(wait).collect()
}

#[test]
fn worker_that_had_lived_stably_is_replaced_at_once() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, CRASH);
    let actions = driver.take();
    assert_eq!(forks(&actions), [(3, 0, 1)]);
    assert_eq!(waits(&actions), []);
}

#[test]
fn worker_that_keeps_dying_waits_longer_each_time_up_to_a_maximum() {
    let mut driver = Driver::settled(Plan { workers: 1, ..plan() });
    driver.exit(1, CRASH);
    let mut seen = Vec::new();
    for worker in 2..=14 {
        driver.boot(worker);
        driver.take();
        driver.exit(worker, CRASH);
        let actions = driver.take();
        assert_eq!(forks(&actions), []);
        let waited = waits(&actions);
        driver.pass(waited[0].1);
        seen.extend(waited);
    }
    for (&(deaths, wait), n) in seen.iter().zip(1..) {
        assert_eq!(deaths, n);
        let expected = millis(100 << (n - 1)).min(secs(30));
        assert!(wait >= expected * 8 / 10 && wait <= expected * 12 / 10, "{n}: {wait:?}");
    }
    assert_eq!(seen.len(), 13);
}

#[test]
fn stable_life_makes_the_next_death_the_first_again() {
    let mut driver = Driver::settled(Plan { workers: 1, ..plan() });
    driver.exit(1, CRASH);
    driver.boot(2);
    driver.exit(2, CRASH);
    driver.pass(secs(1));
    driver.boot(3);
    driver.pass(secs(10));
    driver.exit(3, CRASH);
    driver.boot(4);
    driver.take();
    driver.exit(4, CRASH);
    assert_eq!(waits(&driver.take()).first().map(|(deaths, _)| *deaths), Some(1));
}

#[test]
fn one_slot_that_crashes_does_not_slow_another() {
    let mut driver = Driver::serving(plan());
    driver.exit(1, CRASH);
    driver.take();
    driver.ask(Wish::MoreWorkers);
    assert_eq!(forks(&driver.take()), [(3, 2, 1)]);
}

#[test]
fn fork_that_fails_is_tried_again_after_a_wait() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, CRASH);
    driver.take();
    driver.give(Event::ForkFailed { worker: WorkerId(3), refusal: Refusal::Other });
    let actions = driver.take();
    assert!(
        notices(&actions).contains(&Notice::ForkFailed { worker: WorkerId(3), slot: SlotId(0) })
    );
    assert_eq!(forks(&actions), []);
    driver.pass(secs(1));
    assert_eq!(forks(&driver.take()), [(4, 0, 1)]);
}

#[test]
fn zygote_that_dies_is_loaded_anew_while_workers_serve() {
    let mut driver = Driver::settled(plan());
    let pid = driver.snapshot().zygotes[0].pid.unwrap();
    driver.take();
    driver.give(Event::Exited { pid, ending: CRASH });
    let lost = Notice::ZygoteLost { generation: Generation(1), ending: CRASH };
    assert_eq!(
        driver.take(),
        [Action::Report(lost), Action::StartZygote { generation: Generation(2) }]
    );
    assert_eq!(driver.serving_workers(), [1, 2]);
    driver.zygote_ready(2);
    driver.take();
    assert_eq!(driver.serving_workers(), [1, 2], "a fresh load is no reload");
    driver.exit(1, CRASH);
    assert_eq!(forks(&driver.take()), [(3, 0, 2)]);
}

#[test]
fn new_zygote_that_fails_is_tried_again_for_ever_with_growing_waits() {
    let mut driver = Driver::settled(plan());
    let pid = driver.snapshot().zygotes[0].pid.unwrap();
    driver.give(Event::Exited { pid, ending: CRASH });
    let mut waited = Vec::new();
    for generation in 2..20 {
        let pid = driver.zygote_spawned(generation);
        driver.zygote_failed(generation, BootFailure::Import);
        driver.give(Event::Exited { pid, ending: Ending::Exited(3) });
        driver.take();
        waited.push(driver.supervisor.next_deadline().unwrap().since(driver.now));
        driver.pass(secs(40));
        let next = Action::StartZygote { generation: Generation(generation + 1) };
        assert!(driver.take().contains(&next));
    }
    assert!(waited[0] <= millis(120) && waited[17] >= secs(24), "{waited:?}");
    assert_eq!((driver.phase(), driver.serving_workers()), (Phase::Running, vec![1, 2]));
}

#[test]
fn zygote_that_dies_soon_after_it_was_ready_is_loaded_anew_with_growing_waits() {
    let mut driver = Driver::settled(plan());
    let pid = driver.snapshot().zygotes[0].pid.unwrap();
    driver.give(Event::Exited { pid, ending: CRASH });
    let mut waited = Vec::new();
    for generation in 2..12 {
        let pid = driver.zygote_ready(generation);
        driver.take();
        driver.give(Event::Exited { pid, ending: CRASH });
        assert!(!driver.take().iter().any(|action| matches!(action, Action::StartZygote { .. })));
        waited.push(driver.supervisor.next_deadline().unwrap().since(driver.now));
        driver.pass(secs(40));
    }
    assert!(waited[0] <= millis(120) && waited[9] >= secs(24), "{waited:?}");
    let pid = driver.zygote_ready(12);
    driver.pass(secs(10));
    driver.take();
    driver.give(Event::Exited { pid, ending: CRASH });
    let next = Action::StartZygote { generation: Generation(13) };
    assert!(driver.take().contains(&next), "a stable life");
}

#[test]
fn forks_in_flight_at_a_dead_zygote_are_asked_of_the_next() {
    let mut driver = Driver::settled(plan());
    let pid = driver.snapshot().zygotes[0].pid.unwrap();
    driver.exit(1, CRASH);
    driver.take();
    driver.give(Event::Exited { pid, ending: CRASH });
    let failed = Notice::ForkFailed { worker: WorkerId(3), slot: SlotId(0) };
    assert!(notices(&driver.take()).contains(&failed));
    assert!(!driver.supervisor.knows(WorkerId(3)) && driver.supervisor.knows(WorkerId(2)));
    driver.zygote_ready(2);
    assert_eq!(forks(&driver.take()), [(4, 0, 2)]);
}

#[test]
fn strangers_are_reaped_without_a_word() {
    let mut driver = Driver::settled(plan());
    driver.give(Event::Exited { pid: Pid(4242), ending: CRASH });
    assert_eq!(driver.take(), []);
}

#[test]
fn number_that_a_stranger_had_is_not_dead_when_a_new_process_gets_it() {
    let mut driver = Driver::settled(plan());
    let zygote = driver.snapshot().zygotes[0].pid.unwrap();
    driver.ask(Wish::MoreWorkers);
    driver.give(Event::Exited { pid: Pid(4242), ending: CRASH });
    driver.give(Event::Exited { pid: zygote, ending: CRASH });
    driver.take();
    driver.give(Event::ZygoteSpawned { generation: Generation(2), pid: Pid(4242) });
    assert_eq!(driver.take(), []);
    driver.give(Event::ZygoteReady { generation: Generation(2) });
    driver.boot_all();
    assert_eq!(driver.serving_workers(), [1, 2, 4]);
}

#[test]
fn words_of_the_dead_change_nothing() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, CRASH);
    driver.take();
    driver.ready(1);
    driver.spent(1);
    driver.standing(1, crate::Tick(0));
    driver.give(Event::ForkFailed { worker: WorkerId(1), refusal: Refusal::Other });
    driver.give(Event::ZygoteReady { generation: Generation(9) });
    driver.give(Event::ZygoteFailed { generation: Generation(9), failure: BootFailure::App });
    assert_eq!(driver.take(), []);
}

#[test]
fn second_start_and_second_answer_are_surprises_that_harm_nobody() {
    let mut driver = Driver::settled(plan());
    driver.give(Event::Start);
    driver.give(Event::Forked { worker: WorkerId(1), pid: Pid(4242) });
    let actions = driver.take();
    assert!(actions.iter().all(|a| matches!(a, Action::Report(Notice::Surprise { .. }))));
    assert_eq!((actions.len(), driver.serving_workers()), (2, vec![1, 2]));
}

fn crash_loops(actions: &[Action]) -> Vec<(u32, Duration, usize)> {
    let told = |notice: Notice| match notice {
        Notice::CrashLoop { deaths, pace, serving } => Some((deaths, pace, serving)),
        _ => None,
    };
    notices(actions).into_iter().filter_map(told).collect()
}

/// Lets every worker that comes up crash, for so long; all that was asked for meanwhile.
fn crash_for(driver: &mut Driver, length: Duration) -> Vec<Action> {
    let (end, mut all) = (driver.now + length, Vec::new());
    while driver.now < end {
        for worker in driver.under_way() {
            if driver.pid_of(worker).is_none() {
                driver.forked(worker);
            }
            driver.exit(worker, CRASH);
        }
        driver.pass(millis(50));
        all.extend(driver.take());
    }
    all
}

/// Limit 20 in 60 s, and a back-off that would allow far more.
fn looping_plan() -> Plan {
    Plan { workers: 4, backoff_max: secs(1), ..plan() }
}

#[test]
fn too_many_early_deaths_are_a_crash_loop_in_which_starts_are_rare_and_the_log_is_quiet() {
    let mut driver = Driver::settled(looping_plan());
    for worker in 1..=4 {
        driver.exit(worker, CRASH);
    }
    let actions = crash_for(&mut driver, secs(60));
    assert_eq!(crash_loops(&actions), [(20, secs(3), 0)]);
    assert_eq!(waits(&actions).len(), 20, "one line a wait before, none after");
    let actions = crash_for(&mut driver, secs(120));
    assert_eq!(waits(&actions), []);
    assert_eq!(crash_loops(&actions).len(), 2, "a summary each window");
    let starts = forks(&actions).len();
    assert!((38..=41).contains(&starts), "{starts} starts in two windows");
}

#[test]
fn worker_with_a_stable_life_ends_the_crash_loop_and_the_others_follow() {
    let mut driver = Driver::settled(looping_plan());
    (1..=4).for_each(|worker| driver.exit(worker, CRASH));
    crash_for(&mut driver, secs(60));
    driver.pass(secs(3));
    driver.boot_all();
    assert_eq!(driver.serving_workers().len(), 1, "one at a time");
    driver.take();
    driver.pass(millis(9_900));
    let actions = driver.take();
    assert_eq!(forks(&actions).len(), 1, "the next, which takes its time");
    assert!(!notices(&actions).contains(&Notice::CrashLoopOver));
    driver.pass(millis(100));
    let actions = driver.take();
    assert!(notices(&actions).contains(&Notice::CrashLoopOver));
    driver.fork_all();
    assert_eq!(driver.under_way().len(), 3, "the one that took its time, and all others");
}

#[test]
fn crash_loop_can_end_the_service_with_a_status_of_its_own() {
    let plan = Plan { crash_loop_exit: true, ..looping_plan() };
    let mut driver = Driver::settled(plan);
    (1..=4).for_each(|worker| driver.exit(worker, CRASH));
    let actions = crash_for(&mut driver, secs(60));
    assert!(notices(&actions).contains(&Notice::Stopping { reason: Some(Reason::CrashLoop) }));
    assert_eq!(exit_status(&actions), Some(69));
}

#[test]
fn new_code_is_tried_at_once_whatever_the_old_did() {
    for plan in [looping_plan(), Plan { crash_loop_limit: 0, workers: 4, ..plan() }] {
        let mut driver = Driver::settled(plan);
        (1..=4).for_each(|worker| driver.exit(worker, CRASH));
        crash_for(&mut driver, secs(60));
        driver.ask(Wish::Reload);
        driver.take();
        driver.zygote_ready(2);
        driver.fork_all();
        assert_eq!(forks(&driver.take()).iter().filter(|fork| fork.2 == 2).count(), 4);
    }
}

#[test]
fn crash_loop_of_the_new_code_ends_the_reload() {
    let mut driver = Driver::settled(looping_plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    // Worker 1 drains for long, so that nobody else is replaced meanwhile.
    let (mut given_up, mut rounds) = (None, 0);
    while given_up.is_none() && rounds < 200 {
        for worker in driver.under_way() {
            driver.boot(worker);
            driver.exit(worker, CRASH);
        }
        driver.pass(millis(200));
        let told = notices(&driver.take());
        let is_end =
            |n: &Notice| matches!(n, Notice::ReloadGivenUp { .. } | Notice::ReloadDone { .. });
        given_up = told.into_iter().find(is_end);
        rounds += 1;
    }
    assert!(matches!(given_up, Some(Notice::ReloadGivenUp { .. })), "{given_up:?}");
    assert_eq!(driver.phase(), Phase::Running);
}

fn shortages(actions: &[Action]) -> Vec<(u32, Duration)> {
    let told = |notice: Notice| match notice {
        Notice::Shortage { refusals, wait } => Some((refusals, wait)),
        _ => None,
    };
    notices(actions).into_iter().filter_map(told).collect()
}

#[test]
fn without_room_the_whole_pool_waits_and_then_tries_with_one() {
    let mut driver = Driver::new(Plan { workers: 3, ..plan() });
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.take();
    let mut asked = vec![1];
    for refusals in 1..=4 {
        for worker in std::mem::take(&mut asked) {
            let refusal = Refusal::Shortage;
            driver.give(Event::ForkFailed { worker: WorkerId(worker), refusal });
        }
        let actions = driver.take();
        let told = shortages(&actions);
        assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), [refusals]);
        assert_eq!((forks(&actions), waits(&actions)), (vec![], vec![]), "no slot is to blame");
        driver.pass(told[0].1);
        asked = forks(&driver.take()).iter().map(|fork| fork.0).collect();
        assert_eq!(asked.len(), 1);
    }
    driver.boot(asked[0]);
    driver.fork_all();
    let actions = driver.take();
    assert!(notices(&actions).contains(&Notice::ShortageOver));
    assert_eq!(forks(&actions).len(), 2, "the others follow");
}

#[test]
fn kill_from_outside_in_the_boot_and_status_75_tell_of_a_shortage() {
    let cases = [(KILLED, false, 1), (KILLED, true, 0), (Ending::Exited(75), false, 1)];
    for (ending, is_ready, short) in cases.into_iter().chain([(Ending::Exited(75), true, 1)]) {
        let mut driver = Driver::settled(plan());
        driver.exit(1, CRASH);
        driver.forked(3);
        if is_ready {
            driver.ready(3);
        }
        driver.take();
        driver.exit(3, ending);
        let actions = driver.take();
        let counted = (shortages(&actions).len(), waits(&actions).len());
        assert_eq!(counted, (short, 1 - short), "{ending:?} {is_ready}");
    }
}

#[test]
fn worker_that_is_ready_and_short_again_and_again_waits_longer_each_time() {
    let mut driver = Driver::settled(Plan { workers: 1, ..plan() });
    driver.exit(1, CRASH);
    for refusals in 1..=5 {
        let worker = driver.under_way()[0];
        driver.boot(worker);
        driver.take();
        driver.exit(worker, Ending::Exited(75));
        let told = shortages(&driver.take());
        assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), [refusals]);
        driver.pass(told[0].1);
    }
}

#[test]
fn reload_without_room_is_given_up_and_the_old_generation_serves_on() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    let mut given_up = false;
    for worker in 3..=5 {
        let refusal = Refusal::Shortage;
        driver.give(Event::ForkFailed { worker: WorkerId(worker), refusal });
        driver.pass(secs(1));
        let is_end = |n: &Notice| matches!(n, Notice::ReloadGivenUp { .. });
        given_up = notices(&driver.take()).iter().any(is_end);
    }
    assert!(given_up);
    assert_eq!(driver.serving_workers(), [1, 2]);
}

#[test]
fn no_zygote_is_started_while_there_is_no_room() {
    let mut driver = Driver::settled(plan());
    let pid = driver.snapshot().zygotes[0].pid.unwrap();
    driver.give(Event::Exited { pid, ending: CRASH });
    let refusal = Refusal::Shortage;
    driver.give(Event::ZygoteSpawnFailed { generation: Generation(2), refusal });
    let actions = driver.take();
    assert_eq!(shortages(&actions).len(), 1);
    driver.pass(secs(1));
    let next = Action::StartZygote { generation: Generation(3) };
    assert!(driver.take().contains(&next), "tried again");
}

#[test]
fn worker_that_asks_not_to_be_started_again_leaves_its_slot_empty_until_a_reload() {
    let mut driver = Driver::settled(plan());
    let pid = driver.pid_of(1).unwrap();
    driver.exit(1, Ending::Exited(78));
    let closed = Notice::SlotClosed { slot: SlotId(0), pid };
    let actions = driver.take();
    assert!(notices(&actions).contains(&closed));
    driver.pass(secs(1000));
    assert_eq!(forks(&driver.take()), []);
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    assert!(forks(&driver.take()).contains(&(3, 0, 2)));
}

#[test]
fn service_ends_when_all_workers_have_asked_not_to_be_started_again() {
    let mut driver = Driver::settled(plan());
    let zygote = driver.snapshot().zygotes[0].pid.unwrap();
    driver.exit(1, Ending::Exited(78));
    driver.exit(2, Ending::Exited(78));
    let reason = Some(Reason::Boot(BootFailure::NoRetry));
    assert!(notices(&driver.take()).contains(&Notice::Stopping { reason }));
    driver.give(Event::Exited { pid: zygote, ending: CLEAN });
    assert_eq!(exit_status(&driver.take()), Some(78));
}

#[test]
fn old_worker_that_asks_not_to_be_started_again_does_not_close_its_slot_for_the_new_code() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.boot(3);
    driver.take();
    driver.exit(1, CLEAN);
    driver.exit(2, Ending::Exited(78));
    driver.boot_all();
    let is_done = |n: &Notice| matches!(n, Notice::ReloadDone { .. });
    assert!(notices(&driver.take()).iter().any(is_done));
    assert_eq!(driver.serving_workers(), [3, 4]);
}

#[test]
fn service_goes_on_as_long_as_anybody_serves_in_whatever_slot() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, Ending::Exited(78));
    driver.ask(Wish::FewerWorkers);
    driver.pass(secs(100));
    assert_eq!((driver.phase(), driver.serving_workers()), (Phase::Running, vec![2]));
}

#[test]
fn new_worker_that_asks_not_to_be_started_again_gives_the_reload_up() {
    for serving_first in [false, true] {
        let mut driver = Driver::settled(plan());
        driver.ask(Wish::Reload);
        driver.zygote_ready(2);
        driver.forked(3);
        if serving_first {
            driver.ready(3);
        }
        driver.take();
        driver.exit(3, Ending::Exited(78));
        let is_end = |n: &Notice| matches!(n, Notice::ReloadGivenUp { .. });
        assert!(notices(&driver.take()).iter().any(is_end), "{serving_first}");
        assert_eq!(driver.phase(), Phase::Running);
    }
}
