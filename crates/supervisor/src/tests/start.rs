//! From nothing to serving, and what can go wrong before.

use super::driver::*;
use crate::{
    Action, BootFailure, Cause, Ending, Event, Generation, Notice, Phase, Pid, Reason, Refusal,
    Signal, Wish,
};
use crate::{Plan, WorkerId};

#[test]
fn wanted_workers_are_asked_for_one_after_the_other_when_the_first_zygote_is_ready() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    assert_eq!(driver.take(), [Action::StartZygote { generation: Generation(1) }]);
    driver.zygote_ready(1);
    assert_eq!(forks(&driver.take()), [(1, 0, 1)]);
    driver.forked(1);
    assert_eq!(forks(&driver.take()), [(2, 1, 1)], "while the first one boots");
    driver.forked(2);
    assert_eq!(forks(&driver.take()), []);
}

#[test]
fn fork_that_fails_does_not_keep_the_others_waiting() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.take();
    let refusal = Refusal::Other;
    driver.give(Event::ForkFailed { worker: WorkerId(1), refusal });
    assert_eq!(forks(&driver.take()), [(2, 1, 1)]);
}

#[test]
fn serving_is_announced_once_when_all_are_ready() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.boot(1);
    assert!(!notices(&driver.take()).contains(&Notice::Serving { workers: 2 }));
    driver.boot(2);
    assert!(notices(&driver.take()).contains(&Notice::Serving { workers: 2 }));
    driver.exit(2, CRASH);
    driver.pass(secs(1));
    driver.boot_all();
    assert!(!notices(&driver.take()).contains(&Notice::Serving { workers: 2 }));
}

#[test]
fn a_worker_serves_when_it_was_told_to_and_is_told_again_if_it_did_not_hear() {
    let mut driver = Driver::new(Plan { workers: 1, ..plan() });
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.ready(1);
    driver.forked(1);
    assert_eq!(told_to_serve(&driver.take()), [], "nobody is ready whose process is not known");
    driver.ready(1);
    let actions = driver.take();
    assert_eq!(told_to_serve(&actions), [1]);
    assert!(notices(&actions).contains(&Notice::Serving { workers: 1 }));
    driver.ready(1);
    let actions = driver.take();
    assert_eq!(told_to_serve(&actions), [1]);
    assert_eq!(notices(&actions), [], "nothing new is told");
    driver.ask(Wish::Stop);
    driver.take();
    driver.ready(1);
    assert_eq!(told_to_serve(&driver.take()), [], "it drains");
}

#[test]
fn slow_boot_is_killed_without_grace() {
    let mut driver = Driver::new(Plan { workers: 1, boot_timeout: secs(5), ..plan() });
    driver.give(Event::Start);
    driver.zygote_ready(1);
    let pid = driver.forked(1);
    driver.take();
    driver.pass(secs(5));
    assert_eq!(sent(&driver.take()), [(pid, Signal::Kill)]);
}

#[test]
fn fork_that_is_not_answered_costs_the_zygote_its_life_and_a_new_one_takes_over() {
    let mut driver = Driver::new(Plan { workers: 1, ..plan() });
    driver.give(Event::Start);
    let zygote = driver.zygote_ready(1);
    driver.pass(secs(10));
    let actions = driver.take();
    assert_eq!(sent(&actions), [(zygote, Signal::Kill)]);
    assert!(actions.contains(&Action::StartZygote { generation: Generation(2) }));
    driver.give(Event::Exited { pid: zygote, ending: KILLED });
    let lost = Notice::ZygoteLost { generation: Generation(1), ending: KILLED };
    assert!(notices(&driver.take()).contains(&lost));
    driver.zygote_ready(2);
    driver.boot_all();
    assert_eq!(driver.serving_workers(), [2]);
}

#[test]
fn answer_about_a_fork_that_was_given_up_kills_the_worker() {
    let mut driver = Driver::new(Plan { workers: 1, ..plan() });
    driver.give(Event::Start);
    let zygote = driver.zygote_ready(1);
    driver.pass(secs(10));
    driver.give(Event::Exited { pid: zygote, ending: KILLED });
    driver.take();
    driver.give(Event::Forked { worker: WorkerId(1), pid: Pid(77) });
    assert_eq!(sent(&driver.take()), [(Pid(77), Signal::Kill)]);
    driver.give(Event::Exited { pid: Pid(77), ending: KILLED });
    assert_eq!(sent(&driver.take()), []);
}

#[test]
fn answer_about_nobody_kills_no_worker_that_is_known() {
    let mut driver = Driver::settled(plan());
    let pid = driver.pid_of(1).unwrap();
    for _ in 0..2 {
        driver.give(Event::Forked { worker: WorkerId(77), pid });
    }
    assert_eq!(sent(&driver.take()), []);
    for _ in 0..2 {
        driver.give(Event::Forked { worker: WorkerId(77), pid: Pid(777) });
    }
    assert_eq!(sent(&driver.take()), [(Pid(777), Signal::Kill)], "a stray is killed once");
}

#[test]
fn worker_that_died_before_the_answer_about_it_is_not_waited_for() {
    let mut driver = Driver::new(Plan { workers: 1, ..plan() });
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.give(Event::Exited { pid: Pid(77), ending: CRASH });
    driver.take();
    driver.give(Event::Forked { worker: WorkerId(1), pid: Pid(77) });
    let actions = driver.take();
    assert!(sent(&actions).is_empty(), "{actions:?}");
    assert!(
        notices(&actions).iter().any(|n| matches!(n, Notice::WorkerExited { pid: Pid(77), .. }))
    );
    assert_eq!(driver.state(1), None);
}

#[test]
fn app_that_cannot_boot_ends_the_master_with_the_status_that_says_why() {
    let cases = [
        (BootFailure::Import, 3),
        (BootFailure::App, 4),
        (BootFailure::Class, 1),
        (BootFailure::Setup, 1),
        (BootFailure::Unsafe, 65),
        (BootFailure::Shortage, 75),
        (BootFailure::NoRetry, 78),
    ];
    for (failure, status) in cases {
        let mut driver = Driver::new(plan());
        driver.give(Event::Start);
        let pid = driver.zygote_spawned(1);
        driver.zygote_failed(1, failure);
        let actions = driver.take();
        assert!(
            notices(&actions).contains(&Notice::Stopping { reason: Some(Reason::Boot(failure)) })
        );
        assert_eq!(exit_status(&actions), None, "its last words are still to be read");
        driver.give(Event::Exited { pid, ending: Ending::Exited(1) });
        assert_eq!(exit_status(&driver.take()), Some(status));
    }
}

#[test]
fn first_zygote_that_dies_or_hangs_or_cannot_be_made_ends_the_master() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    let pid = driver.zygote_spawned(1);
    driver.give(Event::Exited { pid, ending: CRASH });
    assert_eq!(exit_status(&driver.take()), Some(1));

    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.zygote_spawned(1);
    driver.pass(plan().boot_timeout + secs(60));
    assert_eq!(exit_status(&driver.take()), Some(1), "even when its exit is never reported");

    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    driver.give(Event::ZygoteSpawnFailed { generation: Generation(1), refusal: Refusal::Other });
    assert_eq!(exit_status(&driver.take()), Some(1));
}

#[test]
fn worker_that_cannot_load_the_app_at_first_start_ends_the_master() {
    for (status, failure) in [(3, BootFailure::Import), (4, BootFailure::App)] {
        let mut driver = Driver::new(plan());
        driver.give(Event::Start);
        let zygote = driver.zygote_ready(1);
        driver.forked(1);
        driver.forked(2);
        driver.take();
        driver.exit(1, Ending::Exited(status));
        assert!(
            notices(&driver.take())
                .contains(&Notice::Stopping { reason: Some(Reason::Boot(failure)) })
        );
        driver.exit(2, KILLED);
        driver.give(Event::Exited { pid: zygote, ending: CLEAN });
        assert_eq!(exit_status(&driver.take()), Some(u8::try_from(status).unwrap()));
    }
}

#[test]
fn worker_that_cannot_load_the_app_later_is_only_backed_off() {
    let mut driver = Driver::settled(plan());
    driver.exit(1, CRASH);
    driver.forked(3);
    driver.take();
    driver.exit(3, Ending::Exited(3));
    assert_eq!(driver.phase(), Phase::Running);
    assert!(
        notices(&driver.take()).iter().any(|n| matches!(n, Notice::BackingOff { deaths: 1, .. }))
    );
}

#[test]
fn stop_while_the_zygote_imports_kills_it_and_exits_well() {
    let mut driver = Driver::new(plan());
    driver.give(Event::Start);
    let pid = driver.zygote_spawned(1);
    driver.take();
    driver.ask(Wish::Stop);
    assert_eq!(sent(&driver.take()), [(pid, Signal::Kill)]);
    driver.give(Event::Exited { pid, ending: KILLED });
    assert_eq!(exit_status(&driver.take()), Some(0));
}

#[test]
fn stop_before_the_start_exits_at_once() {
    let mut driver = Driver::new(plan());
    driver.ask(Wish::Stop);
    assert_eq!(exit_status(&driver.take()), Some(0));
}

#[test]
fn boot_timeout_is_told_as_the_cause_of_the_exit() {
    let mut driver = Driver::new(Plan { workers: 1, boot_timeout: secs(5), ..plan() });
    driver.give(Event::Start);
    driver.zygote_ready(1);
    driver.forked(1);
    driver.pass(secs(5));
    driver.take();
    driver.exit(1, KILLED);
    let cause = |n: &Notice| match n {
        Notice::WorkerExited { cause, .. } => *cause,
        _ => None,
    };
    assert_eq!(notices(&driver.take()).iter().find_map(cause), Some(Cause::BootTimeout));
}
