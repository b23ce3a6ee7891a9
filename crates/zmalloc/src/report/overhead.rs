//! One figure over another.

/// How far a figure is above the part of it that is put to use.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Overhead {
    /// The figure divided by the part; `None` if the part is 0.
    pub ratio: Option<f64>,
    /// The figure minus the part, in bytes. Negative if the two do not cover the same memory.
    pub bytes: i64,
}

impl Overhead {
    /// `None` unless both are known.
    pub(super) fn of(whole: Option<usize>, part: Option<usize>) -> Option<Overhead> {
        let (whole, part) = (whole?, part?);
        Some(Overhead {
            ratio: (part > 0).then(|| whole as f64 / part as f64),
            bytes: whole.wrapping_sub(part) as isize as i64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Overhead;

    #[test]
    fn is_signed_and_never_divides_by_zero() {
        assert_eq!(Overhead::of(Some(3), Some(2)), Some(Overhead { ratio: Some(1.5), bytes: 1 }));
        assert_eq!(Overhead::of(Some(1), Some(2)), Some(Overhead { ratio: Some(0.5), bytes: -1 }));
        assert_eq!(Overhead::of(Some(7), Some(0)), Some(Overhead { ratio: None, bytes: 7 }));
        assert_eq!(Overhead::of(None, Some(2)), None);
    }
}
