//! A reload of our own, for the sake of memory.

use std::time::Duration;

use super::driver::*;
use crate::{Action, Event, Generation, Notice, Occasion, Plan, Wish};

fn learning() -> Plan {
    Plan { refresh_after: Some(Duration::from_secs(60)), ..plan() }
}

fn reloads(actions: &[Action]) -> Vec<(u32, Occasion)> {
    let begun = |notice: &Notice| match notice {
        Notice::ReloadStarted { generation, occasion } => Some((generation.0, *occasion)),
        _ => None,
    };
    notices(actions).iter().filter_map(begun).collect()
}

#[test]
fn what_was_learned_is_loaded_once_after_a_while() {
    let mut driver = Driver::settled(learning());
    driver.give(Event::Learned { modules: 40 });
    driver.pass(secs(59));
    assert_eq!(reloads(&driver.take()), []);
    driver.pass(secs(1));
    assert_eq!(reloads(&driver.take()), [(2, Occasion::Learned)]);
    driver.zygote_ready(2);
    driver.churn();
    assert!(driver.snapshot().workers.iter().all(|worker| worker.generation == Generation(2)));
    driver.give(Event::Learned { modules: 60 });
    driver.pass(secs(600));
    assert_eq!(reloads(&driver.take()), [], "once only");
}

#[test]
fn a_few_modules_are_not_worth_it() {
    let mut driver = Driver::settled(learning());
    driver.give(Event::Learned { modules: 3 });
    driver.pass(secs(600));
    assert_eq!(reloads(&driver.take()), []);
    driver.give(Event::Learned { modules: 12 });
    driver.pass(secs(600));
    assert_eq!(reloads(&driver.take()), [(2, Occasion::Learned)]);
}

#[test]
fn nothing_is_learned_without_a_time_for_it() {
    let mut driver = Driver::settled(plan());
    driver.give(Event::Learned { modules: 40 });
    driver.pass(secs(600));
    assert_eq!(reloads(&driver.take()), []);
}

#[test]
fn a_reload_that_is_asked_for_takes_its_place() {
    let mut driver = Driver::settled(learning());
    driver.give(Event::Learned { modules: 40 });
    driver.ask(Wish::Reload);
    driver.zygote_ready(2);
    driver.churn();
    assert_eq!(reloads(&driver.take()), [(2, Occasion::Asked)]);
    driver.pass(secs(600));
    assert_eq!(reloads(&driver.take()), []);
    driver.give(Event::Learned { modules: 40 });
    driver.pass(secs(60));
    assert_eq!(
        reloads(&driver.take()),
        [(3, Occasion::Learned)],
        "the new code may need other modules"
    );
}

#[test]
fn it_waits_until_all_workers_serve_and_no_reload_is_under_way() {
    let mut driver = Driver::settled(learning());
    driver.give(Event::Learned { modules: 40 });
    driver.pass(secs(59));
    driver.exit(1, CRASH);
    driver.pass(secs(1));
    assert_eq!(reloads(&driver.take()), []);
    driver.boot_all();
    assert_eq!(reloads(&driver.take()), [(2, Occasion::Learned)]);
}

#[test]
fn what_does_not_load_changes_nothing_and_is_not_tried_again() {
    let mut driver = Driver::settled(learning());
    driver.give(Event::Learned { modules: 40 });
    driver.pass(secs(60));
    driver.zygote_spawned(2);
    driver.zygote_failed(2, crate::BootFailure::Import);
    let actions = driver.take();
    assert!(notices(&actions).iter().any(|n| matches!(n, Notice::ReloadGivenUp { .. })));
    assert_eq!(driver.serving_workers(), [1, 2]);
    driver.pass(secs(600));
    assert_eq!(reloads(&driver.take()), []);
}
