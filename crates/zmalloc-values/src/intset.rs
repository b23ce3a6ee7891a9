//! A set of integers in one block: sorted, all of one width.

use crate::error::{FormatError, array};
use crate::memory::{Global, Memory};
use crate::sds::Sds;
use core::fmt;
use core::iter::FusedIterator;

/// A set of integers in one block: sorted, each as wide as the widest needs.
///
/// ```text
///  width    number   integers, ascending
/// ┌────────┬────────┬────────┬────────┬────────┬───┐
/// │ 4      │ 4      │ width  │ width  │ width  │ … │      all little endian; width is 2, 4 or 8
/// └────────┴────────┴────────┴────────┴────────┴───┘
/// ```
///
/// To look one up is a binary search; to insert or remove one moves those behind. The first that is wider than the others
/// rewrites all; they do not get narrower again.
///
/// ```
/// use zmalloc_values::Intset;
///
/// let mut set: Intset = Intset::new();
/// assert!(set.insert(5) && set.insert(-3) && !set.insert(5));
/// assert_eq!((set.width(), set.as_bytes().len()), (2, 12));
/// set.insert(1 << 40);
/// assert_eq!((set.width(), set.as_bytes().len()), (8, 32));
/// assert_eq!(set.iter().rev().collect::<Vec<_>>(), [1 << 40, 5, -3]);
/// ```
pub struct Intset<M: Memory = Global>(Sds<M>);

const HEADER_BYTES: usize = 8;
const EMPTY: [u8; HEADER_BYTES] = [2, 0, 0, 0, 0, 0, 0, 0];

impl<M: Memory> Intset<M> {
    /// An empty set: a header.
    pub fn new() -> Self {
        Intset(Sds::from(&EMPTY))
    }

    /// A copy of bytes that have the format, or what is wrong with them. Every byte is looked at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        check(bytes)?;
        Ok(Intset(Sds::from(bytes)))
    }

    /// As [`from_bytes`](Intset::from_bytes), without a copy.
    pub fn from_sds(bytes: Sds<M>) -> Result<Self, FormatError> {
        check(&bytes)?;
        Ok(Intset(bytes))
    }

    /// The set in its format.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The set in its format, without a copy.
    pub fn into_sds(self) -> Sds<M> {
        self.0
    }

    /// What its block counts for in the ledger, in bytes.
    pub fn charged_size(&self) -> usize {
        self.0.charged_size()
    }

    /// The number of integers.
    pub fn len(&self) -> usize {
        (self.0.len() - HEADER_BYTES) / self.width()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER_BYTES
    }

    /// The bytes that each integer takes: 2, 4 or 8.
    pub fn width(&self) -> usize {
        self.0[0].into()
    }

    /// The integer at an index, in ascending order.
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| read(&self.0, self.width(), index))
    }

    /// Whether the integer is in it. O(log n).
    pub fn contains(&self, integer: i64) -> bool {
        self.search(integer).is_ok()
    }

    /// Where the integer is in ascending order, or where it would be. O(log n).
    pub fn search(&self, integer: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match read(&self.0, self.width(), middle).cmp(&integer) {
                core::cmp::Ordering::Equal => return Ok(middle),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Adds an integer, and says whether it is new. O(n).
    pub fn insert(&mut self, integer: i64) -> bool {
        let Err(index) = self.search(integer) else { return false };
        if width_of(integer) > self.width() {
            self.widen(width_of(integer));
        }
        let (width, count) = (self.width(), self.len() as u32 + 1);
        let at = HEADER_BYTES + index * width;
        self.0.replace_range_sparing(at..at, &integer.to_le_bytes()[..width]);
        self.set_count(count);
        true
    }

    /// Removes an integer, and says whether it was there. O(n).
    pub fn remove(&mut self, integer: i64) -> bool {
        let Ok(index) = self.search(integer) else { return false };
        let (width, count) = (self.width(), self.len() as u32 - 1);
        let at = HEADER_BYTES + index * width;
        self.0.replace_range_sparing(at..at + width, &[]);
        self.set_count(count);
        true
    }

    /// The integers, ascending, from either end.
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.0, width: self.width(), front: 0, back: self.len() }
    }

    fn set_count(&mut self, count: u32) {
        self.0[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
    }

    /// Rewrites all integers, the last first, as each moves behind where it was.
    fn widen(&mut self, width: usize) {
        let (old, count) = (self.width(), self.len());
        let end = self.0.len();
        self.0.resize_range(end..end, count * (width - old));
        self.0[0] = width as u8;
        for index in (0..count).rev() {
            let integer = read(&self.0, old, index);
            let at = HEADER_BYTES + index * width;
            self.0[at..at + width].copy_from_slice(&integer.to_le_bytes()[..width]);
        }
    }
}

fn width_of(integer: i64) -> usize {
    match integer {
        -0x8000..=0x7FFF => 2,
        -0x8000_0000..=0x7FFF_FFFF => 4,
        _ => 8,
    }
}

fn read(bytes: &[u8], width: usize, index: usize) -> i64 {
    let at = HEADER_BYTES + index * width;
    match width {
        2 => array(bytes, at).map(|bytes| i16::from_le_bytes(bytes).into()),
        4 => array(bytes, at).map(|bytes| i32::from_le_bytes(bytes).into()),
        _ => array(bytes, at).map(i64::from_le_bytes),
    }
    .expect("an index within")
}

fn check(bytes: &[u8]) -> Result<(), FormatError> {
    let error = |at, what| Err(FormatError { format: "intset", at, what });
    let (Some(width), Some(count)) = (array(bytes, 0).map(u32::from_le_bytes), array(bytes, 4).map(u32::from_le_bytes))
    else {
        return error(bytes.len(), "the header is cut off");
    };
    if !matches!(width, 2 | 4 | 8) {
        return error(0, "the width is none of 2, 4 and 8");
    }
    let width = width as usize;
    if (count as usize).checked_mul(width) != Some(bytes.len() - HEADER_BYTES) {
        return error(4, "the header says another number of integers");
    }
    match (1..count as usize).find(|&index| read(bytes, width, index - 1) >= read(bytes, width, index)) {
        Some(index) => error(HEADER_BYTES + index * width, "the integer is not above the one before"),
        None => Ok(()),
    }
}

/// The integers of a set, ascending, from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    width: usize,
    front: usize,
    back: usize,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        (self.front < self.back).then(|| {
            self.front += 1;
            read(self.bytes, self.width, self.front - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.back - self.front, Some(self.back - self.front))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<i64> {
        (self.front < self.back).then(|| {
            self.back -= 1;
            read(self.bytes, self.width, self.back)
        })
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl FusedIterator for Iter<'_> {}

impl<'a, M: Memory> IntoIterator for &'a Intset<M> {
    type Item = i64;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<M: Memory> Default for Intset<M> {
    fn default() -> Self {
        Intset::new()
    }
}

impl<M: Memory> Clone for Intset<M> {
    fn clone(&self) -> Self {
        Intset(self.0.clone())
    }
}

impl<M: Memory> PartialEq for Intset<M> {
    /// By integers.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<M: Memory> Eq for Intset<M> {}

impl<M: Memory> fmt::Debug for Intset<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}
