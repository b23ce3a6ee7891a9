//! When an entry ends, in four bytes.

/// Times from here on after the base are kept coarsely.
const FINE: u64 = 1 << 31;
/// A segment takes new entries for as long after its base, so that deadlines of twelve days and less are exact.
pub(crate) const NEAR_MS: u64 = FINE / 2;
const COARSE_BIT: u32 = 1 << 31;
/// How far coarse times are apart, in milliseconds.
const COARSE_MS: u64 = 1024;

/// Writes a deadline for a segment that was opened at `base_ms`, both in milliseconds since the keyspace began: to the
/// millisecond up to 24 days ahead, and beyond that up to a second late; at most 69 years ahead.
pub(crate) fn encode(base_ms: u64, deadline_ms: u64) -> u32 {
    let ahead = deadline_ms.saturating_sub(base_ms);
    if ahead < FINE {
        return ahead as u32;
    }
    // Of a whole second each, so that it is not later still once it was written for another segment.
    let coarse = (deadline_ms.div_ceil(COARSE_MS) - base_ms / COARSE_MS).min(u64::from(COARSE_BIT - 1));
    COARSE_BIT | coarse as u32
}

/// Reads it.
pub(crate) fn decode(base_ms: u64, deadline: u32) -> u64 {
    if deadline & COARSE_BIT == 0 {
        return base_ms + u64::from(deadline);
    }
    (base_ms / COARSE_MS + u64::from(deadline & !COARSE_BIT)) * COARSE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_exact_for_weeks_and_then_at_most_a_second_late() {
        const DAY: u64 = 86_400_000;
        for base in [0, 1, 999, DAY * 1000, DAY * 25_000] {
            for ahead in [0, 1, 1023, DAY, 24 * DAY] {
                assert_eq!(decode(base, encode(base, base + ahead)), base + ahead);
            }
            for ahead in [25 * DAY, 365 * DAY, 20_000 * DAY] {
                let late = decode(base, encode(base, base + ahead)) - (base + ahead);
                assert!(late <= COARSE_MS, "{late}");
                // To be written for another segment does not make it later.
                let read = decode(base, encode(base, base + ahead));
                assert_eq!(decode(base + 5000, encode(base + 5000, read)), read);
            }
            assert_eq!(decode(base + 10, encode(base + 10, base)), base + 10, "in the past");
            assert!(decode(base, encode(base, u64::MAX)) > 60 * 365 * DAY);
        }
    }
}
