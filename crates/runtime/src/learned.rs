//! Modules that workers have imported after the fork: gathered for the next zygote.

use std::collections::BTreeSet;

use remuda_channel::IMPORTED_BYTES_MAX;

/// What was learned so far, over all generations.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    names: BTreeSet<String>,
    bytes: usize,
    /// How many of them the newest zygote was told of.
    told: usize,
}

impl Learned {
    /// Adds names; how many there are that the newest zygote was not told of, when some are new.
    pub(crate) fn add(&mut self, names: &[&str]) -> Option<u32> {
        let before = self.names.len();
        for name in names {
            // A blank or a comma, and two quotes, in what is told to a zygote.
            let bytes = name.len() + 3;
            if self.bytes + bytes <= IMPORTED_BYTES_MAX && self.names.insert((*name).to_owned()) {
                self.bytes += bytes;
            }
        }
        let more = self.names.len() - self.told.min(self.names.len());
        (self.names.len() > before).then(|| u32::try_from(more).unwrap_or(u32::MAX))
    }

    /// For a new zygote: all of them.
    pub(crate) fn tell(&mut self) -> Vec<String> {
        self.told = self.names.len();
        self.names.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_counts() {
        let mut learned = Learned::default();
        assert_eq!(learned.add(&["b", "a"]), Some(2));
        assert_eq!(learned.add(&["a"]), None);
        assert_eq!(learned.tell(), ["a", "b"]);
        assert_eq!(learned.add(&["b", "c"]), Some(1));
    }

    #[test]
    fn a_worker_cannot_fill_the_master() {
        let mut learned = Learned::default();
        for number in 0..20_000 {
            learned.add(&[&format!("module_{number}")]);
        }
        assert!(learned.tell().concat().len() < IMPORTED_BYTES_MAX);
    }
}
