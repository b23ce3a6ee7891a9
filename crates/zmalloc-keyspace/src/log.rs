//! Where entries lie: segments of one size, written from their start to their end, and given back as a whole.
//!
//! Because all are of one size, and memory that holds anything holds nothing but entries, what the keyspace has is what it
//! needs: however sizes change, a segment that is given back serves any of them.

use crate::deadline;
use crate::entry::{self, Entry, NewEntry, UNIT};
use allocator_api2::vec::Vec as VecIn;
use zmalloc_values::{Counted, Memory};

/// Where an entry lies: its distance from the start, in units of the entry's alignment.
pub(crate) type Place = u32;

/// In which order segments are looked at when something has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// What came lately.
    Small,
    /// What was used more than once.
    Main,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is in it. It may have its memory still.
    Free,
    /// Written to.
    Open,
    /// Waits in its queue.
    Sealed,
    /// Its entries are being moved away.
    Cleaned,
}

pub(crate) struct Segment<M: Memory> {
    bytes: Bytes<M>,
    state: State,
    queue: Queue,
    /// How often it was given back: who remembers a place in it knows whether it is still that.
    generation: u32,
    /// Bytes of the entries that are still there.
    live: u32,
    /// What deadlines in it count from.
    base_ms: u64,
    /// The first deadline in it that the wheel does not know of.
    due_ms: u64,
    /// Its neighbours among the sealed of its queue, or the next of the free.
    before: u32,
    after: u32,
}

/// No segment.
const NONE: u32 = u32::MAX;

type Bytes<M> = VecIn<u8, Counted<M>>;

/// How many free segments keep their memory.
const SPARES_MAX: usize = 4;
/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

impl<M: Memory> Segment<M> {
    fn free(queue: Queue) -> Self {
        Segment {
            bytes: VecIn::new_in(Counted::new()),
            state: State::Free,
            queue,
            generation: 0,
            live: 0,
            base_ms: 0,
            due_ms: NEVER,
            before: NONE,
            after: NONE,
        }
    }

    pub(crate) fn base_ms(&self) -> u64 {
        self.base_ms
    }

    pub(crate) fn due_ms(&self) -> u64 {
        self.due_ms
    }

    pub(crate) fn set_due_ms(&mut self, due_ms: u64) {
        self.due_ms = due_ms;
    }

    pub(crate) fn queue(&self) -> Queue {
        self.queue
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) fn used(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn live(&self) -> usize {
        self.live as usize
    }
}

/// The segments of a shard.
pub(crate) struct Log<M: Memory> {
    segments: VecIn<Segment<M>, Counted<M>>,
    free: u32,
    /// Free ones that have their memory still: taken again without the allocator, whose own reserve would be one more.
    spare: u32,
    spares: usize,
    /// The oldest and the newest sealed segment of each queue.
    sealed: [(u32, u32); 2],
    open: [Option<u32>; 2],
    /// How many of each queue have memory.
    held: [usize; 2],
    segment_bytes: usize,
    has_access: bool,
    charged: usize,
    live: usize,
}

impl<M: Memory> Log<M> {
    pub(crate) fn new(segment_bytes: usize, has_access: bool) -> Self {
        Log {
            segments: VecIn::new_in(Counted::new()),
            free: NONE,
            spare: NONE,
            spares: 0,
            sealed: [(NONE, NONE); 2],
            open: [None, None],
            held: [0, 0],
            segment_bytes,
            has_access,
            charged: 0,
            live: 0,
        }
    }

    /// Bytes that its segments are charged, and those of what describes them.
    pub(crate) fn charged(&self) -> usize {
        self.charged + self.segments.allocator().charged_size()
    }

    /// Bytes of all entries that are there.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// How many segments of a queue have memory.
    pub(crate) fn held(&self, queue: Queue) -> usize {
        self.held[queue as usize]
    }

    pub(crate) fn segments(&self) -> &[Segment<M>] {
        &self.segments
    }

    pub(crate) fn segment_mut(&mut self, id: u32) -> &mut Segment<M> {
        &mut self.segments[id as usize]
    }

    pub(crate) fn segment(&self, id: u32) -> &Segment<M> {
        &self.segments[id as usize]
    }

    fn units(&self) -> u32 {
        (self.segment_bytes / UNIT) as u32
    }

    /// The segment of a place.
    #[inline]
    pub(crate) fn segment_of(&self, place: Place) -> u32 {
        place / self.units()
    }

    #[inline]
    fn offset_of(&self, place: Place) -> usize {
        (place % self.units()) as usize * UNIT
    }

    pub(crate) fn place(&self, segment: u32, offset: usize) -> Place {
        segment * self.units() + (offset / UNIT) as u32
    }

    /// The entry at a place.
    #[inline]
    pub(crate) fn entry(&self, place: Place) -> Entry<'_> {
        let segment = &self.segments[self.segment_of(place) as usize];
        Entry::parse(&segment.bytes[self.offset_of(place)..], self.has_access)
    }

    /// The entry that begins at an offset of a segment, if one does.
    pub(crate) fn entry_at(&self, segment: u32, offset: usize) -> Option<Entry<'_>> {
        let bytes = self.segments[segment as usize].bytes.get(offset..).filter(|bytes| !bytes.is_empty())?;
        Some(Entry::parse(bytes, self.has_access))
    }

    /// The bytes of the entry at a place, and all that follow, to be changed.
    pub(crate) fn bytes_mut(&mut self, place: Place) -> &mut [u8] {
        let (segment, offset) = (self.segment_of(place), self.offset_of(place));
        &mut self.segments[segment as usize].bytes[offset..]
    }

    /// Whether so many bytes fit in what is open of a queue, and their deadline can be told from when it was opened.
    #[inline]
    pub(crate) fn has_room(&self, queue: Queue, bytes: usize, now_ms: u64) -> bool {
        self.open[queue as usize].is_some_and(|open| {
            let segment = &self.segments[open as usize];
            segment.bytes.len() + bytes <= self.segment_bytes
                && now_ms.saturating_sub(segment.base_ms) < deadline::NEAR_MS
        })
    }

    /// Opens another segment of a queue, and seals the one before. False if there is no memory, or no place is left.
    pub(crate) fn open(&mut self, queue: Queue, now_ms: u64) -> bool {
        let Some((id, bytes)) = self.take_spare().or_else(|| self.take_free(queue)) else { return false };
        self.seal(queue);
        let segment = &mut self.segments[id as usize];
        let generation = segment.generation;
        *segment = Segment { generation, bytes, state: State::Open, base_ms: now_ms, ..Segment::free(queue) };
        self.open[queue as usize] = Some(id);
        self.held[queue as usize] += 1;
        true
    }

    /// How many segments can be opened without the allocator.
    pub(crate) fn spares(&self) -> usize {
        self.spares
    }

    /// Gives the memory of a spare segment to the allocator. False if there is none.
    pub(crate) fn drop_spare(&mut self) -> bool {
        let Some((id, bytes)) = self.take_spare() else { return false };
        self.charged -= bytes.allocator().charged_size();
        self.segments[id as usize].after = self.free;
        self.free = id;
        true
    }

    fn take_spare(&mut self) -> Option<(u32, Bytes<M>)> {
        let id = self.spare;
        let segment = self.segments.get_mut(id as usize)?;
        self.spare = segment.after;
        self.spares -= 1;
        Some((id, std::mem::replace(&mut segment.bytes, VecIn::new_in(Counted::new()))))
    }

    fn take_free(&mut self, queue: Queue) -> Option<(u32, Bytes<M>)> {
        let mut bytes = VecIn::new_in(Counted::new());
        bytes.try_reserve_exact(self.segment_bytes).ok()?;
        let id = self.free_number(queue)?;
        self.charged += bytes.allocator().charged_size();
        Some((id, bytes))
    }

    fn free_number(&mut self, queue: Queue) -> Option<u32> {
        if self.free != NONE {
            let id = self.free;
            self.free = self.segments[id as usize].after;
            return Some(id);
        }
        let id = self.segments.len() as u32;
        // The last place is nobody's: see the index.
        let is_in_reach = u64::from(id + 1) * u64::from(self.units()) < u64::from(Place::MAX);
        (is_in_reach && self.segments.try_reserve(1).is_ok()).then(|| {
            self.segments.push(Segment::free(queue));
            id
        })
    }

    /// Nothing more is written to what is open of a queue.
    pub(crate) fn seal(&mut self, queue: Queue) {
        if let Some(open) = self.open[queue as usize].take() {
            self.put_back(open);
        }
    }

    /// When the open segment of a queue was opened.
    pub(crate) fn open_base_ms(&self, queue: Queue) -> u64 {
        self.open[queue as usize].map_or(0, |open| self.segments[open as usize].base_ms)
    }

    /// Writes an entry for which there is room.
    pub(crate) fn append(&mut self, queue: Queue, entry: &NewEntry<'_>) -> Place {
        let id = self.open[queue as usize].expect("an open segment with room");
        let segment = &mut self.segments[id as usize];
        let offset = segment.bytes.len();
        entry.write(|part| segment.bytes.extend_from_slice(part));
        let size = segment.bytes.len() - offset;
        debug_assert!(segment.bytes.len() <= self.segment_bytes);
        segment.live += size as u32;
        self.live += size;
        self.place(id, offset)
    }

    /// Copies the entry at a place, with another deadline if it has one, to where there is room.
    pub(crate) fn copy(&mut self, from: Place, queue: Queue, deadline: impl FnOnce(u64, u32) -> u32) -> Place {
        let id = self.open[queue as usize].expect("an open segment with room");
        let (source, offset) = (self.segment_of(from), self.offset_of(from));
        let base_ms = self.segments[source as usize].base_ms;
        // The two differ, unless an entry is moved within what is open.
        let mut target = std::mem::replace(&mut self.segments[id as usize].bytes, VecIn::new_in(Counted::new()));
        let at = target.len();
        let bytes = if source == id { &target[offset..] } else { &self.segments[source as usize].bytes[offset..] };
        let entry = Entry::parse(bytes, self.has_access);
        let (size, deadline_at) = (entry.size, entry.deadline.map(|raw| (entry.deadline_at(), deadline(base_ms, raw))));
        if source == id {
            target.extend_from_within(offset..offset + size);
        } else {
            target.extend_from_slice(&self.segments[source as usize].bytes[offset..offset + size]);
        }
        // The wheel does not know of it there.
        entry::set_noted(&mut target[at..], false);
        if let Some((deadline_at, deadline)) = deadline_at {
            target[at + deadline_at..][..4].copy_from_slice(&deadline.to_le_bytes());
        }
        let segment = &mut self.segments[id as usize];
        segment.bytes = target;
        segment.live += size as u32;
        self.live += size;
        self.place(id, at)
    }

    /// The entry at a place is no more. A segment without any is given back.
    pub(crate) fn bury(&mut self, place: Place) {
        let size = self.entry(place).size;
        let id = self.segment_of(place);
        let segment = &mut self.segments[id as usize];
        segment.live -= size as u32;
        self.live -= size;
        if segment.live == 0 && segment.state == State::Sealed {
            self.give_back(id);
        }
    }

    fn give_back(&mut self, id: u32) {
        if self.segments[id as usize].state == State::Sealed {
            self.unlink(id);
        }
        let segment = &mut self.segments[id as usize];
        self.held[segment.queue as usize] -= 1;
        let (queue, generation) = (segment.queue, segment.generation.wrapping_add(1));
        let mut bytes = std::mem::replace(&mut segment.bytes, VecIn::new_in(Counted::new()));
        bytes.clear();
        *segment = Segment { generation, bytes, after: self.spare, ..Segment::free(queue) };
        self.spare = id;
        self.spares += 1;
        // Without any entry all of it goes.
        let most = if self.live == 0 { 0 } else { SPARES_MAX };
        while self.spares > most {
            self.drop_spare();
        }
    }

    fn unlink(&mut self, id: u32) {
        let Segment { before, after, queue, .. } = self.segments[id as usize];
        match before {
            NONE => self.sealed[queue as usize].0 = after,
            before => self.segments[before as usize].after = after,
        }
        match after {
            NONE => self.sealed[queue as usize].1 = before,
            after => self.segments[after as usize].before = before,
        }
    }

    /// The oldest sealed segment of a queue, which is to be cleaned.
    pub(crate) fn take_oldest(&mut self, queue: Queue) -> Option<u32> {
        let oldest = self.sealed[queue as usize].0;
        (oldest != NONE).then(|| self.take(oldest))
    }

    /// The sealed segment with the least in it, if that is at most so much; which is to be cleaned.
    pub(crate) fn take_sparsest(&mut self, live_max: usize) -> Option<u32> {
        let sealed = self.segments.iter().enumerate().filter(|(_, segment)| segment.state == State::Sealed);
        let (id, _) =
            sealed.min_by_key(|(_, segment)| segment.live).filter(|(_, segment)| segment.live() <= live_max)?;
        Some(self.take(id as u32))
    }

    pub(crate) fn is_sealed(&self, id: u32) -> bool {
        self.segments.get(id as usize).is_some_and(|segment| segment.state == State::Sealed)
    }

    /// A sealed segment is to be cleaned.
    pub(crate) fn take(&mut self, id: u32) -> u32 {
        self.unlink(id);
        self.segments[id as usize].state = State::Cleaned;
        id
    }

    /// What was to be cleaned has nothing in it any more.
    pub(crate) fn release(&mut self, id: u32) {
        debug_assert_eq!(self.segments[id as usize].live, 0);
        self.give_back(id);
    }

    /// What is open or was to be cleaned is sealed, as the newest of its queue.
    pub(crate) fn put_back(&mut self, id: u32) {
        let queue = self.segments[id as usize].queue as usize;
        let newest = self.sealed[queue].1;
        let segment = &mut self.segments[id as usize];
        (segment.state, segment.before, segment.after) = (State::Sealed, newest, NONE);
        match newest {
            NONE => self.sealed[queue].0 = id,
            newest => self.segments[newest as usize].after = id,
        }
        self.sealed[queue].1 = id;
        if self.segments[id as usize].live == 0 {
            self.give_back(id);
        }
    }
}
