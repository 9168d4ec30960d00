//! The code is loaded anew when it has been edited.

use super::driver::*;
use crate::{
    Action, BootFailure, Event, Generation, Notice, Occasion, Plan, Signal, Wish, WorkerId,
    ZygoteState,
};

fn begun(actions: &[Action]) -> Vec<(u32, Occasion)> {
    let begun = |notice: &Notice| match notice {
        Notice::ReloadStarted { generation, occasion } => Some((generation.0, *occasion)),
        _ => None,
    };
    notices(actions).iter().filter_map(begun).collect()
}

/// Edited, and nothing more for a while.
fn edit(driver: &mut Driver) {
    driver.give(Event::Edited);
    driver.pass(plan().edit_pause);
}

#[test]
fn files_that_are_saved_together_are_loaded_together() {
    let mut driver = Driver::settled(plan());
    for _ in 0..3 {
        driver.give(Event::Edited);
        driver.pass(millis(60));
        assert_eq!(begun(&driver.take()), []);
    }
    driver.pass(millis(40));
    assert_eq!(begun(&driver.take()), [(2, Occasion::Edited)]);
    driver.zygote_ready(2);
    driver.churn();
    driver.pass(secs(60));
    assert_eq!(driver.serving_workers(), [3, 4]);
    assert_eq!(begun(&driver.take()), [], "once");
}

#[test]
fn edits_without_an_end_are_not_waited_for() {
    let mut driver = Driver::settled(plan());
    for _ in 0..19 {
        driver.give(Event::Edited);
        driver.pass(millis(50));
    }
    assert_eq!(begun(&driver.take()), []);
    driver.give(Event::Edited);
    driver.pass(millis(50));
    assert_eq!(begun(&driver.take()), [(2, Occasion::Edited)]);
}

#[test]
fn broken_code_is_mended_by_the_next_edit_at_once() {
    let mut driver = Driver::settled(plan());
    edit(&mut driver);
    driver.zygote_spawned(2);
    driver.zygote_failed(2, BootFailure::Import);
    driver.take();
    assert_eq!(driver.serving_workers(), [1, 2]);
    edit(&mut driver);
    assert_eq!(begun(&driver.take()), [(3, Occasion::Edited)], "no back-off");
}

#[test]
fn an_edit_during_the_load_overtakes_it() {
    let mut driver = Driver::settled(plan());
    edit(&mut driver);
    let stale = driver.zygote_spawned(2);
    driver.take();
    edit(&mut driver);
    let actions = driver.take();
    let overtaken = Notice::ReloadOvertaken { generation: Generation(2) };
    assert!(notices(&actions).contains(&overtaken));
    assert_eq!(sent(&actions), [(stale, Signal::Kill)]);
    assert_eq!(begun(&actions), [(3, Occasion::Edited)]);
    let old = &driver.snapshot().zygotes[0];
    assert!(matches!(old.state, ZygoteState::Ready { .. }), "{old:?}");
    assert_eq!(driver.serving_workers(), [1, 2]);
}

#[test]
fn an_edit_while_the_first_new_worker_boots_overtakes_it_as_well() {
    let mut driver = Driver::settled(plan());
    edit(&mut driver);
    let stale = driver.zygote_ready(2);
    let worker = driver.forked(3);
    driver.take();
    edit(&mut driver);
    let actions = driver.take();
    assert_eq!(begun(&actions), [(3, Occasion::Edited)]);
    assert!(sent(&actions).contains(&(stale, Signal::Kill)));
    assert!(sent(&actions).iter().any(|(pid, _)| *pid == worker), "{actions:?}");
}

#[test]
fn an_edit_while_workers_are_replaced_waits_for_the_last_of_them() {
    let mut driver = Driver::settled(plan());
    edit(&mut driver);
    driver.zygote_ready(2);
    driver.boot(3);
    driver.take();
    edit(&mut driver);
    driver.exit(1, CLEAN);
    assert_eq!(begun(&driver.take()), []);
    driver.boot(4);
    driver.give(Event::WorkerDrains { worker: WorkerId(2) });
    assert_eq!(begun(&driver.take()), [(3, Occasion::Edited)]);
}

#[test]
fn a_reload_that_was_asked_for_and_overtaken_stays_one() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::MoreWorkers);
    driver.boot_all();
    driver.ask(Wish::Reload);
    driver.zygote_spawned(2);
    driver.take();
    edit(&mut driver);
    assert_eq!(begun(&driver.take()), [(3, Occasion::Asked)]);
    driver.zygote_ready(3);
    driver.churn();
    assert_eq!(driver.supervisor.wanted, 2);
}

#[test]
fn an_edit_is_no_reason_to_forget_how_many_workers_were_asked_for() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::MoreWorkers);
    driver.boot_all();
    edit(&mut driver);
    let generation = Generation(2);
    let more = Plan { workers: 3, ..plan() };
    driver.give(Event::Replanned { generation, plan: Box::new(more) });
    driver.zygote_ready(2);
    driver.churn();
    assert_eq!(driver.supervisor.wanted, 4, "three as the settings say now, and one more");
}

#[test]
fn an_edit_during_the_first_boot_waits_for_it() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    edit(&mut driver);
    driver.take();
    driver.zygote_ready(1);
    assert_eq!(begun(&driver.take()), [(2, Occasion::Edited)]);
}

#[test]
fn nothing_is_loaded_for_a_service_that_stops() {
    let mut driver = Driver::settled(plan());
    driver.give(Event::Edited);
    driver.ask(Wish::Stop);
    driver.give(Event::Edited);
    driver.pass(secs(1));
    assert_eq!(begun(&driver.take()), []);
}
