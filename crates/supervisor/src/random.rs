//! Small seeded generator (splitmix64): jitter need not be secret, it needs to be repeatable.

/// A stream of numbers that depends on its seed only.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Draws a number from `0..=most`. The modulo's bias is below 2^-32 for any jitter in use.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        match most.checked_add(1) {
            Some(count) => self.next() % count,
            None => self.next(),
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_the_same_stream_and_another_seed_another() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.up_to(u64::MAX)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    /// The reference values of splitmix64 for the seed 0.
    #[test]
    fn it_is_splitmix64() {
        let mut random = Random::new(0);
        let drawn: Vec<_> = (0..3).map(|_| random.up_to(u64::MAX)).collect();
        assert_eq!(drawn, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn both_ends_of_the_range_are_drawn_and_nothing_beyond() {
        let mut random = Random::new(1);
        let drawn: Vec<_> = (0..200).map(|_| random.up_to(3)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&0), Some(&3)));
        assert_eq!(random.up_to(0), 0);
    }
}
