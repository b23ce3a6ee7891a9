//! Sizes as people read them.

use core::fmt;

/// `value` in a unit of 1024, as in `1.50 MiB`; whole bytes below 1024 of them.
pub(crate) struct Iec {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) decimals: usize,
}

impl Iec {
    pub(crate) fn of(bytes: i128) -> Iec {
        let (value, unit) = scaled(bytes.unsigned_abs(), 1023.995);
        let unit = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit];
        let sign = if bytes < 0 { -1.0 } else { 1.0 };
        Iec { value: sign * value, unit, decimals: if unit == "B" { 0 } else { 2 } }
    }
}

/// As Redis's INFO writes it, `1.50M`: one letter, and none but bytes is whole.
pub(super) struct Letter(pub(super) usize);

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match scaled(self.0 as u128, 1024.0) {
            (bytes, 0) => write!(f, "{bytes}B"),
            (value, unit) => write!(f, "{value:.2}{}", ["B", "K", "M", "G", "T", "P", "E"][unit]),
        }
    }
}

/// `bytes` by the largest unit that keeps it at 1 or more, and which power of 1024 that is; `next` is where the next
/// unit begins.
fn scaled(bytes: u128, next: f64) -> (f64, usize) {
    let (mut value, mut unit) = (bytes as f64, 0);
    // Whole bytes do not round up.
    while unit < 6 && value >= if unit == 0 { 1024.0 } else { next } {
        value /= 1024.0;
        unit += 1;
    }
    (value, unit)
}

#[cfg(test)]
mod tests {
    use super::{Iec, Letter};

    #[test]
    fn sizes_read_well() {
        let iec = |bytes| {
            let size = Iec::of(bytes);
            format!("{:.*} {}", size.decimals, size.value, size.unit)
        };
        assert_eq!(iec(0), "0 B");
        assert_eq!(iec(1023), "1023 B");
        assert_eq!(iec(1024), "1.00 KiB");
        assert_eq!(iec(1_572_864), "1.50 MiB");
        assert_eq!(iec(-1_572_864), "-1.50 MiB");
        assert_eq!(iec((1 << 20) - 1), "1.00 MiB", "not 1024.00 KiB");
        assert_eq!(iec(i128::from(u64::MAX)), "16.00 EiB");
    }

    #[test]
    fn letters_are_those_of_info() {
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_572_864, "1.50M"), (3 << 30, "3.00G")] {
            assert_eq!(Letter(bytes).to_string(), text);
        }
    }
}
