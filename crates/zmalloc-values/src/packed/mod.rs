//! Lists of elements in one block, one entry behind the other: [`Listpack`] and [`Ziplist`].
//!
//! Both are a [`Packed`] over a [`Format`], with the same calls. An entry says its own length in front, so the list is
//! walked forward, and lets its start be found from behind, so it is walked backward. To insert and to remove moves what is
//! behind: they are for lists of some hundred bytes to some KiB. What they differ in is how the way back is found, and
//! what that costs when something changes; the pages of the two draw it.

mod listpack;
mod ziplist;

pub use listpack::{Listpack, ListpackFormat};
pub use ziplist::{Ziplist, ZiplistFormat};

use crate::element::Element;
use crate::error::FormatError;
use crate::memory::{Global, Memory};
use crate::sds::Sds;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use core::ops::Range;
use sealed::{Content, Entry};

/// A list of elements in one block, in the format `F`. Use it by its names, [`Listpack`] and [`Ziplist`].
///
/// ```
/// use zmalloc_values::Listpack;
///
/// let mut list: Listpack = Listpack::new();
/// for element in ["apple", "42", "pear"] {
///     list.push_back(element);
/// }
/// let at = list.find(list.first(), "42", 0).unwrap();
/// list.replace(at, "quince");
/// list.insert_before(at, "plum");
/// let backward: Vec<String> = list.iter().rev().map(|element| element.to_string()).collect();
/// assert_eq!(backward, ["pear", "quince", "plum", "apple"]);
///
/// // What others wrote is read after a look at every byte.
/// let copy = Listpack::from_bytes(list.as_bytes()).unwrap();
/// assert!(copy == list);
/// ```
///
/// A call that adds panics where the list would pass 1 GiB; [`fits`](Packed::fits) tells before.
///
/// A [`Position`] holds until the list changes. One that no longer does may answer anything or panic, but reads nothing
/// outside of the list.
pub struct Packed<F: Format, M: Memory = Global> {
    bytes: Sds<M>,
    format: PhantomData<fn() -> F>,
}

/// Where an entry begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(usize);

/// How entries lie in the block; implemented by [`ListpackFormat`] and [`ZiplistFormat`].
pub trait Format: sealed::Rules + 'static {}

/// No list gets larger.
const BYTES_MAX: usize = 1 << 30;
/// The mark behind the last entry.
const END: u8 = 0xFF;
/// The number of elements that says: more than can be said here.
const COUNT_UNKNOWN: u16 = u16::MAX;

mod sealed {
    use super::{Element, FormatError, Memory, Range, Sds};

    /// An entry, as it lies in the bytes.
    pub struct Entry {
        pub content: Content,
        pub end: usize,
    }

    pub enum Content {
        Integer(i64),
        Bytes(Range<usize>),
    }

    /// What the two formats do differently. Offsets are of entries or of the end mark.
    pub trait Rules {
        const NAME: &'static str;
        const HEADER_BYTES: usize;
        /// Where the header has the number of elements.
        const COUNT_AT: usize;
        /// What an entry takes at most beside its bytes.
        const OVERHEAD_BYTES_MAX: usize;

        /// The header of an empty list, with the end mark.
        fn empty() -> &'static [u8];

        /// The entry at an offset within bytes of which nothing is known, but for what its neighbours say of it.
        fn decode(bytes: &[u8], at: usize) -> Result<Entry, FormatError>;

        /// What [`decode`](Rules::decode) leaves open, for an entry behind that at `previous`.
        fn check_link(bytes: &[u8], previous: Option<usize>, at: usize) -> Result<(), FormatError>;

        /// What the header says beside the two lengths.
        fn check_header(bytes: &[u8], last: Option<usize>) -> Result<(), FormatError>;

        /// The entry before that at `at`.
        fn previous(bytes: &[u8], at: usize) -> Option<usize>;

        /// Replaces whole entries by one or none, and mends their neighbours and the header, but for the number of elements.
        fn splice<M: Memory>(bytes: &mut Sds<M>, range: Range<usize>, element: Option<Element<'_>>);
    }
}

impl<F: Format, M: Memory> Packed<F, M> {
    /// An empty list: a header and an end mark.
    pub fn new() -> Self {
        Packed { bytes: Sds::from(F::empty()), format: PhantomData }
    }

    /// A copy of bytes that have the format, or what is wrong with them. Every byte is looked at.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        check::<F>(bytes)?;
        Ok(Packed { bytes: Sds::from(bytes), format: PhantomData })
    }

    /// As [`from_bytes`](Packed::from_bytes), without a copy.
    pub fn from_sds(bytes: Sds<M>) -> Result<Self, FormatError> {
        check::<F>(&bytes)?;
        Ok(Packed { bytes, format: PhantomData })
    }

    /// The list in its format.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The list in its format, without a copy.
    pub fn into_sds(self) -> Sds<M> {
        self.bytes
    }

    /// What its block counts for in the ledger, in bytes.
    pub fn charged_size(&self) -> usize {
        self.bytes.charged_size()
    }

    /// The number of elements. O(1) below 65,535 of them; beyond, the header cannot say, and they are counted.
    pub fn len(&self) -> usize {
        match self.count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => count.into(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == F::HEADER_BYTES + 1
    }

    /// Whether an element of `bytes` bytes may be added without passing the size that a list may have.
    pub fn fits(&self, bytes: usize) -> bool {
        bytes < BYTES_MAX && self.bytes.len() + bytes + F::OVERHEAD_BYTES_MAX <= BYTES_MAX
    }

    /// Gives back what the block has beyond the list.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// The elements, from either end.
    pub fn iter(&self) -> Iter<'_, F> {
        self.iter_from(self.first())
    }

    /// The elements from a position on; none without a position.
    pub fn iter_from(&self, position: Option<Position>) -> Iter<'_, F> {
        let end = self.end();
        Iter { bytes: &self.bytes, front: position.map_or(end, |Position(at)| at), back: end, format: PhantomData }
    }

    /// Where the first element is.
    pub fn first(&self) -> Option<Position> {
        self.position(F::HEADER_BYTES)
    }

    /// Where the last element is. O(1).
    pub fn last(&self) -> Option<Position> {
        F::previous(&self.bytes, self.end()).map(Position)
    }

    /// Where the element behind is.
    pub fn next(&self, position: Position) -> Option<Position> {
        self.position(trusted::<F>(&self.bytes, position.0).end)
    }

    /// Where the element before is. O(1).
    pub fn previous(&self, position: Position) -> Option<Position> {
        F::previous(&self.bytes, position.0).map(Position)
    }

    /// Where the element with that index is; -1 is the last. Walks from the nearer end.
    pub fn seek(&self, index: isize) -> Option<Position> {
        let length = self.len();
        let index = if index < 0 { length.checked_sub(index.unsigned_abs())? } else { index.unsigned_abs() };
        if index >= length {
            return None;
        }
        if index <= length / 2 {
            (0..index).try_fold(self.first()?, |position, _| self.next(position))
        } else {
            (index + 1..length).try_fold(self.last()?, |position, _| self.previous(position))
        }
    }

    /// The element there.
    pub fn get(&self, position: Position) -> Element<'_> {
        element(&self.bytes, trusted::<F>(&self.bytes, position.0).content)
    }

    /// Where the first element is, from a position on, that equals one; of those that follow looks only at each after
    /// `skip` others: with 1, at the keys of pairs.
    pub fn find<'a>(&self, from: Option<Position>, wanted: impl Into<Element<'a>>, skip: usize) -> Option<Position> {
        let wanted = wanted.into();
        let mut at = from?.0;
        loop {
            if self.bytes[at] == END {
                return None;
            }
            let entry = trusted::<F>(&self.bytes, at);
            let end = entry.end;
            if element(&self.bytes, entry.content) == wanted {
                return Some(Position(at));
            }
            at = end;
            for _ in 0..skip {
                if self.bytes[at] == END {
                    return None;
                }
                at = trusted::<F>(&self.bytes, at).end;
            }
        }
    }

    /// Adds an element in front.
    pub fn push_front<'a>(&mut self, element: impl Into<Element<'a>>) {
        self.splice(F::HEADER_BYTES..F::HEADER_BYTES, 0, Some(element.into()));
    }

    /// Adds an element at the end.
    pub fn push_back<'a>(&mut self, element: impl Into<Element<'a>>) {
        let end = self.end();
        self.splice(end..end, 0, Some(element.into()));
    }

    /// Adds an element before another one; where it is then is where the other was.
    pub fn insert_before<'a>(&mut self, position: Position, element: impl Into<Element<'a>>) {
        self.splice(position.0..position.0, 0, Some(element.into()));
    }

    /// Adds an element behind another one, and says where it is.
    pub fn insert_after<'a>(&mut self, position: Position, element: impl Into<Element<'a>>) -> Position {
        let at = trusted::<F>(&self.bytes, position.0).end;
        self.splice(at..at, 0, Some(element.into()));
        Position(at)
    }

    /// Puts an element in the place of another one; the position stays.
    pub fn replace<'a>(&mut self, position: Position, element: impl Into<Element<'a>>) {
        let end = trusted::<F>(&self.bytes, position.0).end;
        self.splice(position.0..end, 1, Some(element.into()));
    }

    /// Removes an element, and says where the next one is.
    pub fn remove(&mut self, position: Position) -> Option<Position> {
        self.remove_range(position, 1)
    }

    /// Removes up to `count` elements, and says where the next one is.
    pub fn remove_range(&mut self, position: Position, count: usize) -> Option<Position> {
        let (mut end, mut removed) = (position.0, 0);
        while removed < count && self.bytes[end] != END {
            end = trusted::<F>(&self.bytes, end).end;
            removed += 1;
        }
        self.splice(position.0..end, removed, None);
        self.position(position.0)
    }

    /// Removes all elements, keeping the block.
    pub fn clear(&mut self) {
        let all = 0..self.bytes.len();
        self.bytes.replace_range(all, F::empty());
    }

    /// Where the end mark is.
    fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    fn position(&self, at: usize) -> Option<Position> {
        (self.bytes[at] != END).then_some(Position(at))
    }

    fn count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[F::COUNT_AT], self.bytes[F::COUNT_AT + 1]])
    }

    /// Replaces whole entries, `removed` in number, by one or none.
    fn splice(&mut self, range: Range<usize>, removed: usize, element: Option<Element<'_>>) {
        if let Some(element) = element {
            let bytes = if let Element::Bytes(bytes) = element { bytes.len() } else { size_of::<i64>() };
            assert!(self.fits(bytes), "a {} has at most {BYTES_MAX} bytes", F::NAME);
        }
        let count = self.count();
        let added = usize::from(element.is_some());
        F::splice(&mut self.bytes, range, element);
        if count != COUNT_UNKNOWN {
            let count = u16::try_from(usize::from(count) - removed + added).unwrap_or(COUNT_UNKNOWN);
            self.bytes[F::COUNT_AT..F::COUNT_AT + 2].copy_from_slice(&count.to_le_bytes());
        }
    }
}

/// Looks at every byte: what this lets through, no call panics at.
fn check<F: Format>(bytes: &[u8]) -> Result<(), FormatError> {
    let error = |at, what| Err(FormatError { format: F::NAME, at, what });
    if bytes.len() <= F::HEADER_BYTES {
        return error(bytes.len(), "the header is cut off");
    }
    if bytes.len() > BYTES_MAX {
        return error(0, "more than 1 GiB");
    }
    if u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize != bytes.len() {
        return error(0, "the header says another number of bytes");
    }
    let (mut at, mut last, mut count) = (F::HEADER_BYTES, None, 0usize);
    loop {
        match bytes.get(at) {
            None => return error(at, "there is no end mark"),
            Some(&END) => break,
            Some(_) => {}
        }
        let entry = F::decode(bytes, at)?;
        F::check_link(bytes, last, at)?;
        (last, at, count) = (Some(at), entry.end, count + 1);
    }
    if at + 1 != bytes.len() {
        return error(at, "there are bytes behind the end mark");
    }
    F::check_header(bytes, last)?;
    let said = u16::from_le_bytes([bytes[F::COUNT_AT], bytes[F::COUNT_AT + 1]]);
    if said != COUNT_UNKNOWN && usize::from(said) != count {
        return error(F::COUNT_AT, "the header says another number of elements");
    }
    Ok(())
}

/// An entry of bytes that were checked, or that were written here.
fn trusted<F: Format>(bytes: &[u8], at: usize) -> Entry {
    F::decode(bytes, at).expect("a position that holds")
}

fn element(bytes: &[u8], content: Content) -> Element<'_> {
    match content {
        Content::Integer(integer) => Element::Integer(integer),
        Content::Bytes(range) => Element::Bytes(&bytes[range]),
    }
}

/// The elements of a list, from either end.
pub struct Iter<'a, F: Format> {
    bytes: &'a [u8],
    front: usize,
    back: usize,
    format: PhantomData<fn() -> F>,
}

impl<'a, F: Format> Iterator for Iter<'a, F> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        let entry = trusted::<F>(self.bytes, self.front);
        self.front = entry.end;
        Some(element(self.bytes, entry.content))
    }
}

impl<'a, F: Format> DoubleEndedIterator for Iter<'a, F> {
    fn next_back(&mut self) -> Option<Element<'a>> {
        if self.front >= self.back {
            return None;
        }
        self.back = F::previous(self.bytes, self.back)?;
        Some(element(self.bytes, trusted::<F>(self.bytes, self.back).content))
    }
}

impl<F: Format> FusedIterator for Iter<'_, F> {}

impl<F: Format> Clone for Iter<'_, F> {
    fn clone(&self) -> Self {
        Iter { ..*self }
    }
}

impl<'a, F: Format, M: Memory> IntoIterator for &'a Packed<F, M> {
    type Item = Element<'a>;
    type IntoIter = Iter<'a, F>;

    fn into_iter(self) -> Iter<'a, F> {
        self.iter()
    }
}

impl<F: Format, M: Memory> Default for Packed<F, M> {
    fn default() -> Self {
        Packed::new()
    }
}

impl<F: Format, M: Memory> Clone for Packed<F, M> {
    fn clone(&self) -> Self {
        Packed { bytes: self.bytes.clone(), format: PhantomData }
    }
}

impl<F: Format, M: Memory> PartialEq for Packed<F, M> {
    /// By elements.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<F: Format, M: Memory> Eq for Packed<F, M> {}

impl<F: Format, M: Memory> fmt::Debug for Packed<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|element| alloc::format!("{element}"))).finish()
    }
}
