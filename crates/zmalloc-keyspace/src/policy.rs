//! Who has to go when there is no room.

use std::fmt;
use std::str::FromStr;

/// Who has to go when there is no room for what is written.
///
/// Those with Redis's names mean what they mean there: which keys may go, and what is looked at. Redis looks at five keys and
/// takes the worst; here a sample tells from where on the worst sixth is, and what is beyond that goes as its segment comes to
/// be cleaned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Nobody: writes are refused.
    NoEviction,
    /// Those that came and were not used twice; and of the others who was not used since it was last looked at, in the order in
    /// which they came. Remembers who went too early. Writes nothing where it reads, and holds against scans.
    ///
    /// S3-FIFO: a tenth of the memory is for what came lately. Yang et al., SOSP 2023.
    #[default]
    S3Fifo,
    /// Those that were not used for the longest time. By a clock that ticks with every use.
    AllKeysLru,
    /// As [`AllKeysLru`](Policy::AllKeysLru), of those that have a deadline.
    VolatileLru,
    /// Those that are used least often, by Redis's logarithmic counter of 8 bits, which falls by one each minute.
    AllKeysLfu,
    /// As [`AllKeysLfu`](Policy::AllKeysLfu), of those that have a deadline.
    VolatileLfu,
    /// Any.
    AllKeysRandom,
    /// Any that has a deadline.
    VolatileRandom,
    /// Those that end soonest.
    VolatileTtl,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 9] = [
        Policy::NoEviction,
        Policy::S3Fifo,
        Policy::AllKeysLru,
        Policy::VolatileLru,
        Policy::AllKeysLfu,
        Policy::VolatileLfu,
        Policy::AllKeysRandom,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
    ];

    /// The name, which is Redis's where it has this policy.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::NoEviction => "noeviction",
            Policy::S3Fifo => "s3-fifo",
            Policy::AllKeysLru => "allkeys-lru",
            Policy::VolatileLru => "volatile-lru",
            Policy::AllKeysLfu => "allkeys-lfu",
            Policy::VolatileLfu => "volatile-lfu",
            Policy::AllKeysRandom => "allkeys-random",
            Policy::VolatileRandom => "volatile-random",
            Policy::VolatileTtl => "volatile-ttl",
        }
    }

    /// Whether only those with a deadline may go.
    pub const fn is_volatile(self) -> bool {
        matches!(self, Policy::VolatileLru | Policy::VolatileLfu | Policy::VolatileRandom | Policy::VolatileTtl)
    }

    pub(crate) const fn is_lru(self) -> bool {
        matches!(self, Policy::AllKeysLru | Policy::VolatileLru)
    }

    pub(crate) const fn is_lfu(self) -> bool {
        matches!(self, Policy::AllKeysLfu | Policy::VolatileLfu)
    }

    /// Whether each entry keeps four bytes about its uses.
    pub(crate) const fn has_access(self) -> bool {
        self.is_lru() || self.is_lfu()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// It is the name of no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy(String);

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Policy::ALL.map(Policy::name).join(", ");
        write!(f, "`{}` is no policy: say one of {names}", self.0)
    }
}

impl std::error::Error for UnknownPolicy {}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Policy, UnknownPolicy> {
        Policy::ALL.into_iter().find(|policy| policy.name() == name).ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

/// Redis's counter of uses in four bytes: the minute when it last fell, and 8 bits that count ever more slowly.
pub(crate) mod frequency {
    /// Of a new key: it is not the first to go.
    const FIRST: u32 = 5;
    /// How much more slowly.
    const FACTOR: u64 = 10;

    pub(crate) fn new(minute: u32) -> u32 {
        minute << 8 | FIRST
    }

    /// What is left of the counter by this minute; one each.
    pub(crate) fn count(access: u32, minute: u32) -> u32 {
        let minutes = (minute << 8).wrapping_sub(access & !0xff) >> 8;
        (access & 0xff).saturating_sub(minutes)
    }

    /// After a use.
    pub(crate) fn used(access: u32, minute: u32, random: u64) -> u32 {
        let count = count(access, minute);
        let rarity = u64::from(count.saturating_sub(FIRST)) * FACTOR + 1;
        let rises = count < 255 && random.is_multiple_of(rarity);
        minute << 8 | (count + u32::from(rises))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let error = "lru".parse::<Policy>().unwrap_err().to_string();
        assert!(error.starts_with("`lru` is no policy: say one of noeviction, s3-fifo, allkeys-lru"), "{error}");
    }

    #[test]
    fn a_counter_of_uses_rises_ever_more_slowly_and_falls_by_the_minute() {
        let (mut access, mut state) = (frequency::new(3), 1u64);
        let mut uses = |access: &mut u32, times: u32| {
            for _ in 0..times {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *access = frequency::used(*access, 3, state >> 33);
            }
            frequency::count(*access, 3)
        };
        // Redis's table for its factor of 10: 100 uses make 10, 1000 make 18, 100,000 make 142; a million 255.
        let counts = [100, 900, 99_000, 900_000].map(|times| uses(&mut access, times));
        assert!((8..=13).contains(&counts[0]) && (16..=23).contains(&counts[1]), "{counts:?}");
        assert!((130..=155).contains(&counts[2]) && counts[3] == 255, "{counts:?}");
        assert_eq!((frequency::count(access, 13), frequency::count(access, 1000)), (245, 0));
        // The minutes come round.
        assert_eq!(frequency::count(frequency::new((1 << 24) - 1), 1 << 24), 4);
    }
}
