//! A new master beside this one.

use super::driver::{CLEAN, CRASH, Driver, KILLED, plan, secs, sent, told, told_to_serve};
use crate::{Action, Event, Notice, Order, Phase, Pid, Plan, Signal, Stage, UpgradeFailure, Wish};

const HEIR: Pid = Pid(9_000);

fn upgrading() -> Driver {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Upgrade);
    assert_eq!(driver.take(), [Action::StartUpgrade]);
    driver.give(Event::UpgradeSpawned { pid: HEIR });
    assert_eq!(driver.take(), [Action::Report(Notice::UpgradeStarted { pid: HEIR })]);
    driver
}

fn given_up(why: UpgradeFailure) -> Action {
    Action::Report(Notice::UpgradeGivenUp { why })
}

#[test]
fn nothing_changes_until_the_new_master_serves() {
    let mut driver = upgrading();
    driver.pass(secs(60));
    assert_eq!(driver.take(), []);
    assert_eq!(driver.snapshot().serving(), 2);
}

#[test]
fn the_old_master_drains_and_leaves_once_the_new_one_serves_and_never_closes_the_gate() {
    let mut driver = upgrading();
    driver.published();
    driver.pass(secs(7));
    driver.give(Event::UpgradeReady { pid: HEIR });
    let done = driver.take();
    let took = Some(secs(7));
    assert_eq!(done[0], Action::Report(Notice::HandedOver { pid: HEIR, took }));
    assert!(done.contains(&Action::HandOver { to: HEIR }));
    assert!(!done.contains(&Action::CloseGate));
    let orders: Vec<_> = done
        .iter()
        .filter_map(|action| match action {
            Action::Tell { order, .. } => Some(*order),
            _ => None,
        })
        .collect();
    assert_eq!(orders, [Order::Drain, Order::Drain], "idle connections go over to it");
    assert_eq!(driver.published().last().expect("told").stage, Stage::HandedOver { to: HEIR });
    driver.exit(1, CLEAN);
    driver.exit(2, CLEAN);
    driver.exit_zygote(1, CLEAN);
    assert_eq!(driver.take().last(), Some(&Action::Exit { status: 0 }));
}

#[test]
fn a_new_master_that_ends_before_it_serves_changes_nothing() {
    let mut driver = upgrading();
    driver.give(Event::Exited { pid: HEIR, ending: CRASH });
    assert_eq!(driver.take(), [given_up(UpgradeFailure::Exited(CRASH))]);
    assert_eq!(driver.snapshot().serving(), 2);
    driver.ask(Wish::Upgrade);
    assert_eq!(driver.take(), [Action::StartUpgrade], "the next one has its turn");
}

#[test]
fn a_new_master_that_cannot_be_executed_changes_nothing() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Upgrade);
    driver.take();
    driver.give(Event::UpgradeSpawnFailed);
    assert_eq!(driver.take(), [given_up(UpgradeFailure::Spawn)]);
    assert_eq!(driver.snapshot().phase, Phase::Running);
}

#[test]
fn a_new_master_that_is_late_is_told_to_leave_and_then_killed() {
    let mut driver = upgrading();
    driver.pass(plan().boot_timeout * 2);
    let term = Action::Send { pid: HEIR, signal: Signal::Terminate };
    assert_eq!(driver.take(), [given_up(UpgradeFailure::TimedOut), term]);
    driver.give(Event::UpgradeReady { pid: HEIR });
    assert_eq!(driver.take(), [], "too late");
    driver.pass(plan().graceful_timeout + plan().abort_grace * 3);
    assert_eq!(driver.take(), [Action::Send { pid: HEIR, signal: Signal::Kill }]);
    driver.give(Event::Exited { pid: HEIR, ending: CRASH });
    assert_eq!(driver.take(), []);
    assert_eq!(driver.snapshot().phase, Phase::Running);
}

#[test]
fn the_word_of_another_process_counts_for_nothing() {
    let mut driver = upgrading();
    driver.give(Event::UpgradeReady { pid: Pid(1) });
    assert_eq!(driver.take(), []);
    assert_eq!(driver.snapshot().phase, Phase::Running);
}

#[test]
fn two_upgrades_never_overlap() {
    let mut driver = upgrading();
    driver.ask(Wish::Upgrade);
    let why = "an upgrade is under way";
    assert_eq!(driver.take(), [Action::Report(Notice::UpgradeRefused { why })]);
}

#[test]
fn pid_1_and_a_master_that_is_new_itself_refuse() {
    let refuses = |plan: Plan| {
        let mut driver = Driver::settled(plan);
        driver.ask(Wish::Upgrade);
        matches!(driver.take()[..], [Action::Report(Notice::UpgradeRefused { .. })])
    };
    assert!(refuses(Plan { is_pid_1: true, ..plan() }));
    assert!(refuses(Plan { is_heir: true, ..plan() }));
}

#[test]
fn a_promoted_master_can_be_upgraded() {
    let mut driver = Driver::settled(Plan { is_heir: true, ..plan() });
    driver.give(Event::Promoted);
    assert_eq!(driver.take(), [Action::Report(Notice::Promoted)]);
    driver.give(Event::Promoted);
    assert_eq!(driver.take(), [], "once");
    driver.ask(Wish::Upgrade);
    assert_eq!(driver.take(), [Action::StartUpgrade]);
}

#[test]
fn whoever_stops_the_old_master_has_decided_for_the_new_one() {
    for wish in [Wish::Stop, Wish::Quit] {
        let mut driver = upgrading();
        driver.ask(wish);
        let done = driver.take();
        assert!(done.contains(&Action::HandOver { to: HEIR }), "{wish:?}");
        assert!(!done.contains(&Action::CloseGate), "{wish:?}");
        let is_order = |a: &&Action| matches!(a, Action::Tell { .. });
        if let Some(Action::Tell { order, .. }) = done.iter().find(is_order) {
            assert_eq!(*order, Order::HandOver, "nobody may be there to take connections");
        }
        let notice = Notice::HandedOver { pid: HEIR, took: None };
        assert!(done.contains(&Action::Report(notice)), "{wish:?}");
    }
}

#[test]
fn quit_leaves_the_queue_to_the_new_master_also_in_workers_not_known_yet() {
    let mut driver = upgrading();
    driver.spent(1);
    driver.take();
    driver.ask(Wish::Quit);
    let pid = driver.forked(3);
    driver.ready(3);
    let actions = driver.take();
    assert_eq!((told(&actions), told_to_serve(&actions)), (vec![], vec![]));
    assert!(sent(&actions).contains(&(pid, Signal::Kill)));
}

#[test]
fn the_old_workers_are_kept_up_while_the_new_master_boots() {
    let mut driver = upgrading();
    driver.exit(1, CRASH);
    driver.boot_all();
    assert_eq!(driver.snapshot().serving(), 2);
}

#[test]
fn a_new_master_that_crashes_after_it_took_over_gives_the_service_back() {
    let mut driver = upgrading();
    driver.give(Event::UpgradeReady { pid: HEIR });
    driver.exit(1, CLEAN);
    driver.exit_zygote(1, CLEAN);
    driver.take();
    driver.give(Event::Exited { pid: HEIR, ending: KILLED });
    let done = driver.take();
    let notice = Notice::TakenBack { pid: HEIR, ending: KILLED };
    assert_eq!(done[..2], [Action::Report(notice), Action::TakeBack]);
    assert!(done.contains(&Action::StartZygote { generation: crate::Generation(2) }));
    driver.zygote_ready(2);
    driver.boot_all();
    driver.exit(2, CLEAN);
    assert_eq!((driver.phase(), driver.snapshot().serving()), (Phase::Running, 2));
    driver.ask(Wish::Upgrade);
    assert!(driver.take().contains(&Action::StartUpgrade), "and it can be tried again");
}

#[test]
fn a_reload_that_the_hand_over_has_cut_off_is_given_up_when_the_service_comes_back() {
    let mut driver = upgrading();
    driver.ask(Wish::Reload);
    driver.zygote_spawned(2);
    driver.give(Event::UpgradeReady { pid: HEIR });
    driver.take();
    driver.give(Event::Exited { pid: HEIR, ending: KILLED });
    let gives_up = |a: &Action| matches!(a, Action::Report(Notice::ReloadGivenUp { .. }));
    assert!(driver.take().iter().any(gives_up));
    assert_eq!(driver.snapshot().reloading, None);
}

#[test]
fn nothing_is_taken_back_when_somebody_wants_the_end() {
    let lost = |ending| Action::Report(Notice::HeirLost { pid: HEIR, ending });
    for wish in [Wish::Stop, Wish::Quit] {
        let mut driver = upgrading();
        driver.give(Event::UpgradeReady { pid: HEIR });
        driver.ask(wish);
        driver.take();
        driver.give(Event::Exited { pid: HEIR, ending: KILLED });
        assert_eq!(driver.take(), [lost(KILLED)], "{wish:?}");
    }
    let mut driver = upgrading();
    driver.give(Event::UpgradeReady { pid: HEIR });
    driver.take();
    driver.give(Event::Exited { pid: HEIR, ending: CLEAN });
    assert_eq!(driver.take(), [lost(CLEAN)], "it was told to, and has closed the gate");
}
