//! A binary-safe string in one block behind one thin pointer.
//!
//! The pointer is to the bytes; what is known of them lies before, and as little of it as the string needs:
//!
//! ```text
//!  header      length             capacity           flags       bytes              end
//! ┌──────────────────────────────────────────────────────────┬───────────────────┬───┐
//! │ Bits5       (in the flags)     (none: it is full)  1      │                   │ 0 │   1 to 31 bytes, until it changes
//! │ Bits8       1                  1                   1      │ any bytes at all, │ 0 │   up to 255
//! │ Bits16      2                  2                   1      │ zeros included    │ 0 │   up to 64 KiB
//! │ Bits32      4                  4                   1      │                   │ 0 │   up to 4 GiB
//! │ Bits64      8                  8                   1      │                   │ 0 │
//! └──────────────────────────────────────────────────────────┴───────────────────┴───┘
//!                                                             ▲
//!                                                             └ the pointer
//! ```
//!
//! So the length costs O(1), a C function may read the bytes as a string (the 0 at the end is no part of it), and
//! `Option<Sds>` takes the 8 bytes of the pointer. An empty string that has not been given room has no block.
//!
//! A string that grows gets twice the room it needs, from 1 MiB on 1 MiB more; and the rest of the block that the
//! allocator gave for it, where the [`Memory`] tells.

use crate::element::Element;
use crate::memory::{Global, Memory, OutOfMemory};
use core::alloc::Layout;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut, Range};
use core::ptr::NonNull;

/// From this length on a string that grows gets this much more, below it twice what it needs.
const GREEDY_BYTES: usize = 1 << 20;

/// A binary-safe string in one block behind one thin pointer; see the [module](self) for how it lies in memory.
///
/// ```
/// use zmalloc_values::Sds;
///
/// let mut text: Sds = Sds::from("binary\0safe");
/// assert_eq!((text.len(), text.header_bytes()), (11, 1));
/// text.extend_from_slice(b", and it grows");
/// assert_eq!(text, b"binary\0safe, and it grows");
/// assert_eq!((text.capacity(), text.header_bytes()), (50, 3));
/// assert_eq!(size_of::<Option<Sds>>(), 8);
/// ```
///
/// What grows it ends the program when there is no memory, as `Vec` does, but for the `try_` calls.
pub struct Sds<M: Memory = Global> {
    /// The first byte. Before it lies a header of the class that the byte before tells, as the module draws it; from the
    /// header to the 0 after `capacity()` bytes it is one live block of `M`, or `EMPTY` if the capacity is 0.
    bytes: NonNull<u8>,
    memory: PhantomData<fn() -> M>,
}

// SAFETY: it owns its block alone, as a `Box<[u8]>` does, and a memory has no state.
unsafe impl<M: Memory> Send for Sds<M> {}
// SAFETY: as above; without `&mut` it is only read.
unsafe impl<M: Memory> Sync for Sds<M> {}

/// What precedes the bytes; the name tells the bits that the length has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderClass {
    /// The length in the flags, for a string of 1 to 31 bytes that has not changed since it was made.
    Bits5 = 0,
    /// Up to 255 bytes.
    Bits8 = 1,
    /// Up to 65,535 bytes.
    Bits16 = 2,
    /// Up to 4 GiB.
    Bits32 = 3,
    /// All beyond.
    Bits64 = 4,
}

use HeaderClass::{Bits5, Bits8, Bits16, Bits32, Bits64};

const CLASS_MASK: u8 = 7;
const LENGTH_SHIFT: u32 = 3;

/// Length, capacity, flags and end of every string without a block.
static EMPTY: [u8; 4] = [0, 0, Bits8 as u8, 0];

impl HeaderClass {
    /// The smallest for a string of that capacity that may change.
    const fn growable(capacity: usize) -> Self {
        match capacity {
            0..0x100 => Bits8,
            0x100..0x1_0000 => Bits16,
            _ if capacity as u64 <= u32::MAX as u64 => Bits32,
            _ => Bits64,
        }
    }

    /// The smallest for a string that is as long as its capacity.
    const fn full(length: usize) -> Self {
        if matches!(length, 1..32) { Bits5 } else { HeaderClass::growable(length) }
    }

    /// Bytes of each of the two fields.
    const fn field_bytes(self) -> usize {
        match self {
            Bits5 => 0,
            Bits8 => 1,
            Bits16 => 2,
            Bits32 => 4,
            Bits64 => 8,
        }
    }

    /// Bytes of the whole header: 1, 3, 5, 9 or 17.
    pub const fn header_bytes(self) -> usize {
        2 * self.field_bytes() + 1
    }

    const fn capacity_max(self) -> usize {
        match self {
            Bits5 => 31,
            Bits8 => u8::MAX as usize,
            Bits16 => u16::MAX as usize,
            Bits32 => u32::MAX as usize,
            Bits64 => isize::MAX as usize - Bits64.header_bytes() - 1,
        }
    }
}

/// Which of the two fields of a header.
#[derive(Clone, Copy)]
enum Field {
    Length = 0,
    Capacity = 1,
}

/// The layout of a block, whose size is within what was requested and what is usable.
fn layout_of(class: HeaderClass, capacity: usize) -> Result<Layout, OutOfMemory> {
    let bytes = capacity.checked_add(class.header_bytes() + 1).ok_or(OutOfMemory { bytes: usize::MAX })?;
    Layout::array::<u8>(bytes).map_err(|_| OutOfMemory { bytes })
}

impl<M: Memory> Sds<M> {
    /// An empty string, without a block.
    pub const fn new() -> Self {
        let start: *const u8 = &raw const EMPTY as *const u8;
        // SAFETY: within the static, and not null.
        Sds { bytes: unsafe { NonNull::new_unchecked(start.add(3).cast_mut()) }, memory: PhantomData }
    }

    /// An empty string with room for at least `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut string = Sds::new();
        string.reserve_exact(capacity);
        string
    }

    /// As `Sds::from`, but answers when there is no memory.
    pub fn try_from_bytes(bytes: &[u8]) -> Result<Self, OutOfMemory> {
        if bytes.is_empty() {
            return Ok(Sds::new());
        }
        let string = Sds::allocate(HeaderClass::full(bytes.len()), bytes.len())?;
        // SAFETY: a new block with room for that many bytes, which are then all written; in a full block of class Bits5
        // the length is the capacity.
        unsafe {
            string.bytes.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            string.set_length(bytes.len());
        }
        Ok(string)
    }

    /// The bytes in it.
    #[inline]
    pub fn len(&self) -> usize {
        // SAFETY: the flags lie before the bytes, in a block or in `EMPTY`; so does the field, in every other class.
        unsafe {
            let flags = self.bytes.sub(1).read();
            if flags & CLASS_MASK == Bits5 as u8 { (flags >> LENGTH_SHIFT).into() } else { self.field(Field::Length) }
        }
    }

    /// Whether there are no bytes in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that it can have before it needs another block.
    #[inline]
    pub fn capacity(&self) -> usize {
        // SAFETY: in every other class than Bits5 the field is there.
        if self.header_class() == Bits5 { self.len() } else { unsafe { self.field(Field::Capacity) } }
    }

    /// The class of its header.
    #[inline]
    pub fn header_class(&self) -> HeaderClass {
        // SAFETY: the flags lie before the bytes, in a block or in `EMPTY`.
        match unsafe { self.bytes.sub(1).read() } & CLASS_MASK {
            0 => Bits5,
            1 => Bits8,
            2 => Bits16,
            3 => Bits32,
            _ => Bits64,
        }
    }

    /// The bytes of its header: 1, 3, 5, 9 or 17.
    pub fn header_bytes(&self) -> usize {
        self.header_class().header_bytes()
    }

    /// What its block counts for in the ledger, in bytes; 0 if it has none.
    pub fn charged_size(&self) -> usize {
        // SAFETY: a live block and a layout that fits.
        self.block().map_or(0, |(block, layout)| unsafe { M::charged_size(block, layout) })
    }

    /// The bytes followed by a 0, for C.
    pub fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// Makes room for `additional` bytes more, and for as many again up to 1 MiB, so that a string which grows byte by
    /// byte costs O(1) for each.
    pub fn reserve(&mut self, additional: usize) {
        self.try_reserve(additional).unwrap_or_else(|error| error.abort());
    }

    /// As [`reserve`](Sds::reserve), but answers when there is no memory; the string is then as it was.
    pub fn try_reserve(&mut self, additional: usize) -> Result<(), OutOfMemory> {
        let (length, class) = (self.len(), self.header_class());
        if class != Bits5 && self.capacity() - length >= additional {
            return Ok(());
        }
        let needed = length.checked_add(additional).ok_or(OutOfMemory { bytes: usize::MAX })?;
        self.reallocate(needed.saturating_add(needed.min(GREEDY_BYTES)))
    }

    /// Makes room for `additional` bytes more and no others than the allocator gives anyway.
    pub fn reserve_exact(&mut self, additional: usize) {
        let needed = self.len().checked_add(additional).unwrap_or_else(|| OutOfMemory { bytes: usize::MAX }.abort());
        if needed > self.capacity() {
            self.reallocate(needed).unwrap_or_else(|error| error.abort());
        }
    }

    /// Moves to the smallest block that holds the bytes and may change.
    pub fn shrink_to_fit(&mut self) {
        let length = self.len();
        if length == 0 {
            *self = Sds::new();
        } else if self.capacity() > length {
            // A block that cannot shrink stays.
            let _ = self.reallocate(length);
        }
    }

    /// Adds bytes at the end.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let length = self.len();
        self.replace_range(length..length, bytes);
    }

    /// Adds a byte at the end.
    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Replaces a range of bytes by others, of any number.
    ///
    /// Panics if the range is not within the bytes. Moves the bytes behind the range.
    pub fn replace_range(&mut self, range: Range<usize>, with: &[u8]) {
        self.reserve(with.len().saturating_sub(range.len()));
        self.replace_range_sparing(range, with);
    }

    /// As [`replace_range`](Sds::replace_range), for what seldom grows: it gets an eighth more room than it needs.
    pub(crate) fn replace_range_sparing(&mut self, range: Range<usize>, with: &[u8]) {
        let start = range.start;
        self.resize_range(range, with.len());
        self[start..start + with.len()].copy_from_slice(with);
    }

    /// Sets the length, with zeros for what is new.
    pub fn resize(&mut self, length: usize) {
        let old = self.len();
        self.reserve(length.saturating_sub(old));
        self.resize_range(length.min(old)..old, length.saturating_sub(old));
    }

    /// Keeps the first `length` bytes, if there are more.
    pub fn truncate(&mut self, length: usize) {
        let old = self.len();
        self.resize_range(length.min(old)..old, 0);
    }

    /// Empties it, keeping its block.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Replaces a range of bytes by `count` bytes, whose values are not promised; with an eighth more room where there is
    /// none.
    pub(crate) fn resize_range(&mut self, range: Range<usize>, count: usize) {
        let length = self.len();
        assert!(range.start <= range.end && range.end <= length, "range {range:?} of {length} bytes");
        let removed = range.end - range.start;
        if removed == count {
            return;
        }
        let needed = length - removed + count;
        // Bits5 has no length to set: whatever changes it, also by getting shorter, makes it another one.
        if needed > self.capacity() || self.header_class() == Bits5 {
            let room = if needed > length { needed.saturating_add(needed / 8) } else { length };
            self.reallocate(room).unwrap_or_else(|error| error.abort());
        }
        // SAFETY: there is room for all: the bytes behind the range move to where they then are, within the capacity; those
        // that were never written become zeros; and no string without a block comes here, as nothing is removed from it.
        unsafe {
            let to = self.bytes.add(range.start + count);
            to.copy_from(self.bytes.add(range.end), length - range.end);
            if count > removed {
                self.bytes.add(range.end).write_bytes(0, count - removed);
            }
            self.set_length(needed);
        }
    }

    /// A block of that class with at least that capacity, and no length yet. Nothing of class Bits5 is written later,
    /// so its length is its capacity.
    fn allocate(class: HeaderClass, capacity: usize) -> Result<Self, OutOfMemory> {
        let layout = layout_of(class, capacity)?;
        let block = M::allocate(layout).ok_or(OutOfMemory { bytes: layout.size() })?;
        // SAFETY: the block is large enough for a header, the bytes and the 0.
        unsafe {
            let string = Sds { bytes: block.ptr.add(class.header_bytes()), memory: PhantomData };
            string.write_header(class, capacity, block.usable);
            Ok(string)
        }
    }

    /// Gives it a block with at least that capacity, which is no less than its length, of the class that fits.
    #[cold]
    fn reallocate(&mut self, capacity: usize) -> Result<(), OutOfMemory> {
        let (length, class) = (self.len(), HeaderClass::growable(capacity));
        if let Some((block, old)) = self.block()
            && class == self.header_class()
        {
            let layout = layout_of(class, capacity)?;
            // SAFETY: a live block, a layout that fits, and the size of a valid layout; the header moved with its bytes.
            unsafe {
                let block = M::reallocate(block, old, layout.size()).ok_or(OutOfMemory { bytes: layout.size() })?;
                self.bytes = block.ptr.add(class.header_bytes());
                self.write_header(class, capacity, block.usable);
                self.set_length(length);
            }
            return Ok(());
        }
        let moved = Sds::allocate(class, capacity)?;
        // SAFETY: room for at least `length` bytes, in another block.
        unsafe {
            moved.bytes.copy_from_nonoverlapping(self.bytes, length);
            moved.set_length(length);
        }
        *self = moved;
        Ok(())
    }

    /// Its block, and a layout that fits it.
    fn block(&self) -> Option<(NonNull<u8>, Layout)> {
        let (class, capacity) = (self.header_class(), self.capacity());
        // SAFETY: the block begins with the header, and its layout was valid when it was requested.
        (capacity > 0).then(|| unsafe {
            let bytes = class.header_bytes() + capacity + 1;
            (self.bytes.sub(class.header_bytes()), Layout::from_size_align_unchecked(bytes, 1))
        })
    }

    /// Writes flags and capacity, the usable rest of the block included.
    ///
    /// # Safety
    /// The block behind has `usable` bytes, which is enough for the header, `capacity` bytes and the 0.
    unsafe fn write_header(&self, class: HeaderClass, capacity: usize, usable: usize) {
        // SAFETY: the header lies before the bytes; the capacity leaves the 0 its place.
        unsafe {
            if class == Bits5 {
                self.bytes.sub(1).write(class as u8 | (capacity as u8) << LENGTH_SHIFT);
            } else {
                self.bytes.sub(1).write(class as u8);
                let capacity = (usable - class.header_bytes() - 1).min(class.capacity_max());
                self.set_field(Field::Capacity, capacity);
            }
        }
    }

    /// Sets the length and the 0 behind it.
    ///
    /// # Safety
    /// 1. It has a block. 2. `length` is at most the capacity, and in class Bits5 equal to it. 3. That many bytes are
    ///    written.
    unsafe fn set_length(&self, length: usize) {
        // SAFETY: the 0 has its place behind the capacity.
        unsafe {
            if self.header_class() != Bits5 {
                self.set_field(Field::Length, length);
            }
            self.bytes.add(length).write(0);
        }
    }

    /// # Safety
    /// The class is not Bits5.
    #[inline]
    unsafe fn field(&self, field: Field) -> usize {
        let width = self.header_class().field_bytes();
        // SAFETY: the header begins two fields and the flags before the bytes.
        unsafe {
            let at = self.bytes.sub(1 + width * (2 - field as usize));
            match width {
                1 => at.read().into(),
                2 => at.cast::<u16>().read_unaligned().into(),
                4 => at.cast::<u32>().read_unaligned() as usize,
                _ => at.cast::<u64>().read_unaligned() as usize,
            }
        }
    }

    /// # Safety
    /// 1. The class is not Bits5. 2. It has a block. 3. `value` is at most what the class allows.
    #[inline]
    unsafe fn set_field(&self, field: Field, value: usize) {
        let width = self.header_class().field_bytes();
        // SAFETY: the header begins two fields and the flags before the bytes.
        unsafe {
            let at = self.bytes.sub(1 + width * (2 - field as usize));
            match width {
                1 => at.write(value as u8),
                2 => at.cast::<u16>().write_unaligned(value as u16),
                4 => at.cast::<u32>().write_unaligned(value as u32),
                _ => at.cast::<u64>().write_unaligned(value as u64),
            }
        }
    }
}

impl<M: Memory> Drop for Sds<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some((block, layout)) = self.block() {
            // SAFETY: a live block and a layout that fits; nobody uses it again.
            unsafe { M::free(block, layout) }
        }
    }
}

impl<M: Memory> Deref for Sds<M> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: that many bytes are written behind the pointer.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr(), self.len()) }
    }
}

impl<M: Memory> DerefMut for Sds<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has them; without a block there are none.
        unsafe { core::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.len()) }
    }
}

impl<M: Memory> Default for Sds<M> {
    fn default() -> Self {
        Sds::new()
    }
}

impl<M: Memory> Clone for Sds<M> {
    fn clone(&self) -> Self {
        Sds::from(&**self)
    }
}

impl<M: Memory> From<&[u8]> for Sds<M> {
    /// A copy in a block of its own, with the smallest header and no room.
    fn from(bytes: &[u8]) -> Self {
        Sds::try_from_bytes(bytes).unwrap_or_else(|error| error.abort())
    }
}

impl<M: Memory, const N: usize> From<&[u8; N]> for Sds<M> {
    fn from(bytes: &[u8; N]) -> Self {
        Sds::from(&bytes[..])
    }
}

impl<M: Memory> From<&str> for Sds<M> {
    fn from(text: &str) -> Self {
        Sds::from(text.as_bytes())
    }
}

impl<M: Memory> From<Element<'_>> for Sds<M> {
    fn from(element: Element<'_>) -> Self {
        element.with_bytes(|bytes| Sds::from(bytes))
    }
}

impl<M: Memory, B: AsRef<[u8]> + ?Sized> PartialEq<B> for Sds<M> {
    fn eq(&self, other: &B) -> bool {
        **self == *other.as_ref()
    }
}

impl<M: Memory> Eq for Sds<M> {}

impl<M: Memory> PartialOrd for Sds<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M: Memory> Ord for Sds<M> {
    /// By bytes, then by length.
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<M: Memory> Hash for Sds<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<M: Memory> AsRef<[u8]> for Sds<M> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<M: Memory> Borrow<[u8]> for Sds<M> {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl<M: Memory> fmt::Debug for Sds<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

impl<M: Memory> fmt::Write for Sds<M> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.try_reserve(text.len()).map_err(|_| fmt::Error)?;
        self.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_the_length() {
        let header = |length: usize| Sds::<Global>::from(&alloc::vec![7; length][..]).header_bytes();
        let of = [(0, 3), (1, 1), (31, 1), (32, 3), (255, 3), (256, 5), (65_535, 5), (65_536, 9)];
        assert_eq!(of.map(|(length, _)| header(length)), of.map(|(_, bytes)| bytes));
        assert_eq!(HeaderClass::growable(1 << 32), Bits64);
        assert_eq!(HeaderClass::growable((1 << 32) - 1), Bits32);
        assert_eq!(HeaderClass::growable(5), Bits8);
    }

    #[test]
    fn it_grows_twofold_and_from_1_mib_by_1_mib() {
        let mut string = Sds::<Global>::new();
        string.resize(1000);
        assert_eq!(string.capacity(), 2000);
        string.resize(GREEDY_BYTES);
        assert_eq!(string.capacity(), 2 * GREEDY_BYTES);
        string.resize(2 * GREEDY_BYTES + 1);
        assert_eq!(string.capacity(), 3 * GREEDY_BYTES + 1);
    }

    #[test]
    fn too_much_is_answered() {
        let mut string = Sds::<Global>::from("kept");
        assert_eq!(string.try_reserve(usize::MAX), Err(OutOfMemory { bytes: usize::MAX }));
        assert!(string.try_reserve(isize::MAX as usize - 2).is_err());
        assert_eq!(string, "kept");
    }
}
