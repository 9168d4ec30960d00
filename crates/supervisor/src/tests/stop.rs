//! The end: with drain, at once, and in any state.

use super::driver::*;
use crate::{Action, Event, Notice, Order, Phase, Plan, Signal, Wish, WorkerId};

#[test]
fn stop_closes_the_gate_then_drains_the_queue_then_exits() {
    let mut driver = Driver::settled(plan());
    let zygote = driver.snapshot().zygotes[0].pid.unwrap();
    driver.ask(Wish::Stop);
    let actions = driver.take();
    assert_eq!(actions[0], Action::Report(Notice::Stopping { reason: None }));
    assert_eq!(actions[1], Action::CloseGate);
    assert_eq!(told(&actions), [(1, Order::DrainQueue), (2, Order::DrainQueue)]);
    assert_eq!(sent(&actions), []);
    driver.exit(1, CLEAN);
    driver.exit(2, CLEAN);
    assert_eq!(exit_status(&driver.take()), None);
    driver.give(Event::Exited { pid: zygote, ending: CLEAN });
    assert_eq!(driver.take(), [Action::Exit { status: 0 }]);
    assert_eq!(driver.phase(), Phase::Over);
}

#[test]
fn stop_kills_who_does_not_finish_in_its_grace() {
    let mut driver = Driver::settled(plan());
    let pids = [1, 2].map(|worker| driver.pid_of(worker).unwrap());
    let zygote = driver.snapshot().zygotes[0].pid.unwrap();
    driver.ask(Wish::Stop);
    driver.take();
    driver.pass(secs(29));
    assert_eq!(sent(&driver.take()), [(zygote, Signal::Kill)], "it had two seconds to leave");
    driver.pass(secs(1));
    let dumps = |action: &Action| matches!(action, Action::DumpStacks { .. });
    assert_eq!(driver.take().iter().filter(|action| dumps(action)).count(), 2);
    driver.pass(millis(300));
    let kills = sent(&driver.take()).into_iter().filter(|(_, signal)| *signal == Signal::Kill);
    assert_eq!(kills.map(|(pid, _)| pid).collect::<Vec<_>>(), pids);
}

#[test]
fn zygote_gets_its_time_to_leave_whatever_else_happens_meanwhile() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Stop);
    driver.exit(1, CLEAN);
    driver.pass(millis(1_999));
    driver.give(Event::Tick);
    assert_eq!(sent(&driver.take()), []);
    driver.pass(millis(1));
    assert_eq!(sent(&driver.take()).len(), 1);
}

#[test]
fn stop_does_not_wait_for_processes_that_even_kill_does_not_end() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Stop);
    driver.pass(secs(32));
    driver.give(Event::Tick);
    assert_eq!(exit_status(&driver.take()), None);
    driver.pass(millis(300));
    assert_eq!(exit_status(&driver.take()), Some(0));
    assert_eq!(driver.supervisor.next_deadline(), None);
}

#[test]
fn stop_kills_workers_that_are_not_ready_and_late_answers() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    let booting = driver.forked(1);
    driver.take();
    driver.ask(Wish::Stop);
    driver.pass(millis(0));
    assert_eq!(sent(&driver.take()), [(booting, Signal::Kill)]);
    let late = driver.forked(2);
    driver.pass(millis(0));
    let actions = driver.take();
    assert_eq!(sent(&actions), [(late, Signal::Kill)]);
    let retire = |action: &Action| matches!(action, Action::RetireZygote { .. });
    assert!(actions.iter().any(retire), "only now, or the answer would have been lost");
}

#[test]
fn workers_that_become_ready_as_the_stop_comes_are_killed_and_never_told_to_serve() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    let first = driver.forked(1);
    driver.take();
    driver.ask(Wish::Stop);
    driver.ready(1);
    let second = driver.forked(2);
    driver.ready(2);
    let actions = driver.take();
    assert_eq!(told_to_serve(&actions), []);
    assert_eq!(told(&actions), []);
    assert_eq!(sent(&actions), [(first, Signal::Kill), (second, Signal::Kill)]);
}

#[test]
fn nobody_is_replaced_while_stopping() {
    let mut driver = Driver::settled(plan());
    let zygote = driver.snapshot().zygotes[0].pid.unwrap();
    driver.ask(Wish::Stop);
    driver.take();
    driver.exit(1, CRASH);
    driver.spent(2);
    driver.give(Event::Exited { pid: zygote, ending: CRASH });
    driver.ask(Wish::Reload);
    driver.ask(Wish::MoreWorkers);
    let told = notices(&driver.take());
    assert!(!told.contains(&Notice::ReloadQueued) && driver.snapshot().wanted == 2, "{told:?}");
    driver.pass(secs(5));
    let asks = |action: &Action| matches!(action, Action::Fork { .. } | Action::StartZygote { .. });
    assert!(!driver.take().iter().any(asks));
}

#[test]
fn worker_that_drains_already_keeps_its_own_deadline() {
    let mut driver = Driver::settled(plan());
    let pid = driver.pid_of(1).unwrap();
    driver.spent(1);
    driver.boot_all();
    driver.pass(secs(20));
    driver.ask(Wish::Stop);
    driver.take();
    driver.pass(secs(10));
    assert!(driver.take().contains(&Action::DumpStacks { worker: WorkerId(1), pid }));
    driver.pass(millis(300) + secs(2));
    assert!(sent(&driver.take()).contains(&(pid, Signal::Kill)));
}

#[test]
fn worker_that_drains_already_hears_first_that_nobody_takes_what_it_hands_over() {
    let mut driver = Driver::settled(plan());
    driver.spent(2);
    driver.boot_all();
    driver.take();
    driver.ask(Wish::Stop);
    let in_this_order = [2, 1, 3].map(|worker| (worker, Order::DrainQueue));
    assert_eq!(told(&driver.take()), in_this_order);
}

#[test]
fn worker_that_is_killed_by_others_while_it_drains_is_not_said_to_be_killed_by_us() {
    let mut driver = Driver::settled(plan());
    driver.spent(1);
    driver.boot_all();
    driver.take();
    driver.exit(1, KILLED);
    let by_nobody = |n: &Notice| matches!(n, Notice::WorkerExited { cause: None, .. });
    assert!(notices(&driver.take()).iter().any(by_nobody));
}

#[test]
fn second_stop_is_harmless() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Stop);
    driver.take();
    driver.ask(Wish::Stop);
    assert_eq!(driver.take(), []);
}

#[test]
fn quit_gives_no_grace_but_the_one_before_the_kill() {
    let mut driver = Driver::settled(plan());
    let pids = [1, 2].map(|worker| driver.pid_of(worker).unwrap());
    let zygote = driver.snapshot().zygotes[0].pid.unwrap();
    driver.ask(Wish::Quit);
    let actions = driver.take();
    assert_eq!(actions[1], Action::CloseGate, "who comes now is refused and not reset");
    let expected = [(pids[0], Signal::Quit), (pids[1], Signal::Quit), (zygote, Signal::Kill)];
    assert_eq!(sent(&actions), expected);
    driver.pass(secs(2));
    assert_eq!(sent(&driver.take()), pids.map(|pid| (pid, Signal::Kill)));
    driver.exit(1, KILLED);
    driver.exit(2, KILLED);
    driver.give(Event::Exited { pid: zygote, ending: KILLED });
    assert_eq!(exit_status(&driver.take()), Some(0));
}

#[test]
fn quit_during_stop_shortens_it() {
    let mut driver = Driver::settled(plan());
    let pid = driver.pid_of(1).unwrap();
    driver.ask(Wish::Stop);
    driver.pass(secs(5));
    driver.take();
    driver.ask(Wish::Quit);
    assert!(sent(&driver.take()).contains(&(pid, Signal::Quit)));
    driver.pass(secs(4));
    assert_eq!(exit_status(&driver.take()), Some(0));
}

#[test]
fn stop_in_the_middle_of_a_reload_ends_everything() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    let candidate = driver.zygote_spawned(2);
    driver.take();
    driver.ask(Wish::Stop);
    assert_eq!(sent(&driver.take()), [(candidate, Signal::Kill)]);
    for pid in driver.snapshot().zygotes.iter().filter_map(|z| z.pid).collect::<Vec<_>>() {
        driver.give(Event::Exited { pid, ending: KILLED });
    }
    driver.churn();
    assert_eq!(exit_status(&driver.take()), Some(0));
}

#[test]
fn hung_worker_does_not_outlive_the_stop() {
    let mut driver = Driver::settled(Plan { abort_grace: secs(60), ..plan() });
    let pid = driver.pid_of(1).unwrap();
    driver.pass(secs(1));
    driver.give(Event::Tick);
    driver.pass(secs(1));
    driver.standing(1, crate::Tick(0));
    driver.ask(Wish::Stop);
    driver.take();
    driver.pass(secs(30) + millis(300));
    assert!(sent(&driver.take()).contains(&(pid, Signal::Kill)));
}

#[test]
fn logs_are_opened_again_by_the_master_and_all_who_live() {
    let mut driver = Driver::settled(plan());
    driver.spent(1);
    driver.boot_all();
    driver.take();
    driver.ask(Wish::ReopenLogs);
    let actions = driver.take();
    assert_eq!(actions[0], Action::ReopenLogs);
    let reopen = [1, 2, 3].map(|worker| (worker, Order::Reopen));
    assert_eq!(told(&actions), reopen, "the draining one writes too");
    driver.pass(secs(33));
    driver.exit(2, CRASH);
    driver.take();
    driver.ask(Wish::ReopenLogs);
    assert_eq!(told(&driver.take()), [(3, Order::Reopen)], "not one killed, nor one being forked");
}

#[test]
fn stop_after_all_have_died_lets_one_that_boots_serve_what_waits() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, KILLED);
    driver.exit(2, KILLED);
    driver.forked(3);
    driver.take();
    driver.ask(Wish::Stop);
    driver.pass(secs(1));
    assert!(!sent(&driver.take()).iter().any(|(pid, _)| Some(*pid) == driver.pid_of(3)));
    driver.ready(3);
    assert_eq!(told(&driver.take()), [(3, Order::DrainQueue)]);
    driver.forked(4);
    driver.ready(4);
    driver.churn();
    let zygote = driver.snapshot().zygotes[0].pid.unwrap();
    driver.give(Event::Exited { pid: zygote, ending: CLEAN });
    assert_eq!(exit_status(&driver.take()), Some(0));
}
