//! What workers share, and how much memory they may take.

use crate::MemorySettings;
use crate::resolve::Reader;
use crate::table::*;
use crate::value;

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
            prefetch_after: Some(self.seconds(&PREFETCH_AFTER)).filter(|time| !time.is_zero()),
        }
    }
}
