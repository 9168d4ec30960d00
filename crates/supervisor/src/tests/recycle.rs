//! Replacement before retirement, and the size of the pool.

use super::driver::*;
use crate::{Action, Cause, Notice, Order, Plan, Signal, SlotId, Wish, WorkerState};

#[test]
fn spent_worker_serves_until_its_successor_is_ready() {
    let mut driver = Driver::settled(plan());
    driver.spent(1);
    assert_eq!(forks(&driver.take()), [(3, 0, 1)]);
    driver.forked(3);
    assert_eq!(driver.serving_workers(), [1, 2]);
    assert_eq!(told(&driver.take()), []);
    driver.ready(3);
    assert_eq!(told(&driver.take()), [(1, Order::Drain)]);
    assert_eq!(driver.serving_workers(), [2, 3]);
}

#[test]
fn draining_worker_is_killed_when_its_grace_is_over_and_not_before() {
    let mut driver = Driver::settled(plan());
    driver.spent(1);
    let pid = driver.pid_of(1).unwrap();
    driver.boot_all();
    driver.take();
    driver.pass(secs(29));
    assert_eq!(sent(&driver.take()), []);
    driver.pass(secs(1) + millis(300));
    assert_eq!(sent(&driver.take()), [(pid, Signal::Abort)], "its requests are broken off");
    driver.pass(secs(2));
    assert_eq!(sent(&driver.take()), [(pid, Signal::Kill)]);
    driver.pass(secs(100));
    assert_eq!(sent(&driver.take()), [], "one kill is enough");
}

#[test]
fn only_max_surge_workers_are_replaced_at_one_time() {
    let mut driver = Driver::settled(Plan { workers: 5, ..plan() });
    (1..=5).for_each(|worker| driver.spent(worker));
    assert_eq!(forks(&driver.take()).len(), 1);
    driver.boot_all();
    assert_eq!(forks(&driver.take()), [], "the old one still takes memory");
    driver.exit(1, CLEAN);
    assert_eq!(forks(&driver.take()).len(), 1);
    driver.churn();
    assert_eq!(driver.serving_workers(), [6, 7, 8, 9, 10]);

    let mut driver = Driver::settled(Plan { workers: 5, max_surge: 3, ..plan() });
    (1..=5).for_each(|worker| driver.spent(worker));
    driver.fork_all();
    assert_eq!(forks(&driver.take()).len(), 3);
}

#[test]
fn spent_twice_is_replaced_once() {
    let mut driver = Driver::settled(plan());
    driver.spent(1);
    driver.spent(1);
    assert_eq!(forks(&driver.take()).len(), 1);
    driver.churn();
    assert_eq!(driver.serving_workers(), [2, 3]);
}

#[test]
fn successor_that_dies_is_tried_again_while_the_old_one_serves() {
    let mut driver = Driver::settled(plan());
    driver.spent(1);
    driver.forked(3);
    driver.take();
    driver.exit(3, CRASH);
    assert_eq!(forks(&driver.take()), [], "not at once");
    assert_eq!(driver.serving_workers(), [1, 2]);
    driver.pass(secs(1));
    assert_eq!(forks(&driver.take()), [(4, 0, 1)]);
    driver.churn();
    assert_eq!(driver.serving_workers(), [2, 4]);
}

#[test]
fn old_worker_that_dies_while_its_successor_boots_is_not_replaced_twice() {
    let mut driver = Driver::settled(plan());
    driver.spent(1);
    driver.take();
    driver.exit(1, CRASH);
    assert_eq!(forks(&driver.take()), []);
    driver.churn();
    assert_eq!(driver.serving_workers(), [2, 3]);
}

#[test]
fn every_worker_draws_its_own_max_requests_within_the_jitter() {
    let limits = |plan: Plan| {
        let mut driver = Driver::new(plan);
        driver.give(crate::Event::Start);
        driver.zygote_ready(1);
        driver.fork_all();
        let limit = |action: &Action| match action {
            Action::Fork { max_requests, .. } => Some(*max_requests),
            _ => None,
        };
        driver.take().iter().filter_map(limit).collect::<Vec<_>>()
    };
    let base = Plan { workers: 8, max_requests: 500, max_requests_jitter: 50, ..plan() };
    let drawn = limits(base.clone());
    assert!(drawn.iter().all(|limit| (500..=550).contains(limit)), "{drawn:?}");
    assert!(drawn.iter().any(|limit| *limit != drawn[0]), "{drawn:?}");
    assert_ne!(drawn, limits(Plan { seed: 2, ..base.clone() }));
    assert_eq!(limits(Plan { max_requests_jitter: 0, ..base.clone() }), [500; 8]);
    assert_eq!(limits(Plan { max_requests: 0, ..base }), [0; 8], "jitter alone limits nothing");
}

#[test]
fn successor_writes_to_another_line_and_lines_are_used_again() {
    let mut driver = Driver::settled(plan());
    for worker in 1..100 {
        driver.spent(worker);
        assert!(lines_differ(&driver.snapshot()));
        driver.churn();
        assert!(driver.snapshot().workers.iter().all(|view| view.line.0 < 4));
    }
}

#[test]
fn one_worker_more_is_forked_at_once_up_to_the_maximum() {
    let mut driver = Driver::settled(Plan { workers_max: 3, ..plan() });
    driver.ask(Wish::MoreWorkers);
    let actions = driver.take();
    assert_eq!(forks(&actions), [(3, 2, 1)]);
    assert_eq!(notices(&actions), [Notice::Scaled { workers: 3 }]);
    driver.ask(Wish::MoreWorkers);
    assert_eq!(driver.take(), []);
}

#[test]
fn one_worker_less_drains_the_highest_slot_and_the_last_one_stays() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::FewerWorkers);
    let actions = driver.take();
    assert_eq!(told(&actions), [(2, Order::Drain)]);
    let is_scaled = |n: &Notice| matches!(n, Notice::WorkerDraining { cause: Cause::Scale, .. });
    assert!(notices(&actions).iter().any(is_scaled));
    driver.churn();
    driver.ask(Wish::FewerWorkers);
    assert_eq!(serving_slots(&driver.snapshot()), [SlotId(0)]);
}

#[test]
fn worker_that_boots_in_a_slot_no_longer_wanted_is_killed_at_once() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::MoreWorkers);
    let pid = driver.forked(3);
    driver.ask(Wish::FewerWorkers);
    assert_eq!(sent(&driver.take()), [(pid, Signal::Kill)]);

    driver.exit(3, KILLED);
    driver.ask(Wish::MoreWorkers);
    driver.ask(Wish::FewerWorkers);
    driver.take();
    let pid = driver.forked(4);
    assert_eq!(sent(&driver.take()), [(pid, Signal::Kill)]);
    assert_eq!(driver.state(4), Some(WorkerState::Dying { pid, cause: Cause::Scale }));
}

#[test]
fn worker_that_is_no_longer_wanted_stays_until_those_that_are_serve() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, CRASH);
    driver.take();
    driver.ask(Wish::FewerWorkers);
    assert_eq!(told(&driver.take()), [], "worker 2 is the only one that serves");
    driver.boot(3);
    assert_eq!(told(&driver.take()), [(2, Order::Drain)]);
}

#[test]
fn only_as_many_stay_as_are_missing() {
    let mut driver = Driver::settled(Plan { workers: 4, ..plan() });
    driver.exit(1, CRASH);
    driver.take();
    driver.ask(Wish::FewerWorkers);
    driver.ask(Wish::FewerWorkers);
    assert_eq!(told(&driver.take()), [(4, Order::Drain)], "3 stays in the stead of 1");
    assert_eq!(driver.serving_workers(), [2, 3]);
}

/// Its word may be on the way when it is given up: it waits for an answer, and holds nothing.
#[test]
fn worker_that_is_ready_when_it_is_no_longer_wanted_is_never_told_to_serve() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::MoreWorkers);
    driver.take();
    let pid = driver.forked(3);
    driver.ask(Wish::FewerWorkers);
    driver.ready(3);
    let actions = driver.take();
    assert_eq!(sent(&actions), [(pid, Signal::Kill)]);
    assert_eq!(told_to_serve(&actions), []);
    assert_eq!(told(&actions), []);
}
