//! A value of any type behind one counted word: [`Object`].

mod pointer;

use crate::collection::{Encoding, Hash, List, Set, SortedSet};
use crate::element::{Element, parse_integer};
use crate::memory::{Global, Memory};
use crate::sds::Sds;
use crate::thresholds::Thresholds;
use core::fmt;
use pointer::{EMBEDDED_BYTES_MAX, Pointer, View};

/// A value of any type, in the encoding that fits it: one word, and a counted reference.
///
/// ```text
///  int        ┌──────────┐
///             │ integer 1│                                     no block, so every integer of 62 bits is shared
///             └──────────┘
///  embstr     ┌──────────┐    ┌───────┬─────┬────────┬────────────────┐
///             │ address 0│ ─► │ count │ tag │ length │ up to 44 bytes │
///             └──────────┘    └───────┴─────┴────────┴────────────────┘
///  raw        ┌──────────┐    ┌───────┬─────┬───┐    ┌────────┬──────────────┬───┐
///             │ address 0│ ─► │ count │ tag │ ──│──► │ header │ bytes        │ 0 │
///             └──────────┘    └───────┴─────┴───┘    └────────┴──────────────┴───┘
///  the others                 ┌───────┬─────┬──────┐
///             │ address 0│ ─► │ count │ tag │ form │ ─► a listpack, an intset, a table, …
///             └──────────┘    └───────┴─────┴──────┘
/// ```
///
/// A clone is another reference to the same value. What changes a value to which there are others makes a copy first, so
/// nobody else sees the change.
///
/// ```
/// use zmalloc_values::{Encoding, Object, Thresholds};
///
/// let t = &Thresholds::DEFAULT;
/// let number: Object = Object::string(b"1234", t);
/// assert_eq!((number.encoding(), number.charged_size()), (Encoding::Int, 0));
///
/// let mut greeting: Object = Object::string(b"hello", t);
/// let before = greeting.clone();
/// assert_eq!((greeting.encoding().name(), greeting.reference_count()), ("embstr", 2));
/// greeting.string_mut().unwrap().extend_from_slice(b", world");
/// assert_eq!(greeting.encoding().name(), "raw");
/// assert_eq!(&*before.string_bytes().unwrap().bytes(), b"hello");
/// ```
pub struct Object<M: Memory = Global>(Pointer<M>);

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes.
    String,
    /// A [`List`].
    List,
    /// A [`Set`].
    Set,
    /// A [`Hash`](struct@Hash).
    Hash,
    /// A [`SortedSet`].
    SortedSet,
}

impl Kind {
    /// What Redis's `TYPE` says.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Hash => "hash",
            Kind::SortedSet => "zset",
        }
    }
}

/// A value, to be read.
#[derive(Debug)]
pub enum Value<'a, M: Memory = Global> {
    /// Bytes, perhaps as the integer that they are the text of.
    String(Element<'a>),
    /// A list.
    List(&'a List<M>),
    /// A set.
    Set(&'a Set<M>),
    /// A map.
    Hash(&'a Hash<M>),
    /// A sorted set.
    SortedSet(&'a SortedSet<M>),
}

/// Integers from 0 up to here count as shared by all, as Redis has them; the others that need no block do so too, but are
/// counted as one reference, as Redis makes one.
const SHARED_END: i64 = 10_000;
/// What Redis says of those that are shared.
const SHARED_REFERENCES: u32 = i32::MAX as u32;

impl<M: Memory> Object<M> {
    /// A string: as an integer if it is the text of one, embedded if it is short, else in a block of its own.
    pub fn string(bytes: &[u8], thresholds: &Thresholds) -> Self {
        if let Some(integer) = parse_integer(bytes) {
            return Object::integer(integer);
        }
        if bytes.len() <= thresholds.string_embedded_bytes_max.min(EMBEDDED_BYTES_MAX) {
            return Object(Pointer::embedded(bytes));
        }
        Object::from(Sds::from(bytes))
    }

    /// The text of an integer. Without a block if it has at most 62 bits.
    pub fn integer(integer: i64) -> Self {
        Object(Pointer::integer(integer))
    }

    /// The type.
    pub fn kind(&self) -> Kind {
        match self.0.view() {
            View::Integer(_) | View::Embedded(_) | View::Raw(_) => Kind::String,
            View::List(_) => Kind::List,
            View::Set(_) => Kind::Set,
            View::Hash(_) => Kind::Hash,
            View::SortedSet(_) => Kind::SortedSet,
        }
    }

    /// The form.
    pub fn encoding(&self) -> Encoding {
        match self.0.view() {
            View::Integer(_) => Encoding::Int,
            View::Embedded(_) => Encoding::Embedded,
            View::Raw(_) => Encoding::Raw,
            View::List(list) => list.encoding(),
            View::Set(set) => set.encoding(),
            View::Hash(hash) => hash.encoding(),
            View::SortedSet(set) => set.encoding(),
        }
    }

    /// The references to the value; 2147483647 for the integers 0 to 9999, which are shared by all.
    pub fn reference_count(&self) -> u32 {
        match (self.0.references(), self.0.view()) {
            (Some(references), _) => references,
            (None, View::Integer(0..SHARED_END)) => SHARED_REFERENCES,
            (None, _) => 1,
        }
    }

    /// The value.
    pub fn value(&self) -> Value<'_, M> {
        match self.0.view() {
            View::Integer(integer) => Value::String(Element::Integer(integer)),
            View::Embedded(bytes) => Value::String(Element::Bytes(bytes)),
            View::Raw(bytes) => Value::String(Element::Bytes(bytes)),
            View::List(list) => Value::List(list),
            View::Set(set) => Value::Set(set),
            View::Hash(hash) => Value::Hash(hash),
            View::SortedSet(set) => Value::SortedSet(set),
        }
    }

    /// The bytes of a string; `None` for another type.
    pub fn string_bytes(&self) -> Option<Element<'_>> {
        match self.value() {
            Value::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The string, to be changed; `None` for another type. It is then in a block of its own, and stays there
    /// until [`compact`](Object::compact).
    pub fn string_mut(&mut self) -> Option<&mut Sds<M>> {
        let copy = match self.0.view() {
            View::Raw(_) if self.0.references() == Some(1) => None,
            View::Raw(bytes) => Some(bytes.clone()),
            View::Embedded(bytes) => Some(Sds::from(bytes)),
            View::Integer(integer) => Some(Sds::from(Element::Integer(integer))),
            _ => return None,
        };
        if let Some(copy) = copy {
            *self = Object::from(copy);
        }
        self.0.unique()
    }

    /// The list, to be changed; `None` for another type.
    pub fn list_mut(&mut self) -> Option<&mut List<M>> {
        if let View::List(list) = self.0.view()
            && self.0.references() != Some(1)
        {
            *self = Object::from(list.clone());
        }
        self.0.unique()
    }

    /// The set, to be changed; `None` for another type.
    pub fn set_mut(&mut self) -> Option<&mut Set<M>> {
        if let View::Set(set) = self.0.view()
            && self.0.references() != Some(1)
        {
            *self = Object::from(set.clone());
        }
        self.0.unique()
    }

    /// The map, to be changed; `None` for another type.
    pub fn hash_mut(&mut self) -> Option<&mut Hash<M>> {
        if let View::Hash(hash) = self.0.view()
            && self.0.references() != Some(1)
        {
            *self = Object::from(hash.clone());
        }
        self.0.unique()
    }

    /// The sorted set, to be changed; `None` for another type.
    pub fn sorted_set_mut(&mut self) -> Option<&mut SortedSet<M>> {
        if let View::SortedSet(set) = self.0.view()
            && self.0.references() != Some(1)
        {
            *self = Object::from(set.clone());
        }
        self.0.unique()
    }

    /// Brings a string that was changed into the form that fits it: an integer, embedded, or without room to grow.
    pub fn compact(&mut self, thresholds: &Thresholds) {
        let View::Raw(bytes) = self.0.view() else { return };
        let fitting = Object::string(bytes, thresholds);
        if fitting.encoding() != Encoding::Raw || bytes.capacity() > bytes.len() {
            *self = fitting;
        }
    }

    /// What all its blocks count for in the ledger, in bytes: the sum, not a sample. O(1), for a list O(listpacks). Who
    /// counts several references to it counts it several times.
    pub fn charged_size(&self) -> usize {
        let within = match self.0.view() {
            View::Integer(_) | View::Embedded(_) => 0,
            View::Raw(bytes) => bytes.charged_size(),
            View::List(list) => list.charged_size(),
            View::Set(set) => set.charged_size(),
            View::Hash(hash) => hash.charged_size(),
            View::SortedSet(set) => set.charged_size(),
        };
        self.0.charged_size() + within
    }

    /// Whether the two are references to one value.
    pub fn is(&self, other: &Self) -> bool {
        self.0.is(&other.0)
    }
}

impl<M: Memory> Clone for Object<M> {
    /// Another reference to the same value.
    fn clone(&self) -> Self {
        Object(self.0.clone())
    }
}

impl<M: Memory> From<Sds<M>> for Object<M> {
    /// A string in the block that it has.
    fn from(string: Sds<M>) -> Self {
        Object(Pointer::block(string))
    }
}

impl<M: Memory> From<List<M>> for Object<M> {
    fn from(list: List<M>) -> Self {
        Object(Pointer::block(list))
    }
}

impl<M: Memory> From<Set<M>> for Object<M> {
    fn from(set: Set<M>) -> Self {
        Object(Pointer::block(set))
    }
}

impl<M: Memory> From<Hash<M>> for Object<M> {
    fn from(hash: Hash<M>) -> Self {
        Object(Pointer::block(hash))
    }
}

impl<M: Memory> From<SortedSet<M>> for Object<M> {
    fn from(set: SortedSet<M>) -> Self {
        Object(Pointer::block(set))
    }
}

impl<M: Memory> fmt::Debug for Object<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("encoding", &self.encoding().name())
            .field("references", &self.reference_count())
            .field("value", &self.value())
            .finish()
    }
}
