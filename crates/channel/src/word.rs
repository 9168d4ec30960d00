//! The words between the master and one worker; one word is one packet.

/// Says what a packet held that is no word of this channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord(pub Vec<u8>);

macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every word of this direction, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The bytes of the packet.
            #[must_use]
            pub fn as_bytes(self) -> &'static [u8] {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = UnknownWord;

            fn try_from(packet: &[u8]) -> Result<Self, UnknownWord> {
                match packet {
                    $($word => Ok(Self::$variant),)*
                    other => Err(UnknownWord(other.to_vec())),
                }
            }
        }
    };
}

words! {
    /// What the master asks of a worker.
    ToWorker {
        /// The master knows its process number: it may touch what workers share.
        Begin = b"begin",
        /// It is wanted, and may take requests. Never before it has said that it is ready; until
        /// then it may be killed at any time, and nothing is lost.
        Serve = b"serve",
        /// Accept no more, finish what is held, leave. A successor accepts from now on.
        Drain = b"drain",
        /// The same, but first accept what already waits in the accept queue: no successor will.
        DrainQueue = b"drain-queue",
        /// Accept no more, and take what siblings have passed on, for nobody else will; finish,
        /// leave. Another master's workers will accept, and may not be there yet.
        HandOver = b"hand-over",
        /// Close and open the log files again.
        Reopen = b"reopen",
    }
}

words! {
    /// What a worker tells the master.
    FromWorker {
        /// It could take requests, and waits for [`ToWorker::Serve`].
        Ready = b"ready",
        /// It has served its `max_requests`; it goes on serving until told to drain.
        Spent = b"spent",
        /// It has read that it shall drain: it accepts nothing more.
        Draining = b"draining",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_the_round_trip() {
        for word in ToWorker::ALL {
            assert_eq!(ToWorker::try_from(word.as_bytes()), Ok(*word));
        }
        for word in FromWorker::ALL {
            assert_eq!(FromWorker::try_from(word.as_bytes()), Ok(*word));
        }
    }

    #[test]
    fn garbage_is_named_and_not_guessed() {
        assert_eq!(ToWorker::try_from(&b"drai"[..]), Err(UnknownWord(b"drai".to_vec())));
    }
}
