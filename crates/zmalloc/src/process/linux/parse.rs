//! The kernel's texts, as functions from bytes to figures. Whatever the bytes, none of them panics.

use super::super::MemoryPressure;

/// From this on a limit of cgroup version 1 means that there is none: the largest i64, rounded down to a page.
const UNLIMITED: u64 = i64::MAX as u64 - ((1 << 20) - 1);

/// The `index`-th field of a stat file, counted from 1 and from 3 on.
pub(super) fn stat_field(stat: &[u8], index: usize) -> Option<i64> {
    // The second field is the program's name in parentheses, and may hold blanks and parentheses of its own.
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let field = words(&stat[name_end + 1..]).nth(index.checked_sub(3)?)?;
    let (negative, digits) = match field.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, field),
    };
    let value = i64::try_from(number(digits)?).unwrap_or(i64::MAX);
    Some(if negative { -value } else { value })
}

/// The resident pages in a statm file.
pub(super) fn statm_resident(statm: &[u8]) -> Option<usize> {
    usize::try_from(number(words(statm).nth(1)?)?).ok()
}

/// The bytes in a line like `VmHWM:   1024 kB`, if it begins with `field`.
pub(super) fn kilobytes(line: &[u8], field: &[u8]) -> Option<usize> {
    let mut words = words(line.strip_prefix(field)?);
    let value = number(words.next()?)?;
    (words.next()? == b"kB").then(|| usize::try_from(value).unwrap_or(usize::MAX).saturating_mul(1024))
}

/// A memory limit in a cgroup's file; `None` if it says that there is none, or is not a limit.
pub(super) fn limit(text: &[u8]) -> Option<usize> {
    number(words(text).next()?).filter(|&bytes| bytes < UNLIMITED).and_then(|bytes| usize::try_from(bytes).ok())
}

/// The shares of the last ten seconds in a pressure file; `None` if it is none.
pub(super) fn pressure(text: &[u8]) -> Option<MemoryPressure> {
    let share = |kind: &[u8]| {
        let line = text.split(|&byte| byte == b'\n').find(|line| line.starts_with(kind))?;
        let word = words(line).find_map(|word| word.strip_prefix(b"avg10="))?;
        core::str::from_utf8(word).ok()?.parse::<f32>().ok().filter(|share| share.is_finite())
    };
    let some = share(b"some ")?;
    // The root group and old kernels have no other line.
    Some(MemoryPressure { some, full: share(b"full ").unwrap_or(0.0) })
}

/// The parts between blanks and ends of lines, none of them empty.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A whole word of digits; one too large is the largest number.
fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = word.iter().map(|&digit| u64::from(digit - b'0'));
    Some(digits.fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(digit)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shares_of_ten_seconds_are_the_pressure() {
        let text = b"some avg10=1.25 avg60=2.50 avg300=3.00 total=4\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure(text), Some(MemoryPressure { some: 1.25, full: 0.5 }));
        assert_eq!(pressure(b"some avg10=7.00 total=1\n"), Some(MemoryPressure { some: 7.0, full: 0.0 }));
        for text in [&b""[..], b"some", b"some avg60=1.00", b"some avg10=x", b"some avg10=nan", b"full avg10=1.00"] {
            assert_eq!(pressure(text), None, "{text:?}");
        }
    }

    #[test]
    fn stat_fields_count_from_behind_the_name() {
        let stat = b"17 (a) b (c) S 1 17 -1 0 18446744073709551615 x9\n";
        assert_eq!(stat_field(stat, 4), Some(1));
        assert_eq!(stat_field(stat, 6), Some(-1));
        assert_eq!(stat_field(stat, 8), Some(i64::MAX));
        // The state is a letter, the name is not counted, a field may not be a number, and there is an end.
        for index in [0, 1, 2, 3, 9, 10, usize::MAX] {
            assert_eq!(stat_field(stat, index), None, "field {index}");
        }
        assert_eq!(stat_field(b"17 name S 1", 4), None);
        assert_eq!(stat_field(b"17 (name)", 4), None);
    }

    #[test]
    fn kilobytes_need_name_number_and_unit() {
        assert_eq!(kilobytes(b"VmHWM:\t    1024 kB", b"VmHWM:"), Some(1 << 20));
        assert_eq!(kilobytes(b"Private_Dirty:         0 kB", b"Private_Dirty:"), Some(0));
        assert_eq!(kilobytes(b"Private_Dirty:         4 kB", b"Private_Clean:"), None);
        assert_eq!(kilobytes(b"THPeligible:    1", b"THPeligible:"), None);
        assert_eq!(kilobytes(b"VmFlags: rd wr mr", b"VmFlags:"), None);
        assert_eq!(kilobytes(b"Size: 99999999999999999999 kB", b"Size:"), Some(usize::MAX));
    }

    #[test]
    fn a_limit_is_a_number_below_the_kernels_largest() {
        assert_eq!(limit(b"536870912\n"), Some(512 << 20));
        assert_eq!(limit(b"0\n"), Some(0));
        // No limit: version 2, version 1 with pages of 4 and of 64 KiB, and what an emulation may write.
        for none in ["max\n", "9223372036854771712\n", "9223372036854710272", "18446744073709551615", "-1", "", "\n"] {
            assert_eq!(limit(none.as_bytes()), None, "{none:?}");
        }
    }

    #[test]
    fn statm_has_the_resident_set_second() {
        assert_eq!(statm_resident(b"765 438 409 5 0 123 0\n"), Some(438));
        assert_eq!(statm_resident(b"765"), None);
    }

    proptest! {
        #[test]
        fn any_name_leaves_the_fields_in_place(
            name in proptest::collection::vec(prop_oneof![Just(b')'), Just(b'('), Just(b' '), any::<u8>()], 0..64),
            fields in proptest::collection::vec(-i64::MAX..=i64::MAX, 1..52),
        ) {
            let mut stat = b"1234 (".to_vec();
            stat.extend(&name);
            stat.extend(b") S");
            for field in &fields {
                stat.extend(format!(" {field}").bytes());
            }
            stat.push(b'\n');
            for (at, &field) in fields.iter().enumerate() {
                prop_assert_eq!(stat_field(&stat, at + 4), Some(field));
            }
            prop_assert_eq!(stat_field(&stat, fields.len() + 4), None);
        }

        #[test]
        fn garbage_never_panics(
            text in proptest::collection::vec(
                prop_oneof![Just(b' '), Just(b')'), Just(b':'), Just(b'-'), b'0'..=b'9', any::<u8>()],
                0..200,
            ),
            cut in 0usize..200,
            index: usize,
        ) {
            let field = &text[..cut.min(text.len())];
            let _ = (stat_field(&text, index), stat_field(&text, index % 64), statm_resident(&text));
            let _ = (kilobytes(&text, field), kilobytes(&text, b""), limit(&text));
        }
    }
}
