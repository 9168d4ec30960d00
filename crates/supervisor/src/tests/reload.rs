//! New code comes in by a candidate; when it fails, the old generation serves on.

use super::driver::*;
use crate::{
    Action, BootFailure, Ending, Event, Generation, Notice, Occasion, Order, Plan, Sample, Signal,
    Tick, Wish, WorkerId, WorkerState, ZygoteState,
};

fn given_up(actions: &[Action]) -> Option<Option<BootFailure>> {
    notices(actions).into_iter().find_map(|notice| match notice {
        Notice::ReloadGivenUp { generation: Generation(2), serving: Generation(1), failure } => {
            Some(failure)
        }
        _ => None,
    })
}

fn is_done(actions: &[Action], generation: u32) -> bool {
    let generation = Generation(generation);
    let done =
        |n: &Notice| matches!(n, Notice::ReloadDone { generation: g, .. } if *g == generation);
    notices(actions).iter().any(done)
}

fn old_serves_untouched(driver: &Driver) -> bool {
    let view = driver.snapshot();
    let zygote_stays = view.zygotes.iter().any(|zygote| {
        zygote.generation == Generation(1) && matches!(zygote.state, ZygoteState::Ready { .. })
    });
    zygote_stays && driver.serving_workers() == [1, 2]
}

#[test]
fn every_worker_is_replaced_one_after_another_by_the_new_generation() {
    let mut driver = Driver::settled(Plan { workers: 3, ..plan() });
    driver.ask(Wish::Reload);
    let started = Notice::ReloadStarted { generation: Generation(2), occasion: Occasion::Asked };
    assert_eq!(
        driver.take(),
        [Action::Report(started), Action::StartZygote { generation: Generation(2) }]
    );
    assert_eq!(driver.serving_workers(), [1, 2, 3]);
    driver.zygote_ready(2);
    for old in 1..=3 {
        let actions = driver.take();
        assert_eq!(forks(&actions), [(old + 3, u16::try_from(old).unwrap() - 1, 2)]);
        assert!(!is_done(&actions, 2));
        driver.boot_all();
        let actions = driver.take();
        assert_eq!(told(&actions), [(old, Order::Drain)]);
        assert!(!is_done(&actions, 2));
        driver.exit(old, CLEAN);
    }
    assert!(is_done(&driver.take(), 2));
    assert_eq!(driver.serving_workers(), [4, 5, 6]);
}

#[test]
fn a_reload_is_done_when_the_last_old_worker_has_read_that_it_shall_drain() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.boot(3);
    driver.drains(1);
    driver.exit(1, CLEAN);
    driver.boot(4);
    assert!(!is_done(&driver.take(), 2), "the other may accept once more");
    driver.drains(2);
    assert!(is_done(&driver.take(), 2), "what it finishes is not waited for");
}

#[test]
fn a_reload_waits_for_a_deaf_worker_no_longer_than_until_it_is_killed() {
    let mut driver = Driver::settled(Plan { workers: 1, ..plan() });
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.boot(2);
    driver.pass(plan().graceful_timeout + plan().dump_grace + plan().abort_grace - millis(1));
    assert!(!is_done(&driver.take(), 2));
    driver.pass(millis(1));
    assert!(is_done(&driver.take(), 2));
}

#[test]
fn a_worker_that_says_it_drains_and_was_not_told_so_ends_no_reload() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.drains(1);
    driver.drains(2);
    driver.boot(3);
    assert!(!is_done(&driver.take(), 2));
}

#[test]
fn old_zygote_is_kept_until_the_first_new_worker_is_ready() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.forked(3);
    let retire = Action::RetireZygote { generation: Generation(1) };
    assert!(!driver.take().contains(&retire));
    driver.ready(3);
    assert!(driver.take().contains(&retire));
}

#[test]
fn nobody_is_forked_from_the_old_zygote_once_the_new_one_is_ready() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.take();
    driver.exit(2, CRASH);
    driver.fork_all();
    assert_eq!(forks(&driver.take()), [(4, 1, 2)]);
}

#[test]
fn candidate_that_fails_leaves_the_old_generation_untouched() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    let pid = driver.zygote_spawned(2);
    driver.take();
    driver.zygote_failed(2, BootFailure::Import);
    let actions = driver.take();
    assert_eq!(given_up(&actions), Some(Some(BootFailure::Import)));
    assert_eq!(sent(&actions), [], "it leaves by itself");
    driver.give(Event::Exited { pid, ending: Ending::Exited(3) });
    driver.pass(secs(1000));
    assert!(old_serves_untouched(&driver));
    assert_eq!(driver.take(), []);
}

#[test]
fn candidate_that_dies_or_is_too_slow_is_given_up() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    let pid = driver.zygote_spawned(2);
    driver.give(Event::Exited { pid, ending: CRASH });
    assert_eq!(given_up(&driver.take()), Some(Some(BootFailure::Setup)));
    assert!(old_serves_untouched(&driver));

    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    let pid = driver.zygote_spawned(2);
    driver.pass(plan().boot_timeout);
    let actions = driver.take();
    assert_eq!(given_up(&actions), Some(Some(BootFailure::Setup)));
    assert_eq!(sent(&actions), [(pid, Signal::Kill)]);
    assert!(old_serves_untouched(&driver));
}

#[test]
fn three_new_workers_that_die_before_ready_give_the_reload_up() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    let zygote = driver.zygote_ready(2);
    for worker in 3..=5 {
        driver.forked(worker);
        driver.take();
        driver.exit(worker, CRASH);
        let actions = driver.take();
        assert_eq!(given_up(&actions), (worker == 5).then_some(None));
        assert_eq!(sent(&actions).contains(&(zygote, Signal::Kill)), worker == 5);
        driver.pass(secs(1));
    }
    assert!(old_serves_untouched(&driver));
    driver.give(Event::Exited { pid: zygote, ending: KILLED });
    driver.take();
    driver.exit(1, CRASH);
    assert_eq!(forks(&driver.take()), [(6, 0, 1)], "the old code is forked again");
}

#[test]
fn old_workers_that_die_before_they_are_ready_do_not_count_against_the_new_code() {
    let mut driver = Driver::settled(Plan { workers: 4, ..plan() });
    for worker in 1..=3 {
        driver.exit(worker, CRASH);
    }
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.take();
    for worker in 5..=7 {
        driver.forked(worker);
        driver.exit(worker, CRASH);
    }
    let end = |n: &Notice| matches!(n, Notice::ReloadGivenUp { .. });
    assert!(!notices(&driver.take()).iter().any(end));
}

#[test]
fn new_worker_that_cannot_load_the_app_gives_the_reload_up_at_once() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.forked(3);
    driver.exit(3, Ending::Exited(4));
    assert_eq!(given_up(&driver.take()), Some(Some(BootFailure::App)));
    assert!(old_serves_untouched(&driver));
}

#[test]
fn candidate_that_hangs_in_a_fork_is_given_up() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    let zygote = driver.zygote_ready(2);
    driver.take();
    driver.pass(secs(10));
    let actions = driver.take();
    assert_eq!(given_up(&actions), Some(None));
    assert_eq!(sent(&actions), [(zygote, Signal::Kill)]);
    assert!(old_serves_untouched(&driver));
}

#[test]
fn candidate_that_dies_while_it_is_tried_is_given_up_and_the_old_zygote_forks_on() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    let candidate = driver.zygote_ready(2);
    driver.take();
    driver.give(Event::Exited { pid: candidate, ending: CRASH });
    assert_eq!(given_up(&driver.take()), Some(None));
    driver.exit(1, CRASH);
    assert_eq!(forks(&driver.take()), [(4, 0, 1)]);
}

#[test]
fn old_zygote_that_dies_while_the_candidate_is_tried_does_not_end_the_reload() {
    let mut driver = Driver::settled(plan());
    let old = driver.snapshot().zygotes[0].pid.unwrap();
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.take();
    driver.give(Event::Exited { pid: old, ending: CRASH });
    assert_eq!(given_up(&driver.take()), None);
    driver.churn();
    assert!(is_done(&driver.take(), 2));
}

#[test]
fn boots_of_the_candidate_end_with_it_and_those_of_the_old_code_go_on() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, CRASH);
    driver.forked(3);
    driver.ask(Wish::Reload);
    let candidate = driver.zygote_ready(2);
    driver.take();
    driver.forked(4);
    driver.give(Event::Exited { pid: candidate, ending: CRASH });
    assert_eq!(given_up(&driver.take()), Some(None));
    assert!(matches!(driver.state(3), Some(WorkerState::Booting { .. })));
    assert!(matches!(driver.state(4), Some(WorkerState::Dying { .. })));
}

#[test]
fn generation_that_is_gone_back_to_is_named_also_when_nobody_of_it_serves() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, CRASH);
    driver.exit(2, CRASH);
    driver.ask(Wish::Reload);
    driver.zygote_spawned(2);
    driver.zygote_failed(2, BootFailure::App);
    assert_eq!(given_up(&driver.take()), Some(Some(BootFailure::App)));
}

#[test]
fn old_zygote_that_hangs_in_a_fork_says_nothing_about_the_new_code() {
    let mut driver = Driver::settled(plan());
    let old = driver.snapshot().zygotes[0].pid.unwrap();
    driver.exit(1, CRASH);
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.forked(4);
    driver.take();
    driver.pass(secs(10));
    let actions = driver.take();
    assert_eq!(sent(&actions), [(old, Signal::Kill)], "worker 3 was never answered for");
    assert_eq!(given_up(&actions), None);
}

#[test]
fn reload_that_fails_half_way_ends_and_both_generations_serve() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.boot(3);
    driver.exit(1, CLEAN);
    driver.take();
    for worker in 4..=6 {
        driver.forked(worker);
        driver.exit(worker, CRASH);
        driver.pass(secs(5));
    }
    assert_eq!(given_up(&driver.take()), Some(None));
    assert_eq!(driver.serving_workers(), [2, 3]);
    driver.ask(Wish::Reload);
    driver.zygote_ready(3);
    driver.churn();
    assert!(is_done(&driver.take(), 3));
}

#[test]
fn reload_during_a_reload_follows_it() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_spawned(2);
    driver.take();
    driver.ask(Wish::Reload);
    driver.ask(Wish::Reload);
    assert_eq!(notices(&driver.take()), [Notice::ReloadQueued, Notice::ReloadQueued]);
    driver.give(Event::ZygoteReady { generation: Generation(2) });
    driver.churn();
    let actions = driver.take();
    assert!(is_done(&actions, 2));
    assert!(actions.contains(&Action::StartZygote { generation: Generation(3) }));
    driver.zygote_ready(3);
    driver.churn();
    let actions = driver.take();
    assert!(is_done(&actions, 3));
    assert!(!actions.contains(&Action::StartZygote { generation: Generation(4) }), "asked once");
}

#[test]
fn reload_during_the_first_boot_waits_for_it() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.ask(Wish::Reload);
    driver.take();
    driver.zygote_ready(1);
    let actions = driver.take();
    assert!(actions.contains(&Action::StartZygote { generation: Generation(2) }));
    driver.zygote_ready(2);
    driver.churn();
    assert!(is_done(&driver.take(), 2));
}

#[test]
fn reload_brings_back_the_planned_number_of_workers_once_the_new_code_serves() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::MoreWorkers);
    driver.boot_all();
    driver.take();
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.forked(4);
    assert_eq!(told(&driver.take()), []);
    assert_eq!(driver.supervisor.wanted, 3);
    driver.ready(4);
    let actions = driver.take();
    assert!(notices(&actions).contains(&Notice::Scaled { workers: 2 }));
    assert_eq!(told(&actions), [(1, Order::Drain), (3, Order::Drain)]);
    driver.churn();
    assert_eq!(driver.serving_workers(), [4, 5]);
}

#[test]
fn reload_that_is_given_up_leaves_the_number_of_workers_as_it_was() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::MoreWorkers);
    driver.boot_all();
    driver.take();
    driver.ask(Wish::Reload);
    replan(&mut driver, 2, Plan { workers: 5, ..plan() });
    driver.zygote_spawned(2);
    driver.zygote_failed(2, BootFailure::Import);
    let actions = driver.take();
    assert_eq!(given_up(&actions), Some(Some(BootFailure::Import)));
    assert_eq!(told(&actions), []);
    driver.pass(secs(60));
    assert_eq!(driver.serving_workers(), [1, 2, 3]);
    assert_eq!(driver.supervisor.wanted, 3);
}

#[test]
fn workers_that_are_asked_for_during_a_reload_are_meant_for_it() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::MoreWorkers);
    driver.boot_all();
    driver.ask(Wish::Reload);
    driver.ask(Wish::MoreWorkers);
    driver.ask(Wish::MoreWorkers);
    driver.ask(Wish::FewerWorkers);
    driver.zygote_ready(2);
    driver.churn();
    assert_eq!(driver.supervisor.wanted, 3, "two as planned, and one more");
}

#[test]
fn old_workers_that_become_ready_do_not_bring_in_new_settings() {
    let mut driver = Driver::settled(plan());
    driver.exit(2, CLEAN);
    driver.ask(Wish::Reload);
    replan(&mut driver, 2, Plan { workers: 5, ..plan() });
    driver.boot_all();
    let adopted = |action: &Action| matches!(action, Action::Adopt { .. });
    assert!(!driver.take().iter().any(adopted));
    assert_eq!(driver.supervisor.wanted, 2);
}

#[test]
fn reload_whose_zygote_dies_half_way_goes_on_with_the_next_and_not_with_an_old_one() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::MoreWorkers);
    driver.ask(Wish::Reload);
    let candidate = driver.zygote_ready(2);
    let old_zygote_owes = driver.state(3).is_some();
    driver.boot(4);
    driver.take();
    driver.give(Event::Exited { pid: candidate, ending: CRASH });
    driver.pass(secs(1));
    let actions = driver.take();
    assert!(old_zygote_owes, "so the old one is still there");
    assert_eq!(forks(&actions), [], "nobody is forked from the old code");
    assert!(actions.contains(&Action::StartZygote { generation: Generation(3) }));
    driver.zygote_ready(3);
    driver.churn();
    assert!(is_done(&driver.take(), 2));
}

#[test]
fn old_zygote_that_dies_while_the_candidate_loads_is_not_replaced_but_by_it() {
    let mut driver = Driver::settled(plan());
    let old = driver.snapshot().zygotes[0].pid.unwrap();
    driver.ask(Wish::Reload);
    let candidate = driver.zygote_spawned(2);
    driver.take();
    driver.give(Event::Exited { pid: old, ending: CRASH });
    assert!(!driver.take().iter().any(|action| matches!(action, Action::StartZygote { .. })));
    driver.give(Event::Exited { pid: candidate, ending: CRASH });
    driver.pass(secs(1));
    let actions = driver.take();
    assert_eq!(given_up(&actions), Some(Some(BootFailure::Setup)));
    assert!(actions.contains(&Action::StartZygote { generation: Generation(3) }));
    assert_eq!(driver.serving_workers(), [1, 2]);
}

fn replan(driver: &mut Driver, generation: u32, plan: Plan) {
    let generation = Generation(generation);
    driver.give(Event::Replanned { generation, plan: Box::new(plan) });
}

#[test]
fn of_two_in_a_slot_that_new_settings_close_the_newer_one_stands_in() {
    let mut driver = Driver::settled(Plan { workers: 3, ..plan() });
    driver.exit(1, CRASH);
    driver.exit(2, CRASH);
    driver.forked(4);
    driver.forked(5);
    driver.ask(Wish::Reload);
    replan(&mut driver, 2, Plan { workers: 1, ..plan() });
    driver.zygote_ready(2);
    driver.take();
    driver.boot(6);
    assert_eq!(told(&driver.take()), [(3, Order::Drain)], "6 serves in its slot");
    assert_eq!(driver.serving_workers(), [6], "in the stead of 4, which boots");
    driver.ask(Wish::MoreWorkers);
    driver.ask(Wish::MoreWorkers);
    assert_eq!(told(&driver.take()), [], "nobody is one too many");
}

#[test]
fn who_stands_in_for_a_slot_without_a_server_is_of_the_newest_code() {
    let mut driver = Driver::settled(Plan { workers: 3, ..plan() });
    driver.exit(1, CRASH);
    driver.forked(4);
    driver.ask(Wish::Reload);
    replan(&mut driver, 2, Plan { workers: 1, ..plan() });
    driver.zygote_ready(2);
    // In slot 1, while an old one serves in slot 2.
    driver.boot(5);
    assert_eq!(driver.serving_workers(), [5], "in the stead of 4, which boots");
}

#[test]
fn new_settings_count_once_a_worker_of_the_new_generation_serves() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    replan(&mut driver, 2, Plan { workers: 3, timeout: None, ..plan() });
    driver.zygote_ready(2);
    driver.forked(3);
    let adopt = Action::Adopt { generation: Generation(2) };
    assert!(!driver.take().contains(&adopt));
    assert_eq!(driver.supervisor.plan.timeout, plan().timeout);
    driver.ready(3);
    let actions = driver.take();
    assert!(actions.contains(&adopt));
    assert!(notices(&actions).contains(&Notice::Scaled { workers: 3 }));
    assert_eq!((driver.supervisor.wanted, driver.supervisor.plan.timeout), (3, None));
}

#[test]
fn an_old_worker_that_is_replaced_meanwhile_brings_no_new_settings() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_spawned(2);
    replan(&mut driver, 2, Plan { workers: 3, ..plan() });
    driver.exit(1, CRASH);
    driver.boot_all();
    assert!(!driver.take().iter().any(|action| matches!(action, Action::Adopt { .. })));
    assert_eq!((driver.supervisor.wanted, driver.snapshot().serving()), (2, 2));
}

#[test]
fn new_settings_go_with_the_generation_that_never_served() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    replan(&mut driver, 2, Plan { workers: 3, ..plan() });
    driver.give(Event::ZygoteFailed { generation: Generation(2), failure: BootFailure::Import });
    driver.take();
    driver.ask(Wish::Reload);
    driver.zygote_ready(3);
    driver.boot_all();
    assert!(!driver.take().iter().any(|action| matches!(action, Action::Adopt { .. })));
    assert_eq!(driver.supervisor.wanted, 2);
}

#[test]
fn settings_for_a_generation_that_nobody_loads_are_dropped() {
    let mut driver = Driver::settled(plan());
    replan(&mut driver, 1, Plan { workers: 5, ..plan() });
    driver.ask(Wish::Reload);
    replan(&mut driver, 1, Plan { workers: 5, ..plan() });
    driver.zygote_ready(2);
    driver.boot_all();
    assert_eq!(driver.supervisor.wanted, 2);
}

#[test]
fn a_scoreboard_is_never_outgrown_by_new_settings() {
    let first = Plan { max_surge: 2, ..plan() };
    let mut driver = Driver::settled(first.clone());
    driver.ask(Wish::Reload);
    replan(&mut driver, 2, Plan { workers: 300, max_surge: 50, workers_max: 500, ..plan() });
    driver.zygote_ready(2);
    driver.boot_all();
    assert_eq!(driver.snapshot().serving(), 8);
    let lines: Vec<_> = driver.snapshot().workers.iter().map(|worker| worker.line).collect();
    assert!(lines.iter().all(|line| line.0 < first.lines()), "{lines:?}");
    assert_eq!(driver.supervisor.plan.workers_max, 8);
}

#[test]
fn a_reload_can_raise_the_surge_that_an_earlier_one_has_lowered() {
    let mut driver = Driver::settled(Plan { workers: 4, max_surge: 3, ..plan() });
    for (generation, max_surge) in [(2, 1), (3, 3)] {
        driver.ask(Wish::Reload);
        replan(&mut driver, generation, Plan { workers: 4, max_surge, ..plan() });
        driver.zygote_ready(generation);
        driver.boot_all();
        driver.churn();
        assert_eq!(driver.supervisor.plan.max_surge, max_surge);
    }
}

#[test]
fn workers_of_a_candidate_are_started_with_its_settings_already() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    let boot_timeout = plan().boot_timeout * 2;
    replan(&mut driver, 2, Plan { max_requests: 7, boot_timeout, ..plan() });
    driver.zygote_ready(2);
    let of_fork = |action: &Action| match action {
        Action::Fork { max_requests, .. } => Some(*max_requests),
        _ => None,
    };
    assert_eq!(driver.take().iter().find_map(of_fork), Some(7));
    driver.forked(3);
    driver.pass(plan().boot_timeout + secs(1));
    assert_eq!(given_up(&driver.take()), None, "it has as long as the new settings say");
    driver.ready(3);
    assert!(driver.take().contains(&Action::Adopt { generation: Generation(2) }));
}

#[test]
fn a_candidate_has_as_long_to_load_as_its_own_settings_say() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.zygote_spawned(2);
    let boot_timeout = plan().boot_timeout * 2;
    replan(&mut driver, 2, Plan { boot_timeout, ..plan() });
    driver.take();
    driver.pass(plan().boot_timeout + secs(1));
    assert_eq!(given_up(&driver.take()), None);
    driver.pass(plan().boot_timeout);
    assert_eq!(given_up(&driver.take()), Some(Some(BootFailure::Setup)));
}

#[test]
fn a_shorter_limit_is_not_for_workers_that_do_not_know_it() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    replan(&mut driver, 2, Plan { timeout: Some(secs(1)), ..plan() });
    driver.zygote_ready(2);
    driver.forked(3);
    driver.ready(3);
    driver.take();
    let stands = |driver: &mut Driver, worker, length: u64| {
        let standing_since = Some(Tick(driver.now.0 - length * 1_000_000_000));
        let sample = Sample { standing_since, ..Sample::default() };
        driver.give(Event::Sampled { worker: WorkerId(worker), sample });
        driver.take().iter().any(|action| matches!(action, Action::DumpStacks { .. }))
    };
    assert!(!stands(&mut driver, 2, 2), "it was told 30 s, and gives a sign of life each second");
    assert!(stands(&mut driver, 2, 31));
    assert!(stands(&mut driver, 3, 2));
}
