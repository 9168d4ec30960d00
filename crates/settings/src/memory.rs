//! What workers share, and how much memory they may take.

use crate::MemorySettings;
use crate::declare::Zero;
use crate::resolve::Reader;
use crate::table::*;
use crate::value::{self, Misfit};

/// What `memory_profile = true` means, in seconds.
const PROFILE_EVERY: u16 = 600;
/// As long as what `remuda memory-profile` takes.
const PROFILE_EVERY_MAX: u16 = 3600;

impl Reader<'_> {
    pub(crate) fn memory(&mut self) -> MemorySettings {
        MemorySettings {
            warmup_paths: self.read(&WARMUP_PATHS, |given| Ok(value::commas(&given.text()))),
            warmup_requests: self.whole(&WARMUP_REQUESTS) as u32,
            prefetch_imports: self.switch(&PREFETCH_IMPORTS),
            immortal_heap: self.switch(&IMMORTAL_HEAP),
            max_memory: self.read(&MAX_MEMORY, |given| value::memory(&given.text())),
            max_memory_total: self.read(&MAX_MEMORY_TOTAL, |given| match given.text().as_str() {
                "" => Ok(None),
                text => value::memory(text).map(Some),
            }),
            sample_rate: self.read(&MEMORY_SAMPLE_RATE, |given| value::share(&given.text())),
            profile_every: self.read(&MEMORY_PROFILE, |given| profile(&given.text())),
            prefetch_after: Some(self.seconds(&PREFETCH_AFTER)).filter(|time| !time.is_zero()),
        }
    }
}

/// Whole seconds; 0 = never.
fn profile(text: &str) -> Result<u16, Misfit> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => return Ok(PROFILE_EVERY),
        "false" | "no" | "off" => return Ok(0),
        _ => {}
    }
    let seconds = value::seconds(text, Zero::Never)?.as_secs_f64().ceil();
    if seconds > f64::from(PROFILE_EVERY_MAX) {
        return Err(Misfit::because(format!("it is more than {PROFILE_EVERY_MAX} seconds")));
    }
    Ok(seconds as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_a_length_of_time_or_a_switch() {
        for (text, seconds) in
            [("0", 0), ("false", 0), ("True", 600), ("1", 1), ("1.2", 2), ("5m", 300), ("1h", 3600)]
        {
            assert_eq!(profile(text), Ok(seconds), "{text}");
        }
        for text in ["", "3601", "2h", "-1", "often"] {
            assert!(profile(text).is_err(), "{text}");
        }
    }
}
