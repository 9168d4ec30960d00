//! What is told to a service manager, and when.

use super::driver::{Driver, plan, secs};
use crate::{Action, BootFailure, Event, Plan, Stage, Standing, Wish};

fn stages(driver: &mut Driver) -> Vec<Stage> {
    let mut stages: Vec<_> = driver.published().iter().map(|standing| standing.stage).collect();
    stages.dedup();
    stages
}

#[test]
fn the_service_counts_as_started_when_its_first_worker_is_ready() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.forked(1);
    driver.forked(2);
    assert_eq!(stages(&mut driver), [Stage::Starting]);
    driver.ready(2);
    driver.ready(1);
    let told = |ready| Standing { stage: Stage::Serving, ready, wanted: 2 };
    assert_eq!(driver.published(), [told(1), told(2)]);
}

#[test]
fn a_reload_is_told_with_its_beginning_and_its_end() {
    let mut driver = Driver::settled(plan());
    driver.published();
    driver.ask(Wish::Reload);
    assert_eq!(stages(&mut driver), [Stage::Reloading]);
    driver.zygote_ready(2);
    driver.boot_all();
    driver.churn();
    assert_eq!(stages(&mut driver), [Stage::Serving]);
}

#[test]
fn a_failed_reload_is_a_service_that_serves() {
    let mut driver = Driver::settled(plan());
    driver.ask(Wish::Reload);
    driver.published();
    driver.zygote_spawned(2);
    driver.zygote_failed(2, BootFailure::Import);
    assert_eq!(stages(&mut driver), [Stage::Serving]);
}

#[test]
fn lost_workers_are_told_of_and_nothing_is_told_twice() {
    let mut driver = Driver::settled(plan());
    driver.published();
    driver.exit(1, super::driver::CRASH);
    let told = |ready| Standing { stage: Stage::Serving, ready, wanted: 2 };
    assert_eq!(driver.published(), [told(1)]);
    driver.boot_all();
    driver.pass(secs(60));
    assert_eq!(driver.published(), [told(2)]);
}

#[test]
fn the_end_is_told_at_once() {
    let mut driver = Driver::settled(plan());
    driver.published();
    driver.ask(Wish::Stop);
    assert_eq!(stages(&mut driver), [Stage::Stopping]);
}

#[test]
fn the_watchdog_is_fed_in_every_stage_of_a_life() {
    let mut driver = Driver::settled(Plan { watchdog: Some(secs(5)), ..plan() });
    let feeds = |driver: &mut Driver| {
        driver.take().iter().filter(|action| **action == Action::FeedWatchdog).count()
    };
    driver.take();
    driver.pass(secs(50));
    assert_eq!(feeds(&mut driver), 10);
    driver.ask(Wish::Reload);
    driver.pass(secs(50));
    assert_eq!(feeds(&mut driver), 10);
    driver.ask(Wish::Stop);
    driver.pass(secs(20));
    assert_eq!(feeds(&mut driver), 4, "graceful_timeout is longer than that");
}

#[test]
fn without_a_watchdog_nobody_is_fed() {
    let mut driver = Driver::settled(plan());
    driver.take();
    driver.pass(secs(600));
    assert!(!driver.take().contains(&Action::FeedWatchdog));
}
