//! Deaths that nobody asked for: of workers, of zygotes, of strangers.

use std::time::Duration;

use super::driver::*;
use crate::{Action, BootFailure, Event, Generation, Notice, Phase, Pid, Plan, SlotId, WorkerId};

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
    driver.ask(crate::Wish::MoreWorkers);
    assert_eq!(forks(&driver.take()), [(3, 2, 1)]);
}

#[test]
fn fork_that_fails_is_tried_again_after_a_wait() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, CRASH);
    driver.take();
    driver.give(Event::ForkFailed { worker: WorkerId(3) });
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
        driver.give(Event::Exited { pid, ending: crate::Ending::Exited(3) });
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
    driver.ask(crate::Wish::MoreWorkers);
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
    driver.give(Event::ForkFailed { worker: WorkerId(1) });
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
