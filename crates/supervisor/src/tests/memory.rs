//! Limits of memory, and of age.

use super::driver::*;
use crate::{
    Action, Cause, Ending, Event, Limit, Notice, Order, Plan, Signal, WorkerId, WorkerState,
};

const MIB: u64 = 1 << 20;

fn each(soft: u64, hard: u64) -> Plan {
    let worker_memory = Some(Limit { soft: soft * MIB, hard: hard * MIB });
    Plan { worker_memory, workers: 3, ..plan() }
}

fn total(soft: u64, hard: u64) -> Plan {
    let total_memory = Some(Limit { soft: soft * MIB, hard: hard * MIB });
    Plan { total_memory, workers: 3, ..plan() }
}

/// Workers and their private memory in MiB; together they take the sum.
fn measure(driver: &mut Driver, workers: &[(u64, u64)]) {
    let total = workers.iter().map(|(_, mib)| mib * MIB).sum();
    let workers = workers.iter().map(|&(id, mib)| (WorkerId(id), mib * MIB)).collect();
    driver.give(Event::Measured { workers, total });
}

fn too_low(actions: &[Action]) -> usize {
    let told = |notice: &&Notice| matches!(notice, Notice::MemoryLimitTooLow { .. });
    notices(actions).iter().filter(told).count()
}

#[test]
fn the_largest_goes_first_one_at_a_time_and_its_successor_comes_before() {
    let mut driver = Driver::settled(each(50, 100));
    measure(&mut driver, &[(1, 10), (2, 10), (3, 10)]);
    assert_eq!(driver.take(), []);
    measure(&mut driver, &[(1, 60), (2, 70), (3, 40)]);
    assert_eq!(forks(&driver.take()), [(4, 1, 1)]);
    measure(&mut driver, &[(1, 60), (2, 70), (3, 40)]);
    assert_eq!(driver.take(), [], "one is being replaced already");
    driver.boot(4);
    let actions = driver.take();
    assert_eq!(told(&actions), [(2, Order::Drain)]);
    let by_memory = |n: &Notice| matches!(n, Notice::WorkerDraining { cause: Cause::Memory, .. });
    assert!(notices(&actions).iter().any(by_memory));
    driver.exit(2, CLEAN);
    measure(&mut driver, &[(1, 60), (3, 40), (4, 10)]);
    assert_eq!(forks(&driver.take()), [(5, 0, 1)]);
}

#[test]
fn the_log_learns_which_limit_how_much_and_from_where() {
    let mut driver = Driver::settled(total(100, 200));
    measure(&mut driver, &[(1, 10), (2, 10), (3, 10)]);
    measure(&mut driver, &[(1, 40), (2, 80), (3, 10)]);
    let told = |notice: &Notice| match *notice {
        Notice::WorkerTooLarge { worker, first, bytes, limit, total, .. } => {
            Some((worker.0, first / MIB, bytes / MIB, limit / MIB, total.map(|total| total / MIB)))
        }
        _ => None,
    };
    let told: Vec<_> = notices(&driver.take()).iter().filter_map(told).collect();
    assert_eq!(told, [(2, 10, 80, 100, Some(130))]);
}

#[test]
fn above_the_hard_limit_the_largest_is_killed_and_replaced() {
    for plan in [each(50, 100), total(150, 200)] {
        let mut driver = Driver::settled(plan);
        measure(&mut driver, &[(1, 10), (2, 10), (3, 10)]);
        let pid = driver.pid_of(3).unwrap();
        driver.take();
        measure(&mut driver, &[(1, 45), (2, 45), (3, 120)]);
        let actions = driver.take();
        assert_eq!(sent(&actions), [(pid, Signal::Kill)]);
        assert_eq!(forks(&actions), [(4, 2, 1)], "at once");
        driver.exit(3, KILLED);
        let backs_off = |n: &Notice| matches!(n, Notice::BackingOff { .. });
        assert!(!notices(&driver.take()).iter().any(backs_off), "it is no crash");
    }
}

#[test]
fn who_leaves_already_is_killed_rather_than_a_smaller_one_that_serves() {
    let mut driver = Driver::settled(total(150, 200));
    measure(&mut driver, &[(1, 10), (2, 10), (3, 10)]);
    driver.spent(3);
    driver.boot(4);
    assert!(matches!(driver.state(3), Some(WorkerState::Draining { .. })));
    let pid = driver.pid_of(3).unwrap();
    driver.take();
    measure(&mut driver, &[(1, 60), (2, 45), (3, 110), (4, 10)]);
    let actions = driver.take();
    assert_eq!(sent(&actions), [(pid, Signal::Kill)]);
    assert_eq!(forks(&actions), [], "its successor serves");
    assert_eq!(driver.serving_workers(), [1, 2, 4]);
}

#[test]
fn workers_that_have_not_grown_are_left_alone_and_the_limit_is_called_too_low_once() {
    for plan in [each(50, 100), total(150, 160)] {
        let mut driver = Driver::settled(plan);
        for _ in 0..3 {
            measure(&mut driver, &[(1, 60), (2, 60), (3, 61)]);
        }
        let actions = driver.take();
        assert_eq!(too_low(&actions), 1);
        assert_eq!(actions.len(), 1);
    }
}

#[test]
fn below_the_limits_nothing_happens_and_the_dying_are_not_judged() {
    let mut driver = Driver::settled(total(100, 200));
    measure(&mut driver, &[(1, 10), (2, 10), (3, 10)]);
    measure(&mut driver, &[(1, 50), (2, 40), (3, 10)]);
    assert_eq!(driver.take(), []);
    measure(&mut driver, &[(99, 5000)]);
    let actions = driver.take();
    let gone = |n: &Notice| matches!(n, Notice::WorkerFarTooLarge { worker, .. } if worker.0 == 99);
    assert!(!notices(&actions).iter().any(gone));
}

#[test]
fn workers_are_replaced_when_they_have_served_for_so_long() {
    let mut driver = Driver::serving(Plan { max_age: Some(secs(100)), ..plan() });
    driver.pass(secs(99));
    assert_eq!(forks(&driver.take()), []);
    driver.pass(secs(1));
    assert_eq!(forks(&driver.take()), [(3, 0, 1)], "one after another: max_surge");
    driver.churn();
    let actions = driver.take();
    let by_age = |n: &&Notice| matches!(n, Notice::WorkerDraining { cause: Cause::Age, .. });
    assert_eq!(notices(&actions).iter().filter(by_age).count(), 2);
    assert_eq!(driver.serving_workers(), [3, 4]);
}

#[test]
fn every_worker_draws_its_own_age_within_the_jitter() {
    let plan = Plan { max_age: Some(secs(100)), max_age_jitter: secs(50), workers: 8, ..plan() };
    let mut driver = Driver::serving(plan);
    driver.pass(secs(99));
    assert_eq!(forks(&driver.take()), []);
    let mut times = Vec::new();
    for second in 100..=150 {
        driver.pass(secs(1));
        times.extend(forks(&driver.take()).iter().map(|_| second));
        driver.churn();
        driver.take();
    }
    assert!(times.len() >= 6, "{times:?}");
    assert!(times.iter().any(|time| *time != times[0]), "{times:?}");
}

#[test]
fn the_next_one_waits_until_the_first_is_really_gone() {
    let mut driver = Driver::settled(Plan { graceful_timeout: secs(0), ..each(50, 100) });
    measure(&mut driver, &[(1, 10), (2, 10), (3, 10)]);
    measure(&mut driver, &[(1, 60), (2, 70), (3, 80)]);
    driver.boot(4);
    driver.pass(secs(1));
    driver.take();
    measure(&mut driver, &[(1, 60), (2, 70), (4, 10)]);
    assert_eq!(forks(&driver.take()), [], "3 was killed, but its end has not been reported");
}

fn makes_room(actions: &[Action]) -> Vec<u64> {
    let first = |notice: &Notice| match notice {
        Notice::WorkerMakesRoom { worker, .. } => Some(worker.0),
        _ => None,
    };
    notices(actions).iter().filter_map(first).collect()
}

/// Three workers that had 30 MiB when they were new, and have 180 now: a fourth does not fit below 200.
fn short() -> Driver {
    let mut driver = Driver::settled(total(150, 200));
    measure(&mut driver, &[(1, 30), (2, 30), (3, 30)]);
    driver.take();
    driver
}

#[test]
fn where_a_successor_does_not_fit_the_old_one_goes_first_and_the_slot_waits_for_its_end() {
    let mut driver = short();
    measure(&mut driver, &[(1, 40), (2, 90), (3, 50)]);
    let actions = driver.take();
    assert_eq!(makes_room(&actions), [2]);
    assert_eq!((told(&actions), forks(&actions)), (vec![(2, Order::Drain)], vec![]));
    measure(&mut driver, &[(1, 40), (2, 90), (3, 50)]);
    driver.spent(1);
    assert_eq!(driver.take(), [], "one at a time, and its memory is not free yet");
    driver.exit(2, CLEAN);
    assert_eq!(forks(&driver.take()), [(4, 1, 1)]);
    driver.boot(4);
    measure(&mut driver, &[(1, 40), (3, 50), (4, 30)]);
    assert_eq!(forks(&driver.take()), [(5, 0, 1)], "there is room again for both: new before old");
}

#[test]
fn whoever_is_to_be_replaced_for_another_reason_makes_room_as_well() {
    let mut driver = short();
    measure(&mut driver, &[(1, 49), (2, 49), (3, 49)]);
    driver.take();
    driver.spent(2);
    assert_eq!(forks(&driver.take()), [(4, 1, 1)], "147 + 30 MiB fit");

    let mut driver = Driver::settled(total(180, 200));
    measure(&mut driver, &[(1, 30), (2, 30), (3, 30)]);
    measure(&mut driver, &[(1, 58), (2, 58), (3, 58)]);
    driver.spent(2);
    assert_eq!(driver.take(), [], "who it is, is decided when it is measured");
    measure(&mut driver, &[(1, 58), (2, 58), (3, 58)]);
    let actions = driver.take();
    assert_eq!((makes_room(&actions), forks(&actions)), (vec![2], vec![]));
}

#[test]
fn the_only_worker_never_goes_first_nor_does_anybody_while_another_is_missing() {
    let plan = Plan { workers: 1, ..total(50, 80) };
    let mut driver = Driver::settled(plan);
    measure(&mut driver, &[(1, 30)]);
    measure(&mut driver, &[(1, 60)]);
    assert_eq!(forks(&driver.take()), [(2, 0, 1)]);

    let mut driver = short();
    driver.exit(3, CRASH);
    driver.take();
    measure(&mut driver, &[(1, 90), (2, 90)]);
    let actions = driver.take();
    assert_eq!(makes_room(&actions), []);
    assert_eq!(driver.serving_workers(), [1, 2]);
}

#[test]
fn a_reload_brings_the_new_before_the_old_however_short_memory_is() {
    let mut driver = short();
    driver.ask(crate::Wish::Reload);
    driver.zygote_ready(2);
    driver.take();
    measure(&mut driver, &[(1, 60), (2, 60), (3, 60)]);
    assert_eq!(makes_room(&driver.take()), [], "nobody knows yet whether the new code runs");
}

#[test]
fn where_a_slot_is_closed_nobody_goes_first() {
    let mut driver = short();
    driver.exit(3, Ending::Exited(78));
    driver.take();
    measure(&mut driver, &[(1, 30), (2, 160)]);
    let actions = driver.take();
    assert_eq!(makes_room(&actions), []);
    assert_eq!(forks(&actions), [(4, 1, 1)], "its successor comes beside it");
}

#[test]
fn one_that_makes_room_and_does_not_leave_in_time_is_killed_and_the_slot_is_filled() {
    let mut driver = short();
    measure(&mut driver, &[(1, 40), (2, 90), (3, 50)]);
    driver.pass(secs(60));
    driver.exit(2, KILLED);
    assert_eq!(forks(&driver.take()), [(4, 1, 1)]);
}
