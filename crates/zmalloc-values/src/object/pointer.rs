//! The one word that an object is, and the block that it may point to.

use crate::collection::{Hash, List, Set, SortedSet};
use crate::memory::{Memory, OutOfMemory};
use crate::sds::Sds;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::num::NonZero;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering, fence};

/// A small integer, or a counted reference to a block:
///
/// ```text
///  bit 0 set: the other bits but one are an integer
///  else the block's address
///  0        4     5       6 or 8
/// ┌────────┬─────┬───────┬──────────┐
/// │ count  │ tag │ bytes │ payload  │     an embedded string's bytes from 6 on, any other payload from 8 on
/// └────────┴─────┴───────┴──────────┘
/// ```
pub struct Pointer<M: Memory> {
    /// Either its lowest bit is set, and it is no address; or it is a live block of `M` as drawn, with this reference in
    /// its count, and the payload is one of the tag's type.
    word: NonNull<u8>,
    memory: PhantomData<fn() -> M>,
}

// SAFETY: the count is atomic, and payloads, all of which may be sent and shared, change only without other references.
unsafe impl<M: Memory> Send for Pointer<M> {}
// SAFETY: as above.
unsafe impl<M: Memory> Sync for Pointer<M> {}

/// What a block holds.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Embedded,
    Integer,
    Raw,
    List,
    Set,
    Hash,
    SortedSet,
}

/// A type that a block may hold.
///
/// # Safety
/// The tag is of no other type, and the type is aligned to at most `ALIGNMENT`.
pub unsafe trait Payload<M: Memory> {
    #[doc(hidden)]
    const TAG: u8;
}

macro_rules! payloads {
    ($($type:ty => $tag:ident),*) => {$(
        // SAFETY: each tag is in this list once, and the assertion is about the alignment.
        unsafe impl<M: Memory> Payload<M> for $type {
            const TAG: u8 = {
                const fn sent_and_shared<T: Send + Sync>() {}
                sent_and_shared::<$type>();
                assert!(align_of::<$type>() <= ALIGNMENT);
                Tag::$tag as u8
            };
        }
    )*};
}

payloads!(i64 => Integer, Sds<M> => Raw, List<M> => List, Set<M> => Set, Hash<M> => Hash, SortedSet<M> => SortedSet);

/// What an object is.
pub enum View<'a, M: Memory> {
    Integer(i64),
    Embedded(&'a [u8]),
    Raw(&'a Sds<M>),
    List(&'a List<M>),
    Set(&'a Set<M>),
    Hash(&'a Hash<M>),
    SortedSet(&'a SortedSet<M>),
}

const ALIGNMENT: usize = 8;
const TAG_AT: usize = 4;
const LENGTH_AT: usize = 5;
const EMBEDDED_AT: usize = 6;
const PAYLOAD_AT: usize = 8;
/// An embedded string cannot be longer.
pub const EMBEDDED_BYTES_MAX: usize = u8::MAX as usize;
/// Bit 0 says that it is an integer; bit 1 is spare.
const INTEGER_SHIFT: u32 = 2;
/// More references than this are a leak that ends the program, as with `Arc`.
const REFERENCES_MAX: u32 = u32::MAX / 2;

impl<M: Memory> Pointer<M> {
    /// An integer: in the word, or where it does not fit in a block.
    pub fn integer(integer: i64) -> Self {
        let word = (integer as usize) << INTEGER_SHIFT | 1;
        if (word as isize >> INTEGER_SHIFT) as i64 != integer {
            return Pointer::block(integer);
        }
        let word = NonZero::new(word).expect("bit 0 is set");
        Pointer { word: NonNull::without_provenance(word), memory: PhantomData }
    }

    /// A string in the block itself, of at most [`EMBEDDED_BYTES_MAX`] bytes.
    pub fn embedded(bytes: &[u8]) -> Self {
        assert!(bytes.len() <= EMBEDDED_BYTES_MAX);
        let pointer = Pointer::allocate(Tag::Embedded as u8, EMBEDDED_AT + bytes.len());
        // SAFETY: the block has room for that many bytes from there on.
        unsafe {
            pointer.word.add(LENGTH_AT).write(bytes.len() as u8);
            pointer.word.add(EMBEDDED_AT).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        pointer
    }

    /// Any other payload.
    pub fn block<T: Payload<M>>(payload: T) -> Self {
        let pointer = Pointer::allocate(T::TAG, PAYLOAD_AT + size_of::<T>());
        // SAFETY: the block has room for it there, aligned.
        unsafe { pointer.word.add(PAYLOAD_AT).cast().write(payload) };
        pointer
    }

    pub fn view(&self) -> View<'_, M> {
        let Some(tag) = self.tag() else { return View::Integer((self.address() as isize >> INTEGER_SHIFT) as i64) };
        // SAFETY: the payload is one of the tag's type, and lives as long as this reference.
        unsafe {
            let payload = self.word.add(PAYLOAD_AT);
            match tag {
                Tag::Embedded => {
                    let bytes = self.word.add(EMBEDDED_AT).as_ptr();
                    View::Embedded(core::slice::from_raw_parts(bytes, self.embedded_length()))
                }
                Tag::Integer => View::Integer(payload.cast().read()),
                Tag::Raw => View::Raw(payload.cast().as_ref()),
                Tag::List => View::List(payload.cast().as_ref()),
                Tag::Set => View::Set(payload.cast().as_ref()),
                Tag::Hash => View::Hash(payload.cast().as_ref()),
                Tag::SortedSet => View::SortedSet(payload.cast().as_ref()),
            }
        }
    }

    /// The payload to change, if it is of that type and there is no other reference.
    pub fn unique<T: Payload<M>>(&mut self) -> Option<&mut T> {
        let ours = self.tag().is_some_and(|tag| tag as u8 == T::TAG) && self.references() == Some(1);
        // SAFETY: the payload is one of the tag's type. There is no other reference, and as this one is borrowed mutably
        // none can be made meanwhile; the count was read with acquire, so what others did with theirs is done.
        ours.then(|| unsafe { self.word.add(PAYLOAD_AT).cast().as_mut() })
    }

    /// The number of references to the block; `None` without one.
    pub fn references(&self) -> Option<u32> {
        self.tag().map(|_| self.count().load(Ordering::Acquire))
    }

    /// What the block counts for, without what its payload owns.
    pub fn charged_size(&self) -> usize {
        // SAFETY: a live block, and its layout.
        self.tag().map_or(0, |tag| unsafe { M::charged_size(self.word, self.layout(tag)) })
    }

    /// Whether the two are one block, or one integer.
    pub fn is(&self, other: &Self) -> bool {
        self.word == other.word
    }

    fn allocate(tag: u8, bytes: usize) -> Self {
        let layout = layout(bytes);
        let block = M::allocate(layout).unwrap_or_else(|| OutOfMemory { bytes: layout.size() }.abort());
        // SAFETY: a new block with room for count and tag, aligned for them; the length is 0 where it is not used.
        unsafe {
            block.ptr.cast::<AtomicU32>().write(AtomicU32::new(1));
            block.ptr.add(TAG_AT).write(tag);
            block.ptr.add(LENGTH_AT).write(0);
        }
        Pointer { word: block.ptr, memory: PhantomData }
    }

    fn address(&self) -> usize {
        self.word.addr().get()
    }

    /// The block's tag; `None` without one.
    fn tag(&self) -> Option<Tag> {
        // SAFETY: it is a live block, whose tag was written from a `Tag`.
        (self.address() & 1 == 0).then(|| unsafe { self.word.add(TAG_AT).cast().read() })
    }

    /// Only with a block.
    fn count(&self) -> &AtomicU32 {
        debug_assert!(self.address() & 1 == 0);
        // SAFETY: a live block begins with its count.
        unsafe { self.word.cast().as_ref() }
    }

    /// Only with a block.
    fn embedded_length(&self) -> usize {
        // SAFETY: a live block has it there.
        unsafe { self.word.add(LENGTH_AT).read().into() }
    }

    /// That which the block of that tag was allocated with.
    fn layout(&self, tag: Tag) -> Layout {
        layout(match tag {
            Tag::Embedded => EMBEDDED_AT + self.embedded_length(),
            Tag::Integer => PAYLOAD_AT + size_of::<i64>(),
            Tag::Raw => PAYLOAD_AT + size_of::<Sds<M>>(),
            Tag::List => PAYLOAD_AT + size_of::<List<M>>(),
            Tag::Set => PAYLOAD_AT + size_of::<Set<M>>(),
            Tag::Hash => PAYLOAD_AT + size_of::<Hash<M>>(),
            Tag::SortedSet => PAYLOAD_AT + size_of::<SortedSet<M>>(),
        })
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes.max(PAYLOAD_AT), ALIGNMENT).expect("some hundred bytes")
}

impl<M: Memory> Clone for Pointer<M> {
    fn clone(&self) -> Self {
        if self.tag().is_some() {
            // Relaxed: who has a reference needs no order to make another one.
            let references = self.count().fetch_add(1, Ordering::Relaxed);
            assert!(references < REFERENCES_MAX, "more than {REFERENCES_MAX} references to an object");
        }
        Pointer { word: self.word, memory: PhantomData }
    }
}

impl<M: Memory> Drop for Pointer<M> {
    fn drop(&mut self) {
        let Some(tag) = self.tag() else { return };
        // The only reference needs no exchange: nobody is left who could make another one.
        if self.count().load(Ordering::Acquire) != 1 {
            if self.count().fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        let layout = self.layout(tag);
        // SAFETY: the last reference: the payload, one of the tag's type, and then the block are not used again.
        unsafe {
            let payload = self.word.add(PAYLOAD_AT).as_ptr();
            match tag {
                Tag::Embedded | Tag::Integer => {}
                Tag::Raw => payload.cast::<Sds<M>>().drop_in_place(),
                Tag::List => payload.cast::<List<M>>().drop_in_place(),
                Tag::Set => payload.cast::<Set<M>>().drop_in_place(),
                Tag::Hash => payload.cast::<Hash<M>>().drop_in_place(),
                Tag::SortedSet => payload.cast::<SortedSet<M>>().drop_in_place(),
            }
            M::free(self.word, layout);
        }
    }
}
