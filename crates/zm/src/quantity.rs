//! Amounts as people type them.

/// Bytes: `300M`, `1.5GiB`, `4096`. The units are powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: say 300M, 1.5G or 4096 (K, M, G and T are powers of 1024)");
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        "T" | "t" | "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let value = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    // A part of a byte is nothing that anybody means.
    if value.fract() != 0.0 && factor == 1 || value >= u64::MAX as f64 { Err(wrong()) } else { Ok(value as u64) }
}

/// How much more than a limit is still right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// A part of the limit.
    Part(f64),
    /// So many bytes; nothing for what is no size.
    Bytes(u64),
}

/// `5%`, or bytes.
pub fn tolerance(text: &str) -> Result<Tolerance, String> {
    let Some(percent) = text.strip_suffix('%') else { return bytes(text).map(Tolerance::Bytes) };
    match percent.trim().parse::<f64>() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(Tolerance::Part(percent / 100.0)),
        _ => Err(format!("`{text}` is no tolerance: say 5% or 64K")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_tolerances_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("64K", 65536),
            ("300M", 300 << 20),
            ("1.5GiB", 3 << 29),
            ("2 T", 2 << 40),
            ("7B", 7),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for wrong in ["", "M", "-1", "1.5", "300MB", "1e3", "99999999999999999999", "16777216T", "1.2.3K", "0x10"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(tolerance("5%"), Ok(Tolerance::Part(0.05)));
        assert_eq!(tolerance("64K"), Ok(Tolerance::Bytes(65536)));
        assert!(tolerance("-5%").is_err() && tolerance("x%").is_err() && tolerance("NaN%").is_err());
    }
}
