//! What memory the service has taken over a day, and where it grows. Sums only, so that it costs the
//! same after a year; who has to go because of it is decided elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use remuda_channel::{Growths, MemoryPeriod, MemoryRange, MemoryStatus, SlotMemory};
use remuda_journal::log;
use remuda_supervisor::{Cause, Ending, Notice, Tick};

use crate::memory::Rollup;
use crate::words::cause_name;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The log names so many slots; `remuda status` has all.
const SLOTS_LOGGED_MAX: usize = 16;

/// One round of measurements.
pub(crate) struct Measured {
    /// PSS of all processes.
    pub(crate) total: u64,
    /// A slot may have several workers at a time.
    pub(crate) slots: Vec<(u16, Rollup)>,
}

/// Least, most and mean, in bytes.
#[derive(Clone, Copy, Debug)]
struct Range {
    least: u64,
    most: u64,
    sum: u64,
    count: u64,
}

impl Range {
    fn of(bytes: u64) -> Self {
        Self { least: bytes, most: bytes, sum: bytes, count: 1 }
    }

    fn add(&mut self, bytes: u64) {
        self.least = self.least.min(bytes);
        self.most = self.most.max(bytes);
        self.sum = self.sum.saturating_add(bytes);
        self.count += 1;
    }

    fn status(self) -> MemoryRange {
        MemoryRange { least: self.least, mean: self.sum / self.count, most: self.most }
    }
}

/// Up to a day.
#[derive(Debug, Default)]
struct Period {
    since: Tick,
    total: Option<Range>,
    /// Private memory and PSS.
    slots: BTreeMap<u16, (Range, Range)>,
    replaced: BTreeMap<&'static str, u64>,
}

impl Period {
    fn status(&self, now: Tick) -> MemoryPeriod {
        let slots = self.slots.iter().map(|(slot, (private, pss))| SlotMemory {
            slot: *slot,
            private: private.status(),
            pss: pss.status(),
        });
        let replaced = self.replaced.iter().map(|(cause, count)| ((*cause).to_owned(), *count));
        MemoryPeriod {
            seconds: now.since(self.since).as_secs_f64(),
            total: self.total.map(Range::status),
            slots: slots.collect(),
            replaced: replaced.collect(),
        }
    }
}

/// What was taken so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    period: Period,
    before: Option<MemoryPeriod>,
    growths: Growths,
}

impl Report {
    pub(crate) fn new(now: Tick) -> Self {
        Self { period: Period { since: now, ..Period::default() }, ..Self::default() }
    }

    /// Adds a round. After a day the log has what came of it, and another begins.
    pub(crate) fn add(&mut self, measured: &Measured, now: Tick) {
        if now.since(self.period.since) >= DAY {
            self.say(now);
            let next = Period { since: now, ..Period::default() };
            self.before = Some(std::mem::replace(&mut self.period, next).status(now));
        }
        // Before there are workers it says nothing about the service.
        if measured.slots.is_empty() {
            return;
        }
        put(&mut self.period.total, measured.total);
        for &(slot, Rollup { pss, private }) in &measured.slots {
            let new = (Range::of(private), Range::of(pss));
            let known = self.period.slots.entry(slot);
            known
                .and_modify(|(of_private, of_pss)| {
                    of_private.add(private);
                    of_pss.add(pss);
                })
                .or_insert(new);
        }
    }

    /// What sampled requests of a worker have added.
    pub(crate) fn grow(&mut self, growths: &Growths) {
        growths.ranked().into_iter().for_each(|growth| self.growths.merge(growth));
    }

    /// Counts workers that others have replaced.
    pub(crate) fn hear(&mut self, notice: &Notice) {
        let Notice::WorkerExited { ending, cause, .. } = notice else { return };
        let cause = match cause {
            // Nobody comes in their place.
            Some(Cause::Stop | Cause::HandOver | Cause::Scale) => return,
            Some(cause) => cause_name(*cause),
            None if *ending == Ending::Exited(0) => "their own",
            None => "crash",
        };
        *self.period.replaced.entry(cause).or_default() += 1;
    }

    pub(crate) fn status(&self, now: Tick) -> MemoryStatus {
        MemoryStatus {
            now: self.period.status(now),
            before: self.before.clone(),
            growth: self.growths.ranked(),
        }
    }

    /// Tells the log, if there is something to tell.
    pub(crate) fn say(&self, now: Tick) {
        let period = self.period.status(now);
        if let Some(total) = period.total {
            log!(
                MEMORY_REPORT,
                hours = format!("{:.1}", period.seconds / 3600.0),
                total = mib(total),
                slots = slots_text(&period.slots),
                replaced = replaced_text(&period.replaced)
            );
        }
    }
}

fn put(range: &mut Option<Range>, bytes: u64) {
    match range {
        Some(range) => range.add(bytes),
        None => *range = Some(Range::of(bytes)),
    }
}

/// `150/160/183`
fn mib(MemoryRange { least, mean, most }: MemoryRange) -> String {
    format!("{}/{}/{}", least >> 20, mean >> 20, most >> 20)
}

fn slots_text(slots: &[SlotMemory]) -> String {
    let told = slots.iter().take(SLOTS_LOGGED_MAX);
    let mut texts: Vec<_> =
        told.map(|slot| format!("slot {} {}", slot.slot, mib(slot.private))).collect();
    let more = slots.len().saturating_sub(SLOTS_LOGGED_MAX);
    texts.extend((more > 0).then(|| format!("and {more} more")));
    texts.join(", ")
}

fn replaced_text(replaced: &BTreeMap<String, u64>) -> String {
    let texts: Vec<_> =
        replaced.iter().map(|(cause, count)| format!("{count} by {cause}")).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use remuda_supervisor::{Pid, SlotId, WorkerId};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn hours(hours: u64) -> Tick {
        Tick(hours * 3600 * 1_000_000_000)
    }

    fn round(total: u64, slots: &[(u16, u64)]) -> Measured {
        let rollup = |mib| Rollup { pss: 2 * mib * MIB, private: mib * MIB };
        let slots = slots.iter().map(|&(slot, mib)| (slot, rollup(mib))).collect();
        Measured { total: total * MIB, slots }
    }

    fn exited(ending: Ending, cause: Option<Cause>) -> Notice {
        Notice::WorkerExited { worker: WorkerId(1), slot: SlotId(0), pid: Pid(1), ending, cause }
    }

    #[test]
    fn least_mean_and_most_are_of_this_day_and_the_day_before_is_kept() {
        let mut report = Report::new(hours(0));
        report.add(&round(5, &[]), hours(0));
        report.add(&round(100, &[(0, 10), (1, 20)]), hours(1));
        report.add(&round(200, &[(0, 30)]), hours(2));
        let now = report.status(hours(3)).now;
        let total = now.total.expect("measured");
        assert_eq!(total, MemoryRange { least: 100 * MIB, mean: 150 * MIB, most: 200 * MIB });
        assert_eq!(mib(now.slots[0].private), "10/20/30");
        assert_eq!(mib(now.slots[0].pss), "20/40/60");
        assert_eq!(now.seconds, 3.0 * 3600.0);

        report.hear(&exited(Ending::Exited(0), Some(Cause::Recycle)));
        report.add(&round(50, &[(0, 7)]), hours(24));
        let status = report.status(hours(25));
        let before = status.before.expect("a day is over");
        assert_eq!((before.total, before.replaced["max_requests"]), (Some(total), 1));
        assert_eq!(mib(status.now.slots[0].private), "7/7/7");
        assert!(status.now.replaced.is_empty());
    }

    #[test]
    fn workers_that_somebody_comes_after_are_counted_by_cause() {
        let mut report = Report::new(hours(0));
        for cause in [Cause::Memory, Cause::Memory, Cause::Age, Cause::Stop, Cause::Scale] {
            report.hear(&exited(Ending::Exited(0), Some(cause)));
        }
        report.hear(&exited(Ending::Signaled(11), None));
        report.hear(&exited(Ending::Exited(0), None));
        let replaced = report.status(hours(1)).now.replaced;
        assert_eq!(
            replaced_text(&replaced),
            "1 by crash, 1 by max_worker_age, 2 by memory, 1 by their own"
        );
        assert_eq!(replaced_text(&BTreeMap::new()), "none");
    }

    #[test]
    fn the_log_names_some_slots_and_counts_the_others() {
        let mut report = Report::new(hours(0));
        let slots: Vec<_> = (0..20).map(|slot| (slot, 1)).collect();
        report.add(&round(40, &slots), hours(1));
        let text = slots_text(&report.status(hours(1)).now.slots);
        assert!(text.starts_with("slot 0 1/1/1, slot 1 1/1/1, "), "{text}");
        assert!(text.ends_with("slot 15 1/1/1, and 4 more"), "{text}");
    }
}
