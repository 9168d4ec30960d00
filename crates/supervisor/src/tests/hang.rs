//! Workers that stand still.

use super::driver::*;
use crate::{Action, Cause, Event, Notice, Plan, Sample, Signal, Stood, Tick, Wish, WorkerId};

/// Samples each second, as the runtime does, with worker 1 standing since `since`.
fn sample_for(driver: &mut Driver, length: u64, since: Tick) {
    for _ in 0..length {
        driver.pass(secs(1));
        driver.standing(1, since);
        driver.give(Event::Sampled { worker: WorkerId(2), sample: Sample::default() });
    }
}

fn hung(actions: &[Action]) -> bool {
    notices(actions).iter().any(|notice| matches!(notice, Notice::WorkerHung { .. }))
}

/// All is well, and samples have been taken for a while.
fn sampled() -> Driver {
    let mut driver = Driver::settled(plan());
    for _ in 0..3 {
        driver.pass(secs(1));
        driver.give(Event::Sampled { worker: WorkerId(1), sample: Sample::default() });
    }
    driver.take();
    driver
}

#[test]
fn hung_worker_shows_its_stacks_then_is_aborted_then_killed() {
    let mut driver = sampled();
    let (since, pid) = (driver.now, driver.pid_of(1).unwrap());
    sample_for(&mut driver, 30, since);
    assert_eq!(driver.take(), [], "the timeout has not passed");
    sample_for(&mut driver, 1, since);
    let actions = driver.take();
    assert!(hung(&actions));
    assert!(actions.contains(&Action::DumpStacks { worker: WorkerId(1), pid }));
    driver.pass(millis(299));
    assert_eq!(sent(&driver.take()), []);
    driver.pass(millis(1));
    assert_eq!(sent(&driver.take()), [(pid, Signal::Abort)]);
    driver.pass(secs(2));
    assert_eq!(sent(&driver.take()), [(pid, Signal::Kill)]);
    driver.exit(1, KILLED);
    let cause = |n: &Notice| matches!(n, Notice::WorkerExited { cause: Some(Cause::Hang), .. });
    assert!(notices(&driver.take()).iter().any(cause));
}

#[test]
fn successor_of_a_hung_worker_is_forked_at_once() {
    let mut driver = sampled();
    let since = driver.now;
    sample_for(&mut driver, 31, since);
    assert_eq!(forks(&driver.take()), [(3, 0, 1)]);
    assert_eq!(driver.serving_workers(), [2]);
}

#[test]
fn hang_after_a_stable_life_makes_the_next_death_the_first_again() {
    let mut driver = sampled();
    driver.exit(1, CRASH);
    for worker in 3..=4 {
        driver.boot(worker);
        driver.exit(worker, CRASH);
        driver.pass(secs(1));
    }
    driver.boot(5);
    driver.pass(secs(60));
    driver.give(Event::Tick);
    let since = driver.now;
    for _ in 0..31 {
        driver.pass(secs(1));
        driver.standing(5, since);
    }
    driver.boot(6);
    driver.take();
    driver.exit(6, CRASH);
    assert!(
        notices(&driver.take()).iter().any(|n| matches!(n, Notice::BackingOff { deaths: 1, .. }))
    );
}

#[test]
fn hung_worker_is_judged_once() {
    let mut driver = sampled();
    let since = driver.now;
    sample_for(&mut driver, 31, since);
    driver.take();
    sample_for(&mut driver, 1, since);
    assert!(!hung(&driver.take()));
}

#[test]
fn worker_that_hangs_while_it_drains_is_ended_the_same_way() {
    let mut driver = sampled();
    let since = driver.now;
    sample_for(&mut driver, 20, since);
    driver.spent(1);
    driver.boot_all();
    driver.take();
    sample_for(&mut driver, 11, since);
    assert!(hung(&driver.take()));
}

#[test]
fn time_in_which_the_master_itself_stood_still_is_not_a_workers() {
    let mut driver = sampled();
    let since = driver.now;
    sample_for(&mut driver, 20, since);
    driver.now = driver.now + secs(100);
    driver.standing(1, since);
    assert_eq!(driver.take(), []);
    sample_for(&mut driver, 10, since);
    assert_eq!(driver.take(), [], "it stood for 30 s while we looked");
    sample_for(&mut driver, 1, since);
    assert!(hung(&driver.take()), "one that really hangs is found all the same");
    assert_eq!(driver.serving_workers(), [2]);
}

#[test]
fn without_a_timeout_nobody_hangs() {
    let mut driver = Driver::settled(Plan { timeout: None, ..plan() });
    let since = Tick(0);
    sample_for(&mut driver, 100, since);
    assert!(!hung(&driver.take()));
}

#[test]
fn booting_worker_does_not_hang_but_has_its_boot_timeout() {
    let mut driver = sampled();
    driver.ask(Wish::MoreWorkers);
    driver.forked(3);
    driver.take();
    driver.standing(3, Tick(0));
    assert_eq!(driver.take(), []);
}

/// A worker whose loop is well, and whose oldest and latest request began so long ago.
fn give_requests(driver: &mut Driver, oldest: u64, latest: u64) {
    let ago = |length| Some(Tick(driver.now.0 - secs(length).as_nanos() as u64));
    let (standing_since, oldest_since, latest_since) = (ago(0), ago(oldest), ago(latest));
    let sample = Sample { standing_since, oldest_since, latest_since };
    driver.give(Event::Sampled { worker: WorkerId(1), sample });
}

fn with_request_timeout() -> Driver {
    let mut driver = Driver::settled(Plan { request_timeout: Some(secs(10)), ..plan() });
    for _ in 0..60 {
        driver.pass(secs(1));
        give_requests(&mut driver, 0, 0);
    }
    driver.take();
    driver
}

#[test]
fn a_request_that_cannot_be_broken_off_has_its_worker_replaced_and_the_others_are_finished() {
    let mut driver = with_request_timeout();
    give_requests(&mut driver, 10, 1);
    assert_eq!(driver.take(), [], "it has had its time, and not more");
    give_requests(&mut driver, 11, 1);
    let actions = driver.take();
    let overdue =
        |n: &Notice| matches!(n, Notice::WorkerOverdue { stood, .. } if *stood == secs(11));
    assert!(notices(&actions).iter().any(overdue));
    assert_eq!(forks(&actions), [(3, 0, 1)], "first its successor");
    give_requests(&mut driver, 12, 2);
    assert_eq!(driver.take(), [], "it is told once");
    driver.boot(3);
    assert_eq!(told(&driver.take()), [(1, crate::Order::Drain)]);
}

#[test]
fn worker_whose_requests_have_all_had_their_time_is_ended_like_one_that_hangs() {
    let mut driver = with_request_timeout();
    give_requests(&mut driver, 12, 11);
    let actions = driver.take();
    let is_hung = |n: &Notice| matches!(n, Notice::WorkerHung { what: Stood::Request, stood, .. } if *stood == secs(12));
    assert!(notices(&actions).iter().any(is_hung));
    assert_eq!(driver.serving_workers(), [2]);
    assert_eq!(forks(&actions), [(3, 0, 1)]);
}

#[test]
fn what_is_slow_shows_its_stacks_once_and_goes_on() {
    let mut driver = Driver::settled(Plan { slow_request_log: Some(secs(2)), ..plan() });
    for _ in 0..3 {
        driver.pass(secs(1));
        driver.give(Event::Sampled { worker: WorkerId(1), sample: Sample::default() });
    }
    driver.take();
    let (since, pid) = (driver.now, driver.pid_of(1).unwrap());
    sample_for(&mut driver, 2, since);
    assert_eq!(driver.take(), []);
    sample_for(&mut driver, 1, since);
    let actions = driver.take();
    assert!(notices(&actions).iter().any(|n| matches!(n, Notice::WorkerSlow { .. })));
    assert!(actions.contains(&Action::DumpStacks { worker: WorkerId(1), pid }));
    sample_for(&mut driver, 5, since);
    assert_eq!(driver.take(), [], "told once");
    let since = driver.now;
    sample_for(&mut driver, 3, since);
    assert!(!driver.take().is_empty(), "another one is told again");
    assert_eq!(driver.serving_workers(), [1, 2]);
}

#[test]
fn worker_that_does_not_finish_in_time_shows_its_stacks_before_it_is_killed() {
    let mut driver = sampled();
    let pid = driver.pid_of(1).unwrap();
    driver.spent(1);
    driver.boot_all();
    driver.take();
    driver.pass(secs(30));
    let actions = driver.take();
    let timed_out = |n: &Notice| matches!(n, Notice::WorkerDrainTimedOut { .. });
    assert!(notices(&actions).iter().any(timed_out));
    assert!(actions.contains(&Action::DumpStacks { worker: WorkerId(1), pid }));
    driver.pass(secs(3));
    let actions = driver.take();
    assert_eq!(sent(&actions).iter().filter(|(to, _)| *to == pid).count(), 2);
    assert_eq!(sent(&actions).last(), Some(&(pid, Signal::Kill)));
}
