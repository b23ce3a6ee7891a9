//! How near the limits the use is.

/// How near the limits the use is, with some slack on the way down, so that it does not flutter.
///
/// | level | from |
/// |---|---|
/// | `Low` | the soft limit |
/// | `Medium` | halfway from the soft limit to the hard one |
/// | `Critical` | seven eighths of that way |
///
/// Without a hard limit the way is a quarter of the soft limit. A level is left when the use has fallen 1/32 of the soft limit
/// below its threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[repr(u8)]
pub enum Level {
    /// Below the soft limit, or there is none.
    #[default]
    Normal = 0,
    /// Above the soft limit: let go of what is cheap.
    Low = 1,
    /// On the way to the hard limit: let go of more, take no new work.
    Medium = 2,
    /// Close to the hard limit: let go of all that can be.
    Critical = 3,
}

impl Level {
    const ALL: [Level; 4] = [Level::Normal, Level::Low, Level::Medium, Level::Critical];

    pub(super) fn from_number(number: u8) -> Level {
        Level::ALL[usize::from(number).min(Level::ALL.len() - 1)]
    }
}

/// Where the levels begin, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    from: [usize; 3],
    slack: usize,
}

impl Thresholds {
    /// A soft limit above the hard one is as one at it.
    pub(super) fn new(soft: usize, hard: Option<usize>) -> Thresholds {
        let soft = hard.map_or(soft, |hard| soft.min(hard));
        let way = hard.map_or(soft / 4, |hard| hard - soft);
        let at = |part: usize| soft.saturating_add(way / 8 * part);
        Thresholds { from: [soft, at(4), at(7)], slack: soft / 32 }
    }

    /// The level of so many bytes, coming from another.
    pub(super) fn level(&self, used: usize, before: Level) -> Level {
        let risen = self.from.iter().filter(|&&from| used > from).count();
        let not_fallen = self.from.iter().filter(|&&from| used > from.saturating_sub(self.slack)).count();
        Level::ALL[risen.max(not_fallen.min(before as usize))]
    }

    /// Above how many bytes the level rises; `usize::MAX` if it is the highest.
    pub(super) fn rises_above(&self, level: Level) -> usize {
        self.from.get(level as usize).copied().unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_lie_between_the_limits() {
        let thresholds = Thresholds::new(3200, Some(4000));
        let levels: Vec<Level> =
            [3200, 3201, 3601, 3901].map(|used| thresholds.level(used, Level::Normal)).into_iter().collect();
        assert_eq!(levels, [Level::Normal, Level::Low, Level::Medium, Level::Critical]);
        assert_eq!(Thresholds::new(3200, None), Thresholds::new(3200, Some(4000)));
    }

    #[test]
    fn a_level_is_left_with_slack() {
        let thresholds = Thresholds::new(3200, Some(4000));
        assert_eq!(thresholds.level(3150, Level::Low), Level::Low);
        assert_eq!(thresholds.level(3100, Level::Low), Level::Normal);
        assert_eq!(thresholds.level(3550, Level::Critical), Level::Medium);
    }

    proptest! {
        #[test]
        fn a_level_that_was_told_is_no_news(soft in 0usize..1 << 40, way in 0usize..1 << 40, used: usize, before in 0u8..4) {
            let thresholds = Thresholds::new(soft, Some(soft + way));
            let level = thresholds.level(used, Level::from_number(before));
            prop_assert_eq!(thresholds.level(used, level), level);
            prop_assert!(used <= thresholds.rises_above(level));
            prop_assert!(level >= thresholds.level(used, Level::Normal));
        }
    }
}
