//! Values of many elements, each in the form that fits it: [`List`], [`Set`], [`Hash`](struct@Hash) and [`SortedSet`].

mod hash;
mod list;
mod ordered;
mod set;
mod sorted_set;
mod table;

pub use hash::{Hash, HashIter};
pub use list::{List, ListIter};
pub use set::{Set, SetIter};
pub use sorted_set::{Inserted, SortedSet, SortedSetIter};

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// A string that is the text of an integer.
    Int,
    /// A short string in the block of its object.
    Embedded,
    /// A string in a block of its own.
    Raw,
    /// Few short elements in one block.
    Listpack,
    /// A list over several listpacks.
    Quicklist,
    /// A set of integers in one block.
    Intset,
    /// A hash table.
    HashTable,
    /// A hash table of scores beside an ordered index. Redis has a skip list for the index.
    Ordered,
}

impl Encoding {
    /// What Redis's `OBJECT ENCODING` says.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::Embedded => "embstr",
            Encoding::Raw => "raw",
            Encoding::Listpack => "listpack",
            Encoding::Quicklist => "quicklist",
            Encoding::Intset => "intset",
            Encoding::HashTable => "hashtable",
            Encoding::Ordered => "skiplist",
        }
    }
}
