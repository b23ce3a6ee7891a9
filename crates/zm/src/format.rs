//! Numbers as people read them.

/// Bytes in the largest unit that leaves a whole part: `312 B`, `1.5 KiB`, `20.3 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.96 would be shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A bound of a size class, which is a round number: `1.25 MiB`, `256 KiB`.
pub fn bound(exact: u64) -> String {
    let mut unit = 0;
    let mut value = exact as f64;
    while value >= 1024.0 && unit + 1 < BOUND_UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let number = format!("{value:.2}");
    format!("{} {}", number.trim_end_matches('0').trim_end_matches('.'), BOUND_UNITS[unit])
}

const BOUND_UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes to the byte: `1,234,567 bytes`.
pub fn exact_bytes(bytes: u64) -> String {
    format!("{} {}", count(bytes), if bytes == 1 { "byte" } else { "bytes" })
}

/// A count with its thousands set apart: `4,321`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in each second: `1.5 MiB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second as u64))
}

/// A ratio of two sizes. Beyond 100 it says nothing but that the program hardly used its heap.
pub fn ratio(ratio: f64) -> String {
    if ratio >= 100.0 { ">99".to_owned() } else { format!("{ratio:.2}") }
}

/// Seconds, in a unit that leaves digits to see: `310 µs`, `12.3 ms`, `3.21 s`, `2 min 05 s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 0.000_999_5 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 0.099_95 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 0.999_5 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.2} s")
    } else {
        let whole = seconds.round() as u64;
        let (hours, minutes) = (whole / 3600, whole / 60 % 60);
        if hours > 0 { format!("{hours} h {minutes:02} min") } else { format!("{minutes} min {:02} s", whole % 60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_one_decimal_and_never_read_1024() {
        for (exact, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (1024 * 1024, "1.0 MiB"),
            (1_000_000_000, "953.7 MiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(exact), text);
        }
    }

    #[test]
    fn bounds_are_exact_and_short() {
        assert_eq!(
            [21, 1 << 20, 5 << 18, 7 << 17, 320 << 10].map(bound),
            ["21 B", "1 MiB", "1.25 MiB", "896 KiB", "320 KiB"]
        );
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!((exact_bytes(1), exact_bytes(2048)), ("1 byte".into(), "2,048 bytes".into()));
    }

    #[test]
    fn ratios_and_times_have_sensible_digits() {
        assert_eq!([0.02, 1.5, 99.99, 100.0, f64::INFINITY].map(ratio), ["0.02", "1.50", "99.99", ">99", ">99"]);
        assert_eq!(
            [0.000_31, 0.0123, 0.5, 0.9999, 3.214, 125.2, 7384.0].map(seconds),
            ["310 µs", "12.3 ms", "500 ms", "1.00 s", "3.21 s", "2 min 05 s", "2 h 03 min"]
        );
        assert_eq!(rate(1536.7), "1.5 KiB/s");
        assert_eq!(rate(f64::NAN), "0 B/s");
    }
}
