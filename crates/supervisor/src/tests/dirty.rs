//! Dirty arbiters: when there is one, of which code, and how long.

use super::driver::{CLEAN, CRASH, Driver, KILLED, notices, plan, secs, sent};
use crate::{Action, DirtyState, Event, Generation, Notice, Pid, Plan, Signal, Tick, Wish};

fn dirty_plan() -> Plan {
    Plan { workers: 1, dirty_grace: Some(secs(5)), ..plan() }
}

/// Started: the arbiter runs, and the only worker, number 2, serves.
fn serving() -> (Driver, Pid) {
    let mut driver = Driver::new(dirty_plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    assert_eq!(Driver::forks_of_arbiters(&driver.take()), [(1, 1)]);
    let pid = driver.forked(1);
    driver.boot_all();
    driver.take();
    (driver, pid)
}

fn running(pid: Pid, since: Tick) -> DirtyState {
    DirtyState::Running { pid, since }
}

/// A reload up to where the second generation serves and the old worker drains.
fn reloaded(driver: &mut Driver) -> Pid {
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    assert_eq!(Driver::forks_of_arbiters(&driver.take()), [(3, 2)]);
    let pid = driver.forked(3);
    driver.boot_all();
    driver.exit_zygote(1, CLEAN);
    driver.take();
    pid
}

#[test]
fn without_the_setting_there_is_none() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    assert_eq!(Driver::forks_of_arbiters(&driver.take()), []);
    assert_eq!(driver.arbiters(), []);
    assert_eq!(driver.supervisor.dirty_edition(Generation(1)), None);
}

#[test]
fn it_is_forked_before_the_workers() {
    let mut driver = Driver::new(dirty_plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    let actions = driver.take();
    let at = |is_it: fn(&Action) -> bool| actions.iter().position(is_it).expect("asked for");
    assert!(
        at(|action| matches!(action, Action::ForkDirty { .. }))
            < at(|action| matches!(action, Action::Fork { .. }))
    );
}

#[test]
fn one_that_dies_is_started_again_after_a_wait_that_grows() {
    let (mut driver, pid) = serving();
    let mut waits = Vec::new();
    let mut pid = pid;
    for number in 3..6 {
        driver.give(Event::Exited { pid, ending: CRASH });
        let actions = driver.take();
        assert_eq!(Driver::forks_of_arbiters(&actions), []);
        waits.extend(notices(&actions).into_iter().filter_map(|notice| match notice {
            Notice::DirtyLost { wait, .. } => Some(wait),
            _ => None,
        }));
        driver.pass(secs(2));
        assert_eq!(Driver::forks_of_arbiters(&driver.take()), [(number, 1)]);
        pid = driver.forked(number);
    }
    assert!(waits.len() == 3 && waits.is_sorted() && waits[2] > waits[0] * 2, "{waits:?}");
    assert_eq!(driver.serving_workers(), [2], "no worker has noticed");
}

#[test]
fn a_reload_brings_its_own_and_the_old_one_stays_as_long_as_its_workers() {
    let (mut driver, old) = serving();
    let new = reloaded(&mut driver);
    let editions = |driver: &Driver| -> Vec<u32> {
        driver.arbiters().iter().map(|(edition, _)| *edition).collect()
    };
    driver.pass(secs(20));
    assert_eq!(editions(&driver), [1, 2], "the old worker drains");
    assert_eq!(sent(&driver.take()), []);
    driver.exit(2, CLEAN);
    assert_eq!(sent(&driver.take()), [(old, Signal::Terminate)]);
    driver.give(Event::Exited { pid: old, ending: CLEAN });
    assert_eq!(editions(&driver), [2]);
    assert!(driver.snapshot().arbiters[0].pid == Some(new));
}

#[test]
fn an_old_one_that_dies_while_its_workers_drain_is_not_forked_from_other_code() {
    let (mut driver, old) = serving();
    reloaded(&mut driver);
    driver.give(Event::Exited { pid: old, ending: CRASH });
    driver.pass(secs(10));
    assert_eq!(Driver::forks_of_arbiters(&driver.take()), []);
    driver.exit(2, CLEAN);
    assert_eq!(driver.arbiters().len(), 1);
}

#[test]
fn a_zygote_that_takes_the_place_of_a_lost_one_takes_over_its_arbiter() {
    let (mut driver, pid) = serving();
    driver.exit_zygote(1, KILLED);
    driver.pass(secs(1));
    driver.zygote_ready(2);
    assert_eq!(Driver::forks_of_arbiters(&driver.take()), []);
    assert_eq!(driver.supervisor.dirty_edition(Generation(2)), Some(Generation(1)));
    driver.give(Event::Exited { pid, ending: CRASH });
    driver.pass(secs(1));
    assert_eq!(Driver::forks_of_arbiters(&driver.take()), [(3, 2)], "and can start it again");
}

#[test]
fn that_of_a_candidate_goes_with_it() {
    let (mut driver, old) = serving();
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    let new = driver.forked(3);
    driver.take();
    for _ in 0..3 {
        let worker = driver.under_way()[0];
        driver.forked(worker);
        driver.exit(worker, CRASH);
        driver.pass(secs(2));
    }
    let signals = sent(&driver.take());
    assert!(signals.contains(&(new, Signal::Terminate)), "{signals:?}");
    assert!(!signals.iter().any(|(pid, _)| *pid == old));
    driver.give(Event::Exited { pid: new, ending: CLEAN });
    assert_eq!(driver.arbiters(), [(1, running(old, Tick(0)))]);
    driver.exit_zygote(1, KILLED);
    driver.pass(secs(1));
    assert_eq!(driver.supervisor.dirty_edition(Generation(3)), Some(Generation(1)));
}

#[test]
fn a_stop_ends_it_after_the_workers_and_waits_for_it() {
    let (mut driver, pid) = serving();
    driver.ask(Wish::Stop);
    driver.pass(secs(1));
    assert_eq!(sent(&driver.take()), []);
    driver.exit_zygote(1, CLEAN);
    driver.exit(2, CLEAN);
    assert_eq!(sent(&driver.take()), [(pid, Signal::Terminate)]);
    driver.pass(secs(6));
    assert_eq!(sent(&driver.take()), []);
    driver.pass(secs(1));
    assert_eq!(sent(&driver.take()), [(pid, Signal::Kill)], "dirty_graceful_timeout, and a little");
    driver.give(Event::Exited { pid, ending: KILLED });
    assert!(driver.take().contains(&Action::Exit { status: 0 }));
}

#[test]
fn the_grace_of_a_stop_is_the_end_for_it_as_well() {
    let (mut driver, pid) = serving();
    driver.ask(Wish::Stop);
    driver.take();
    driver.pass(secs(31));
    assert!(sent(&driver.take()).contains(&(pid, Signal::Kill)));
    driver.pass(secs(3));
    assert!(driver.take().contains(&Action::Exit { status: 0 }));
}

#[test]
fn quit_is_passed_on_at_once() {
    let (mut driver, pid) = serving();
    driver.ask(Wish::Quit);
    assert!(sent(&driver.take()).contains(&(pid, Signal::Quit)));
    driver.pass(secs(2));
    assert!(sent(&driver.take()).contains(&(pid, Signal::Kill)));
}

#[test]
fn a_zygote_that_does_not_answer_is_killed_and_another_is_asked() {
    let mut driver = Driver::new(dirty_plan());
    driver.give(Event::Start);
    let zygote = driver.zygote_ready(1);
    driver.forked(2);
    driver.ready(2);
    driver.take();
    driver.pass(secs(10));
    assert!(sent(&driver.take()).contains(&(zygote, Signal::Kill)));
    driver.exit_zygote(1, KILLED);
    driver.pass(secs(1));
    driver.zygote_ready(2);
    assert_eq!(Driver::forks_of_arbiters(&driver.take()), [(3, 2)]);
}

#[test]
fn one_that_was_dead_before_it_was_known_gets_no_signal() {
    let mut driver = Driver::new(dirty_plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.give(Event::Exited { pid: Pid(101 + 1), ending: CRASH });
    driver.give(Event::Forked { worker: crate::WorkerId(1), pid: Pid(102) });
    assert!(matches!(driver.arbiters()[..], [(1, DirtyState::Waiting { until: Some(_) })]));
    assert_eq!(sent(&driver.take()), []);
}

#[test]
fn log_files_are_opened_again_in_it() {
    let (mut driver, pid) = serving();
    driver.ask(Wish::ReopenLogs);
    assert_eq!(sent(&driver.take()), [(pid, Signal::Reopen)]);
}

#[test]
fn a_zygote_that_owes_one_goes_with_its_code_all_the_same() {
    let mut driver = Driver::new(dirty_plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.boot(2);
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.forked(3);
    driver.take();
    driver.boot_all();
    let retire = Action::RetireZygote { generation: Generation(1) };
    assert!(driver.take().contains(&retire), "it would be forked from if the new one died");
    driver.exit_zygote(1, CLEAN);
    driver.exit(2, CLEAN);
    assert_eq!(driver.arbiters().len(), 1);
}
