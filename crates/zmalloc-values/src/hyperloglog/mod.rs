//! How many different elements there were, within a percent, in at most 12 KiB: [`HyperLogLog`].

mod dense;
mod estimate;
mod hash;
mod sparse;

use crate::error::FormatError;
use crate::memory::{Global, Memory};
use crate::sds::Sds;
use core::fmt;

/// The number of different elements that were added, kept in at most 12,304 bytes whatever their number is.
///
/// An element's hash chooses one of 16,384 registers and counts its own trailing zeros; the register keeps the most that it
/// saw. The standard error is 1.04 / sqrt(16384), which is 0.81 %. These are Redis's bytes: what `GET` answers for a
/// key of its is read here, and the other way round.
///
/// ```text
///  magic  encoding   unused   last count             registers
/// ┌──────┬──────────┬────────┬──────────────────────┬───────────────────────────────────────┐
/// │ HYLL │ 1        │ 3      │ 8, little endian     │ dense (0) or sparse (1)               │
/// └──────┴──────────┴────────┴──────────────────────┴───────────────────────────────────────┘
///                             top bit: out of date
///
///  dense, 12,288 bytes: 6 bits each,          sparse: runs of registers
///  from the low bits on                        00llllll            1 to 64 zeros
///  ┌─ byte 0 ─┬─ byte 1 ─┬─ byte 2 ─┐          01llllll l          1 to 16,384 zeros
///  │ 11000000 │ 22221111 │ 33333322 │ …        1vvvvvll            1 to 4 times 1 to 32
///  └──────────┴──────────┴──────────┘
/// ```
///
/// It begins sparse, in 18 bytes, and becomes dense when it would pass [`SPARSE_BYTES_MAX`](HyperLogLog::SPARSE_BYTES_MAX)
/// bytes or a register passes 32. To add is O(1) in the dense form and O(runs) in the sparse one.
///
/// ```
/// use zmalloc_values::HyperLogLog;
///
/// let (mut monday, mut tuesday): (HyperLogLog, HyperLogLog) = Default::default();
/// for visitor in 0..6000 {
///     monday.add(format!("visitor {visitor}").as_bytes());
///     tuesday.add(format!("visitor {}", visitor + 3000).as_bytes());
/// }
/// monday.merge(&tuesday);
/// assert!((9000 - 9000 / 40..9000 + 9000 / 40).contains(&monday.count()));
///
/// let copy: HyperLogLog = HyperLogLog::from_bytes(monday.as_bytes()).unwrap();
/// assert_eq!(copy.estimate(), monday.count());
/// ```
pub struct HyperLogLog<M: Memory = Global>(Sds<M>);

/// The bits of a hash that choose the register.
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
/// The bits of which trailing zeros are counted; a register has one more at most.
const RANK_BITS: u32 = u64::BITS - INDEX_BITS;
const REGISTER_MAX: u8 = RANK_BITS as u8 + 1;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const COUNT_AT: usize = 8;
const HEADER_BYTES: usize = 16;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// The top bit of the last count: something was added since.
const OUT_OF_DATE: u64 = 1 << 63;

/// How many registers have each value.
type Histogram = [u32; 1 << 6];

const fn error(at: usize, what: &'static str) -> FormatError {
    FormatError { format: "HyperLogLog", at, what }
}

impl<M: Memory> HyperLogLog<M> {
    /// The bytes that the sparse form takes at most, unless others are asked for: Redis's default.
    pub const SPARSE_BYTES_MAX: usize = 3000;

    /// Nothing added yet: 18 bytes.
    pub fn new() -> Self {
        let mut bytes = Sds::with_capacity(HEADER_BYTES + 2);
        bytes.extend_from_slice(MAGIC);
        bytes.resize(HEADER_BYTES);
        bytes[ENCODING_AT] = SPARSE;
        // Redis counts anew even what it just made.
        bytes[COUNT_AT..].copy_from_slice(&OUT_OF_DATE.to_le_bytes());
        bytes.extend_from_slice(&sparse::EMPTY);
        HyperLogLog(bytes)
    }

    /// A copy of bytes that have the format, or what is wrong with them. Every byte is looked at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        check(bytes)?;
        Ok(HyperLogLog(Sds::from(bytes)))
    }

    /// As [`from_bytes`](HyperLogLog::from_bytes), without a copy.
    pub fn from_sds(bytes: Sds<M>) -> Result<Self, FormatError> {
        check(&bytes)?;
        Ok(HyperLogLog(bytes))
    }

    /// The bytes that Redis keeps as the value of the key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes that Redis keeps as the value of the key, without a copy.
    pub fn into_sds(self) -> Sds<M> {
        self.0
    }

    /// What its block counts for in the ledger, in bytes.
    pub fn charged_size(&self) -> usize {
        self.0.charged_size()
    }

    /// Whether it is in the sparse form.
    pub fn is_sparse(&self) -> bool {
        self.0[ENCODING_AT] == SPARSE
    }

    /// Adds an element, and says whether a register changed: if not, it or others like it were there before.
    pub fn add(&mut self, element: &[u8]) -> bool {
        self.add_within(element, Self::SPARSE_BYTES_MAX)
    }

    /// As [`add`](HyperLogLog::add), where the sparse form may take that many bytes, header included.
    pub fn add_within(&mut self, element: &[u8], sparse_bytes_max: usize) -> bool {
        let (index, rank) = place(element);
        let changed = self.raise(index, rank, sparse_bytes_max);
        if changed {
            self.set_last_count(self.last_count() | OUT_OF_DATE);
        }
        changed
    }

    /// Adds all that was added to another one. Dense if either was.
    pub fn merge<N: Memory>(&mut self, other: &HyperLogLog<N>) {
        self.merge_within(other, Self::SPARSE_BYTES_MAX);
    }

    /// As [`merge`](HyperLogLog::merge), where the sparse form may take that many bytes, header included.
    pub fn merge_within<N: Memory>(&mut self, other: &HyperLogLog<N>, sparse_bytes_max: usize) {
        if other.is_sparse() {
            let mut index = 0;
            for run in sparse::runs(&other.0) {
                for index in index..index + run.length {
                    if run.value > 0 {
                        self.raise(index, run.value, sparse_bytes_max);
                    }
                }
                index += run.length;
            }
        } else {
            self.make_dense();
            for index in 0..REGISTERS {
                dense::raise(&mut self.0[HEADER_BYTES..], index, dense::get(&other.0[HEADER_BYTES..], index));
            }
        }
        self.set_last_count(self.last_count() | OUT_OF_DATE);
    }

    /// The number of different elements; kept with the registers until one changes.
    pub fn count(&mut self) -> u64 {
        if self.last_count() & OUT_OF_DATE != 0 {
            self.set_last_count(self.estimate() & !OUT_OF_DATE);
        }
        self.last_count()
    }

    /// As [`count`](HyperLogLog::count), computed anew from the registers and not kept.
    pub fn estimate(&self) -> u64 {
        let mut histogram = [0; 1 << 6];
        if self.is_sparse() {
            for run in sparse::runs(&self.0) {
                histogram[usize::from(run.value)] += run.length as u32;
            }
        } else {
            dense::count(&self.0[HEADER_BYTES..], &mut histogram);
        }
        estimate::cardinality(&histogram)
    }

    /// Brings it into the dense form.
    pub fn make_dense(&mut self) {
        if !self.is_sparse() {
            return;
        }
        let mut bytes = Sds::with_capacity(HEADER_BYTES + dense::BYTES);
        bytes.extend_from_slice(&self.0[..HEADER_BYTES]);
        bytes.resize(HEADER_BYTES + dense::BYTES);
        bytes[ENCODING_AT] = DENSE;
        let mut index = 0;
        for run in sparse::runs(&self.0) {
            if run.value > 0 {
                (index..index + run.length).for_each(|index| {
                    dense::raise(&mut bytes[HEADER_BYTES..], index, run.value);
                });
            }
            index += run.length;
        }
        self.0 = bytes;
    }

    /// Raises a register to a value, and says whether it was lower.
    fn raise(&mut self, index: usize, value: u8, sparse_bytes_max: usize) -> bool {
        if self.is_sparse() {
            match sparse::raise(&mut self.0, index, value, sparse_bytes_max) {
                sparse::Raised::Yes => return true,
                sparse::Raised::No => return false,
                sparse::Raised::TooLarge => self.make_dense(),
            }
        }
        dense::raise(&mut self.0[HEADER_BYTES..], index, value)
    }

    fn last_count(&self) -> u64 {
        crate::error::array(&self.0, COUNT_AT).map_or(0, u64::from_le_bytes)
    }

    fn set_last_count(&mut self, count: u64) {
        self.0[COUNT_AT..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
    }
}

/// The register of an element, and what it raises that to.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = hash::murmur64a(element, hash::SEED);
    // One bit beyond those that count ends the zeros.
    let rank = (hash >> INDEX_BITS | 1 << RANK_BITS).trailing_zeros() + 1;
    ((hash as usize) & (REGISTERS - 1), rank as u8)
}

fn check(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes.len() < HEADER_BYTES {
        return Err(error(bytes.len(), "the header is cut off"));
    }
    if !bytes.starts_with(MAGIC) {
        return Err(error(0, "it does not begin with HYLL"));
    }
    match bytes[ENCODING_AT] {
        DENSE => dense::check(bytes),
        SPARSE => sparse::check(bytes),
        _ => Err(error(ENCODING_AT, "the encoding is neither dense (0) nor sparse (1)")),
    }
}

impl<M: Memory> Default for HyperLogLog<M> {
    fn default() -> Self {
        HyperLogLog::new()
    }
}

impl<M: Memory> Clone for HyperLogLog<M> {
    fn clone(&self) -> Self {
        HyperLogLog(self.0.clone())
    }
}

impl<M: Memory> fmt::Debug for HyperLogLog<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = if self.is_sparse() { "sparse" } else { "dense" };
        write!(f, "HyperLogLog({form}, {} bytes, about {})", self.0.len(), self.estimate())
    }
}
