//! The invariants find what they are for: a supervisor that was broken on purpose, in one way at
//! a time, is caught by the invariant that names it.

use remuda_simulator::{Master, Script, Violation, probe, run};
use remuda_supervisor::{
    Action, Cause, Event, Generation, Notice, Order, Phase, Pid, Plan, Signal, Snapshot, Stood,
    Supervisor, Tick, Wish, WorkerId, WorkerState, ZygoteState,
};

/// What a saboteur sees of one step.
struct Seen<'a> {
    now: Tick,
    event: &'a Event,
    before: &'a Snapshot,
    after: &'a Snapshot,
}

type Twist = fn(&Seen<'_>, &mut Vec<Action>);

/// The real supervisor, whose orders somebody changes on their way.
struct Saboteur {
    inner: Supervisor,
    twist: Twist,
    sleeps: bool,
}

impl Saboteur {
    fn new(plan: Plan, twist: Twist) -> Self {
        Self { inner: Supervisor::new(plan), twist, sleeps: false }
    }
}

impl Master for Saboteur {
    fn handle(&mut self, now: Tick, event: Event, out: &mut Vec<Action>) {
        let before = self.inner.snapshot();
        self.inner.handle(now, event.clone(), out);
        let after = self.inner.snapshot();
        (self.twist)(&Seen { now, event: &event, before: &before, after: &after }, out);
    }

    fn next_deadline(&self) -> Option<Tick> {
        self.inner.next_deadline().filter(|_| !self.sleeps)
    }

    fn snapshot(&self) -> Snapshot {
        self.inner.snapshot()
    }

    fn knows(&self, worker: WorkerId) -> bool {
        self.inner.knows(worker)
    }
}

/// The first seed whose run breaks this very invariant.
fn is_caught_by(invariant: &str, master: fn(Plan) -> Saboteur) -> Violation {
    for seed in 0..5_000 {
        if let Err(violation) = probe(&Script::from_seed(seed), master)
            && violation.invariant == invariant
        {
            return violation;
        }
    }
    panic!("{invariant} does not see it");
}

fn serving(view: &Snapshot) -> Option<(WorkerId, Pid)> {
    let worker = view.workers.iter().find(|worker| worker.is_serving())?;
    Some((worker.worker, worker.pid?))
}

#[test]
fn retiring_a_worker_before_its_successor_is_ready() {
    let violation = is_caught_by("capacity", |plan| {
        Saboteur::new(plan, |seen, out| {
            for action in out.clone() {
                if let Action::Fork { slot, .. } = action {
                    let sits =
                        |w: &&remuda_supervisor::WorkerView| w.slot == slot && w.is_serving();
                    if let Some(old) = seen.after.workers.iter().find(sits) {
                        out.push(Action::Tell { worker: old.worker, order: Order::Drain });
                    }
                }
            }
        })
    });
    assert!(violation.what.contains("still counted on"), "{violation}");
}

#[test]
fn forgetting_a_slot() {
    is_caught_by("capacity", |plan| {
        // The pool is one larger than the master's own picture says.
        Saboteur::new(Plan { backoff_first: plan.backoff_max, ..plan }, |_, out| {
            out.retain(|action| !matches!(action, Action::Report(Notice::BackingOff { .. })));
        })
    });
}

#[test]
fn forking_from_the_old_code_after_a_reload() {
    is_caught_by("newest_generation", |plan| {
        Saboteur::new(plan, |_, out| {
            for action in out {
                if let Action::Fork { generation, .. } = action {
                    *generation = Generation(1);
                }
            }
        })
    });
}

#[test]
fn never_saying_how_a_reload_ended() {
    is_caught_by("reload_ends", |plan| {
        Saboteur::new(plan, |_, out| {
            out.retain(|action| !matches!(action, Action::Report(Notice::ReloadGivenUp { .. })));
        })
    });
}

#[test]
fn calling_a_reload_done_while_old_workers_may_accept() {
    let violation = is_caught_by("reload_ends", |plan| {
        Saboteur::new(plan, |seen, out| {
            let last = seen.after.reloading.filter(|&new| {
                !seen.after.workers.iter().any(|w| w.generation < new && w.is_serving())
                    && seen.after.workers.iter().any(|w| w.generation == new && w.is_serving())
            });
            if let Some(generation) = last {
                let took = std::time::Duration::ZERO;
                out.push(Action::Report(Notice::ReloadDone { generation, took }));
            }
        })
    });
    assert!(violation.what.contains("accepts with the old code"), "{violation}");
}

#[test]
fn judging_a_worker_that_is_well() {
    is_caught_by("progress", |plan| {
        Saboteur::new(plan, |seen, out| {
            if let Event::Sampled { sample, .. } = *seen.event
                && let Some(since) = sample.standing_since
                && let Some((worker, pid)) = serving(seen.after)
            {
                let (slot, stood) = (remuda_supervisor::SlotId(0), seen.now.since(since));
                let what = Stood::Standing;
                let notice = Notice::WorkerHung { worker, slot, pid, what, stood };
                out.push(Action::Report(notice));
            }
        })
    });
}

#[test]
fn retiring_the_old_zygote_as_soon_as_the_candidate_is_ready() {
    is_caught_by("untouched", |plan| {
        Saboteur::new(plan, |seen, out| {
            if let Event::ZygoteReady { generation } = *seen.event
                && seen.before.reloading == Some(generation)
            {
                let old = seen
                    .before
                    .zygotes
                    .iter()
                    .find(|zygote| matches!(zygote.state, ZygoteState::Ready { .. }));
                out.extend(old.map(|old| Action::RetireZygote { generation: old.generation }));
            }
        })
    });
}

#[test]
fn signalling_a_process_that_was_reaped() {
    is_caught_by("targets", |plan| {
        Saboteur::new(plan, |seen, out| {
            if let Event::Exited { pid, .. } = *seen.event {
                out.push(Action::Send { pid, signal: Signal::Kill });
            }
        })
    });
}

#[test]
fn forgetting_to_kill_after_the_grace() {
    let violation = is_caught_by("grace", |plan| {
        Saboteur::new(plan, |_, out| {
            out.retain(|action| !matches!(action, Action::Send { signal: Signal::Kill, .. }));
        })
    });
    assert!(violation.what.contains("was not killed"), "{violation}");
}

#[test]
fn killing_before_the_grace_is_over() {
    let violation = is_caught_by("grace", |plan| {
        Saboteur::new(plan, |seen, out| {
            for action in out.clone() {
                if let Action::Report(Notice::WorkerHung { pid, .. }) = action {
                    out.push(Action::Send { pid, signal: Signal::Abort });
                }
                if let Action::Report(Notice::WorkerDraining { pid, .. }) = action
                    && seen.after.phase == Phase::Running
                {
                    out.push(Action::Send { pid, signal: Signal::Kill });
                }
            }
        })
    });
    assert!(violation.what.contains("too soon"), "{violation}");
}

#[test]
fn filling_a_slot_at_once_after_a_crash() {
    is_caught_by("backoff", |plan| {
        Saboteur::new(plan, |seen, out| {
            for action in out.clone() {
                let source = seen.after.zygotes.last().map(|zygote| zygote.generation);
                if let (Action::Report(Notice::BackingOff { slot, .. }), Some(generation)) =
                    (action, source)
                {
                    let (worker, line) = (WorkerId(1 << 40), remuda_supervisor::Line(0));
                    out.push(Action::Fork { generation, worker, slot, line, max_requests: 0 });
                }
            }
        })
    });
}

#[test]
fn leaving_while_workers_live() {
    is_caught_by("stop", |plan| {
        Saboteur::new(plan, |seen, out| {
            if matches!(seen.event, Event::Asked(Wish::Stop)) && !seen.after.workers.is_empty() {
                out.push(Action::Exit { status: 0 });
            }
        })
    });
}

#[test]
fn starting_somebody_while_stopping() {
    is_caught_by("stop", |plan| {
        Saboteur::new(plan, |seen, out| {
            if seen.before.phase == Phase::Stopping && seen.after.phase == Phase::Stopping {
                out.push(Action::StartZygote { generation: Generation(99) });
            }
        })
    });
}

#[test]
fn ending_workers_because_their_zygote_died() {
    is_caught_by("zygote_loss", |plan| {
        Saboteur::new(plan, |seen, out| {
            let is_loss =
                |action: &Action| matches!(action, Action::Report(Notice::ZygoteLost { .. }));
            // Draining for long, so that the grace does not find it first.
            if out.iter().any(is_loss)
                && let Some((_, pid)) = serving(seen.after)
            {
                out.push(Action::Send { pid, signal: Signal::Kill });
            }
        })
    });
}

#[test]
fn closing_the_gate_at_a_reload() {
    is_caught_by("gate", |plan| {
        Saboteur::new(plan, |seen, out| {
            if matches!(seen.event, Event::Asked(Wish::Reload)) {
                out.push(Action::CloseGate);
            }
        })
    });
}

#[test]
fn leaving_the_queue_alone_at_a_stop() {
    is_caught_by("gate", |plan| {
        Saboteur::new(plan, |_, out| {
            for action in out {
                if let Action::Tell { order: order @ Order::DrainQueue, .. } = action {
                    *order = Order::Drain;
                }
            }
        })
    });
}

#[test]
fn punishing_one_worker_for_the_words_of_another() {
    is_caught_by("garbage", |plan| {
        Saboteur::new(plan, |seen, out| {
            if let Event::WorkerSpent { worker } = *seen.event
                && let Some((other, pid)) = serving(seen.after)
                && other != worker
            {
                out.push(Action::DumpStacks { worker: other, pid });
            }
        })
    });
}

#[test]
fn giving_one_line_to_two_workers() {
    is_caught_by("lines", |plan| {
        Saboteur::new(plan, |_, out| {
            for action in out {
                if let Action::Fork { line, .. } = action {
                    *line = remuda_supervisor::Line(0);
                }
            }
        })
    });
}

#[test]
fn sleeping_through_a_deadline() {
    is_caught_by("deadlines", |plan| Saboteur { sleeps: true, ..Saboteur::new(plan, |_, _| {}) });
}

#[test]
fn telling_an_end_twice() {
    is_caught_by("log", |plan| {
        Saboteur::new(plan, |_, out| {
            let told = |action: &&Action| {
                let by_recycle = Some(Cause::Recycle);
                matches!(action, Action::Report(Notice::WorkerExited { cause, .. }) if *cause == by_recycle)
            };
            let again: Vec<Action> = out.iter().filter(told).cloned().collect();
            out.extend(again);
        })
    });
}

#[test]
fn losing_a_fork_request_for_ever() {
    is_caught_by("rest", |plan| {
        Saboteur::new(Plan { fork_timeout: std::time::Duration::MAX, ..plan }, |_, out| {
            out.retain(|action| !matches!(action, Action::Fork { worker: WorkerId(2), .. }));
        })
    });
}

#[test]
fn flooding_the_log_in_a_crash_loop() {
    is_caught_by("crash_loop", |plan| {
        Saboteur::new(plan, |seen, out| {
            // Outside of a loop the real one says so itself.
            let tells =
                |action: &Action| matches!(action, Action::Report(Notice::BackingOff { .. }));
            let booted = |pid| {
                let its = |w: &&remuda_supervisor::WorkerView| w.pid == Some(pid);
                seen.before.workers.iter().find(its).map(|worker| worker.state)
            };
            if let Event::Exited { pid, .. } = *seen.event
                && matches!(booted(pid), Some(WorkerState::Booting { .. }))
                && !out.iter().any(tells)
            {
                let (deaths, wait) = (1, std::time::Duration::from_millis(100));
                let slot = remuda_supervisor::SlotId(0);
                out.push(Action::Report(Notice::BackingOff { slot, deaths, wait }));
            }
        })
    });
}

#[test]
fn starting_workers_while_there_is_no_room() {
    is_caught_by("shortage", |plan| {
        Saboteur::new(plan, |seen, out| {
            let is_short =
                |action: &Action| matches!(action, Action::Report(Notice::Shortage { .. }));
            if out.iter().any(is_short) {
                let generation = seen.after.zygotes.last().map(|zygote| zygote.generation);
                let slot = remuda_supervisor::SlotId(7);
                let (worker, line) = (WorkerId(1 << 40), remuda_supervisor::Line(0));
                out.extend(generation.map(|generation| Action::Fork {
                    generation,
                    worker,
                    slot,
                    line,
                    max_requests: 0,
                }));
            }
        })
    });
}

#[test]
fn handing_over_to_a_new_master_that_only_boots() {
    is_caught_by("upgrade", |plan| {
        Saboteur::new(plan, |seen, out| {
            if let Event::UpgradeSpawned { pid } = *seen.event {
                out.push(Action::HandOver { to: pid });
            }
        })
    });
}

#[test]
fn bringing_new_settings_in_force_before_their_code_serves() {
    is_caught_by("settings", |plan| {
        Saboteur::new(plan, |seen, out| {
            if let Event::Replanned { generation, .. } = *seen.event
                && seen.before.reloading == Some(generation)
            {
                out.push(Action::Adopt { generation });
            }
        })
    });
}

#[test]
fn starting_workers_of_new_code_by_the_old_settings() {
    is_caught_by("settings", |plan| {
        Saboteur::new(plan, |_, out| {
            for action in out {
                if let Action::Fork { generation, max_requests, .. } = action
                    && generation.0 > 1
                {
                    *max_requests = 1_000;
                }
            }
        })
    });
}

#[test]
fn forgetting_new_settings() {
    is_caught_by("settings", |plan| {
        Saboteur::new(plan, |_, out| {
            out.retain(|action| !matches!(action, Action::Adopt { .. }));
        })
    });
}

#[test]
fn leaving_though_the_new_master_has_crashed() {
    let violation = is_caught_by("upgrade", |plan| {
        Saboteur::new(plan, |_, out| out.retain(|action| *action != Action::TakeBack))
    });
    assert!(violation.what.contains("taken back: false"), "{violation}");
}

#[test]
fn closing_the_gate_of_the_new_master() {
    is_caught_by("gate", |plan| {
        Saboteur::new(plan, |_, out| {
            if out.iter().any(|action| matches!(action, Action::HandOver { .. })) {
                out.push(Action::CloseGate);
            }
        })
    });
}

/// What a failure looks like to whoever has to mend it.
#[test]
fn a_failure_is_cut_down_and_told() {
    let master = |plan| {
        Saboteur::new(plan, |seen: &Seen<'_>, out: &mut Vec<Action>| {
            if let Event::Exited { pid, .. } = *seen.event {
                out.push(Action::Send { pid, signal: Signal::Kill });
            }
        })
    };
    let fails = |script: &Script| script.faults.len() > 20 && probe(script, master).is_err();
    let script = (0..).map(Script::from_seed).find(fails).expect("some script fails");
    let failure = run(&script, master).expect_err("a reaped process gets a signal");
    assert_eq!(failure.violation.invariant, "targets");
    assert!(failure.script.faults.len() < 3, "cut down: {:?}", failure.script.faults);
    let told = failure.to_string();
    assert!(told.starts_with(&format!("seed {} breaks targets: ", script.seed)), "{told}");
    assert!(told.contains("→ Exited") && told.contains("= Running"), "{told}");
}

#[test]
fn replacing_everybody_at_once_for_want_of_memory() {
    is_caught_by("memory", |plan| {
        Saboteur::new(plan, |seen, out| {
            let told =
                |action: &&Action| matches!(action, Action::Report(Notice::WorkerTooLarge { .. }));
            let Some(Action::Report(first)) = out.iter().find(told).cloned() else { return };
            for other in seen.before.workers.iter().filter(|worker| worker.is_serving()) {
                let mut notice = first.clone();
                if let Notice::WorkerTooLarge { worker, .. } = &mut notice {
                    *worker = other.worker;
                }
                out.push(Action::Report(notice));
            }
        })
    });
}

#[test]
fn filling_a_slot_whose_worker_has_only_begun_to_make_room() {
    is_caught_by("memory", |plan| {
        Saboteur::new(plan, |_, out| {
            let first = out.iter().find_map(|action| match action {
                Action::Report(Notice::WorkerMakesRoom { slot, .. }) => Some(*slot),
                _ => None,
            });
            let Some(slot) = first else { return };
            let worker = WorkerId(1_000_000);
            let (generation, line) = (Generation(1), remuda_supervisor::Line(40));
            out.push(Action::Fork { generation, worker, slot, line, max_requests: 0 });
        })
    });
}

#[test]
fn letting_a_worker_go_first_where_there_is_room_for_both() {
    is_caught_by("memory", |plan| {
        Saboteur::new(plan, |seen, out| {
            let drains = out.iter().find_map(|action| match *action {
                Action::Report(Notice::WorkerDraining { worker, slot, pid, .. }) => {
                    Some((worker, slot, pid))
                }
                _ => None,
            });
            let has_room = !matches!(seen.event, Event::Measured { .. });
            if let Some((worker, slot, pid)) = drains.filter(|_| has_room) {
                let (takes, newcomer, limit) = (0, 0, 0);
                out.push(Action::Report(Notice::WorkerMakesRoom {
                    worker,
                    slot,
                    pid,
                    takes,
                    newcomer,
                    limit,
                }));
            }
        })
    });
}

#[test]
fn ending_a_dirty_arbiter_that_workers_may_be_waiting_for() {
    let violation = is_caught_by("dirty", |plan| {
        Saboteur::new(plan, |seen, out| {
            let arbiter = seen.after.arbiters.first().and_then(|arbiter| arbiter.pid);
            let serves = |action: &Action| matches!(action, Action::Report(Notice::Serving { .. }));
            if let Some(pid) = arbiter.filter(|_| out.iter().any(serves)) {
                out.push(Action::Send { pid, signal: Signal::Terminate });
            }
        })
    });
    assert!(violation.what.starts_with("Terminate to dirty arbiter"), "{violation}");
}

#[test]
fn killing_a_dirty_arbiter_without_its_grace() {
    let violation = is_caught_by("dirty", |plan| {
        Saboteur::new(plan, |_, out| {
            for action in out {
                if let Action::Send { signal: signal @ Signal::Terminate, .. } = action {
                    *signal = Signal::Kill;
                }
            }
        })
    });
    assert!(violation.what.starts_with("Kill to dirty arbiter"), "{violation}");
}

#[test]
fn starting_a_dirty_arbiter_again_before_the_wait_is_over() {
    let violation = is_caught_by("dirty", |plan| {
        Saboteur::new(plan, |_, out| {
            for action in out {
                if let Action::Report(Notice::DirtyLost { wait, .. }) = action {
                    *wait *= 100;
                }
            }
        })
    });
    assert!(violation.what.contains("before its wait is over"), "{violation}");
}

#[test]
fn forgetting_a_dirty_arbiter_that_nobody_needs() {
    is_caught_by("dirty", |plan| {
        Saboteur::new(plan, |seen, out| {
            let arbiters: Vec<_> = seen.after.arbiters.iter().filter_map(|one| one.pid).collect();
            out.retain(
                |action| !matches!(action, Action::Send { pid, .. } if arbiters.contains(pid)),
            );
        })
    });
}
