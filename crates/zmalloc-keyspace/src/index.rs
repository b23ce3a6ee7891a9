//! Which entry a key has: a table of buckets of a cache line each, which grows and shrinks by one bucket at a time.
//!
//! ```text
//!  64 bytes: │ 10 tags │ 10 uses │ 10 places of 4 bytes │ next │
//! ```
//!
//! Linear hashing: of `2^level + split` buckets, those before `split` and their halves from `2^level` on are told apart by
//! one more bit of the hash. So no insertion ever moves more than one bucket's entries, and the table is always as large
//! as its load wants. What does not fit in a bucket is in another that it names, from a second list.

use crate::log::Place;
use allocator_api2::vec::Vec as VecIn;
use zmalloc_values::{Counted, Memory};

const SLOTS: usize = 10;
/// Entries for each bucket: above this one more is split, below the other two are made one.
const LOAD_MAX: usize = 7;
const LOAD_MIN: usize = 5;
/// Buckets beyond the first that a chain has at most when it is split: by far more than any has.
const CHAIN_MAX: usize = 32;
/// A slot with nothing in it.
const NOWHERE: Place = Place::MAX;
/// The most that [`Index::use_of`] counts.
pub(crate) const USES_MAX: u8 = 3;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u8; SLOTS],
    uses: [u8; SLOTS],
    places: [Place; SLOTS],
    /// One more than the place in the list of those that others name, or 0.
    next: u32,
}

const EMPTY: Bucket = Bucket { tags: [0; SLOTS], uses: [0; SLOTS], places: [NOWHERE; SLOTS], next: 0 };

/// Where an entry is in the table. Of use until the table changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// The bucket of its hash, and the one of its chain that it is in.
    first: u32,
    bucket: At,
    slot: u8,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Primary(u32),
    Beyond(u32),
}

/// Buckets in chunks, so that more of them do not move those that there are.
struct Buckets<M: Memory> {
    chunks: VecIn<VecIn<Bucket, Counted<M>>, Counted<M>>,
    /// The power of two of buckets that are allocated together.
    shift: u32,
    charged: usize,
}

impl<M: Memory> Buckets<M> {
    fn new(shift: u32) -> Self {
        Buckets { chunks: VecIn::new_in(Counted::new()), shift, charged: 0 }
    }

    fn chunk(&self) -> usize {
        1 << self.shift
    }

    fn charged(&self) -> usize {
        self.charged + self.chunks.allocator().charged_size()
    }

    fn capacity(&self) -> usize {
        self.chunks.len() << self.shift
    }

    fn next_growth(&self) -> usize {
        let list = if self.chunks.len() < self.chunks.capacity() { 0 } else { self.chunks.len().max(2) * 2 };
        let bytes = self.chunk() * size_of::<Bucket>() + list * size_of::<VecIn<Bucket, Counted<M>>>();
        // What an allocator may round up.
        bytes + bytes / 4
    }

    /// Has a bucket of this number, which is at most the next. False if there is no memory.
    fn reach(&mut self, number: usize) -> bool {
        if number < self.capacity() {
            return true;
        }
        let mut chunk = VecIn::new_in(Counted::new());
        if chunk.try_reserve_exact(self.chunk()).is_err() || self.chunks.try_reserve(1).is_err() {
            return false;
        }
        chunk.resize(self.chunk(), EMPTY);
        self.charged += chunk.allocator().charged_size();
        self.chunks.push(chunk);
        true
    }

    /// Gives back what is not needed for so many, but for a chunk to grow into.
    fn shrink(&mut self, buckets: usize) {
        while self.capacity() >= buckets + 2 * self.chunk() {
            if let Some(chunk) = self.chunks.pop() {
                self.charged -= chunk.allocator().charged_size();
            }
        }
    }

    #[inline]
    fn get(&self, number: u32) -> &Bucket {
        let (chunk, bucket) = (number >> self.shift, number as usize & (self.chunk() - 1));
        &self.chunks[chunk as usize][bucket]
    }

    #[inline]
    fn get_mut(&mut self, number: u32) -> &mut Bucket {
        let (chunk, bucket) = (number >> self.shift, number as usize & (self.chunk() - 1));
        &mut self.chunks[chunk as usize][bucket]
    }
}

/// The table of a shard.
pub(crate) struct Index<M: Memory> {
    primary: Buckets<M>,
    beyond: Buckets<M>,
    /// How many of those that others name are used: the first ones.
    beyond_used: u32,
    /// What is being put elsewhere.
    moving: VecIn<(u8, u8, Place), Counted<M>>,
    level: u32,
    split: u32,
    count: usize,
}

/// The hash's bits that choose a bucket are the lowest; those of the shard are the highest; the tag is from between.
fn tag_of(hash: u64) -> u8 {
    (hash >> 40) as u8
}

impl<M: Memory> Index<M> {
    /// With so many bytes of buckets allocated together, a power of two. `None` if there is no memory.
    pub(crate) fn new(chunk_bytes: usize) -> Option<Self> {
        let shift = (chunk_bytes / size_of::<Bucket>()).ilog2();
        let mut primary = Buckets::new(shift);
        let (beyond, level) = (Buckets::new(shift), 0);
        primary.reach(0).then_some(Index {
            primary,
            beyond,
            beyond_used: 0,
            moving: VecIn::new_in(Counted::new()),
            level,
            split: 0,
            count: 0,
        })
    }

    pub(crate) fn charged(&self) -> usize {
        self.primary.charged() + self.beyond.charged() + self.moving.allocator().charged_size()
    }

    /// Bytes that may come to that at the next insertion.
    pub(crate) fn next_growth(&self) -> usize {
        self.primary.next_growth() + self.beyond.next_growth()
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn buckets(&self) -> u32 {
        (1 << self.level) + self.split
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> u32 {
        let wide = hash as u32 & ((2 << self.level) - 1);
        if wide < self.buckets() { wide } else { wide & ((1 << self.level) - 1) }
    }

    #[inline]
    fn bucket(&self, at: At) -> &Bucket {
        match at {
            At::Primary(number) => self.primary.get(number),
            At::Beyond(number) => self.beyond.get(number),
        }
    }

    #[inline]
    fn bucket_mut(&mut self, at: At) -> &mut Bucket {
        match at {
            At::Primary(number) => self.primary.get_mut(number),
            At::Beyond(number) => self.beyond.get_mut(number),
        }
    }

    /// The entry of this hash that `is_it` says yes to.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(Place) -> bool) -> Option<Slot> {
        let tag = tag_of(hash);
        let first = self.bucket_of(hash);
        let mut at = At::Primary(first);
        loop {
            let bucket = self.bucket(at);
            for slot in 0..SLOTS {
                if bucket.tags[slot] == tag && bucket.places[slot] != NOWHERE && is_it(bucket.places[slot]) {
                    return Some(Slot { first, bucket: at, slot: slot as u8 });
                }
            }
            match bucket.next {
                0 => return None,
                next => at = At::Beyond(next - 1),
            }
        }
    }

    #[inline]
    pub(crate) fn place(&self, slot: Slot) -> Place {
        self.bucket(slot.bucket).places[slot.slot as usize]
    }

    pub(crate) fn set_place(&mut self, slot: Slot, place: Place) {
        self.bucket_mut(slot.bucket).places[slot.slot as usize] = place;
    }

    /// How often it was used of late.
    #[inline]
    pub(crate) fn uses(&self, slot: Slot) -> u8 {
        self.bucket(slot.bucket).uses[slot.slot as usize]
    }

    pub(crate) fn set_uses(&mut self, slot: Slot, uses: u8) {
        self.bucket_mut(slot.bucket).uses[slot.slot as usize] = uses;
    }

    /// Counts a use.
    #[inline]
    pub(crate) fn count_use(&mut self, slot: Slot) {
        let uses = &mut self.bucket_mut(slot.bucket).uses[slot.slot as usize];
        if *uses < USES_MAX {
            *uses += 1;
        }
    }

    /// Adds an entry that is not there. False if there is no memory.
    pub(crate) fn insert(&mut self, hash: u64, place: Place, hash_of: impl Fn(Place) -> u64) -> bool {
        if !self.put(self.bucket_of(hash), tag_of(hash), 0, place) {
            return false;
        }
        self.count += 1;
        if self.count > self.buckets() as usize * LOAD_MAX {
            self.grow(hash_of);
        }
        true
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, slot: Slot, hash_of: impl Fn(Place) -> u64) {
        let bucket = self.bucket_mut(slot.bucket);
        bucket.places[slot.slot as usize] = NOWHERE;
        let is_empty = bucket.places.iter().all(|&place| place == NOWHERE);
        if let At::Beyond(number) = slot.bucket
            && is_empty
        {
            self.unlink(slot.first, number);
            self.give_back(number, &hash_of);
            self.beyond.shrink(self.beyond_used as usize);
        }
        self.count -= 1;
        let buckets = self.buckets() as usize;
        if buckets > 1 && self.count < buckets * LOAD_MIN {
            self.shrink(&hash_of);
        }
    }

    /// Takes a bucket out of a chain, of which it is not the first.
    fn unlink(&mut self, first: u32, number: u32) {
        let next = self.beyond.get(number).next;
        let before = self.before(first, number);
        self.bucket_mut(before).next = next;
    }

    /// The bucket of a chain that names this one.
    fn before(&self, first: u32, number: u32) -> At {
        let mut at = At::Primary(first);
        loop {
            match self.bucket(at).next {
                next if next == number + 1 => return at,
                0 => unreachable!("a bucket that is in its chain"),
                next => at = At::Beyond(next - 1),
            }
        }
    }

    /// A bucket that no chain has any more is free: the last one takes its place.
    fn give_back(&mut self, number: u32, hash_of: &impl Fn(Place) -> u64) {
        let last = self.beyond_used - 1;
        if number != last {
            let bucket = *self.beyond.get(last);
            let some = bucket.places.iter().find(|&&place| place != NOWHERE).expect("an entry, as it is in a chain");
            let before = self.before(self.bucket_of(hash_of(*some)), last);
            self.bucket_mut(before).next = number + 1;
            *self.beyond.get_mut(number) = bucket;
        }
        *self.beyond.get_mut(last) = EMPTY;
        self.beyond_used = last;
    }

    /// Puts an entry where there is room in a bucket's chain, which is made longer if need be.
    fn put(&mut self, number: u32, tag: u8, uses: u8, place: Place) -> bool {
        let mut at = At::Primary(number);
        loop {
            let bucket = self.bucket_mut(at);
            if let Some(slot) = bucket.places.iter().position(|&place| place == NOWHERE) {
                (bucket.tags[slot], bucket.uses[slot], bucket.places[slot]) = (tag, uses, place);
                return true;
            }
            let next = match bucket.next {
                0 => match self.take_beyond() {
                    Some(next) => {
                        self.bucket_mut(at).next = next + 1;
                        next
                    }
                    None => return false,
                },
                next => next - 1,
            };
            at = At::Beyond(next);
        }
    }

    fn take_beyond(&mut self) -> Option<u32> {
        let number = self.beyond_used;
        self.beyond.reach(number as usize).then(|| {
            self.beyond_used += 1;
            number
        })
    }

    /// Takes everything out of a bucket's chain, of which the bucket alone is left. False if there is no memory to hold it.
    fn take_all(&mut self, number: u32, hash_of: &impl Fn(Place) -> u64) -> bool {
        self.moving.clear();
        let (mut at, mut beyond) = (At::Primary(number), [0; CHAIN_MAX]);
        let mut chain = 0;
        loop {
            let bucket = *self.bucket(at);
            if self.moving.try_reserve(SLOTS).is_err() {
                return false;
            }
            let entries = (0..SLOTS).filter(|&slot| bucket.places[slot] != NOWHERE);
            self.moving.extend(entries.map(|slot| (bucket.tags[slot], bucket.uses[slot], bucket.places[slot])));
            if bucket.next == 0 {
                break;
            }
            // One that is so long is left as it is.
            let Some(place) = beyond.get_mut(chain) else { return false };
            *place = bucket.next - 1;
            chain += 1;
            at = At::Beyond(bucket.next - 1);
        }
        *self.primary.get_mut(number) = EMPTY;
        // The last first, so that none of these is the one that takes another's place.
        let beyond = &mut beyond[..chain];
        beyond.sort_unstable();
        for &mut number in beyond.iter_mut().rev() {
            self.give_back(number, hash_of);
        }
        true
    }

    /// Puts what was taken out where it belongs now.
    fn put_all(&mut self, number_of: impl Fn(Place) -> u32) {
        while let Some((tag, uses, place)) = self.moving.pop() {
            // There is as much room as there was, and one bucket more.
            let put = self.put(number_of(place), tag, uses, place);
            debug_assert!(put);
        }
    }

    /// Splits the next bucket in two, if there is memory for the other.
    fn grow(&mut self, hash_of: impl Fn(Place) -> u64) {
        let (old, new) = (self.split, self.buckets());
        let has_memory =
            self.level < 31 && self.primary.reach(new as usize) && self.beyond.reach(self.beyond_used as usize);
        if !has_memory || !self.take_all(old, &hash_of) {
            return;
        }
        let bit = 1 << self.level;
        self.split += 1;
        if self.split == bit {
            (self.level, self.split) = (self.level + 1, 0);
        }
        self.put_all(|place| if hash_of(place) as u32 & bit == 0 { old } else { new });
    }

    /// Makes the last bucket and its other half one.
    fn shrink(&mut self, hash_of: &impl Fn(Place) -> u64) {
        let last = self.buckets() - 1;
        // What is in the first bucket may not fit in the other before more is free.
        if !self.beyond.reach(self.beyond_used as usize) || !self.take_all(last, hash_of) {
            return;
        }
        if self.split == 0 {
            (self.level, self.split) = (self.level - 1, 1 << (self.level - 1));
        }
        self.split -= 1;
        let into = last - (1 << self.level);
        self.put_all(|_| into);
        self.primary.shrink(last as usize);
        self.beyond.shrink(self.beyond_used as usize);
    }

    /// The places of a bucket's chain.
    fn chain(&self, number: u32) -> impl Iterator<Item = Place> {
        let mut at = Some(At::Primary(number));
        std::iter::from_fn(move || {
            let bucket = self.bucket(at?);
            at = (bucket.next != 0).then(|| At::Beyond(bucket.next - 1));
            Some(bucket.places)
        })
        .flatten()
        .filter(|&place| place != NOWHERE)
    }

    /// The places in some bucket, to take a sample.
    pub(crate) fn sample(&self, random: u64) -> impl Iterator<Item = Place> {
        let number = ((random >> 32) * u64::from(self.buckets())) >> 32;
        self.chain(number as u32)
    }

    /// The places of all hashes that begin with the same bits as `position`, read from the lowest, as far as the table tells
    /// them apart, and the next position: 0 after the last.
    ///
    /// From 0 on this comes to every entry, also if the table grows or shrinks between two calls: then to some of them twice.
    pub(crate) fn at_position(&self, position: u32) -> (impl Iterator<Item = Place>, u32) {
        let number = self.bucket_of(u64::from(position.reverse_bits()));
        let is_wide = number < self.split || number >= 1 << self.level;
        let bits = self.level + u32::from(is_wide);
        let next = match bits {
            0 => 0,
            bits => (position >> (32 - bits)).wrapping_add(1) << (32 - bits),
        };
        (self.chain(number), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use zmalloc_values::Global;

    /// Here a place is its own key.
    fn hash_of(place: Place) -> u64 {
        u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
    }

    #[test]
    fn it_has_what_a_map_has_while_it_grows_and_shrinks() {
        let mut index = Index::<Global>::new(16 << 10).unwrap();
        let mut model = BTreeMap::new();
        let mut state = 1u64;
        let mut largest = 0;
        for step in 0..200_000u32 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // It grows, stays, shrinks to nothing, and grows again.
            let adds = [7, 5, 1, 6][step as usize / 50_000];
            let place = (state >> 40) as Place % 60_000;
            let slot = index.find(hash_of(place), |found| found == place);
            assert_eq!(slot.map(|slot| index.uses(slot)), model.get(&place).copied());
            if state >> 32 & 7 < adds {
                match slot {
                    Some(slot) => {
                        index.count_use(slot);
                        model.entry(place).and_modify(|uses| *uses = USES_MAX.min(*uses + 1));
                    }
                    None => {
                        assert!(index.insert(hash_of(place), place, hash_of));
                        model.insert(place, 0);
                    }
                }
            } else if let Some(slot) = slot {
                index.remove(slot, hash_of);
                model.remove(&place);
            }
            assert_eq!(index.len(), model.len());
            largest = largest.max(index.buckets());
        }
        assert!(largest > 3000, "{largest}");
        for (&place, &uses) in &model {
            let slot = index.find(hash_of(place), |found| found == place).unwrap();
            assert_eq!((index.place(slot), index.uses(slot)), (place, uses));
            index.remove(slot, hash_of);
        }
        assert_eq!((index.len(), index.buckets()), (0, 1));
        assert!(index.primary.capacity() <= 512);
    }

    #[test]
    fn a_walk_comes_to_every_entry_that_stays_while_others_come_and_go() {
        let mut index = Index::<Global>::new(16 << 10).unwrap();
        let stay = 0..5000;
        stay.clone().for_each(|place| assert!(index.insert(hash_of(place), place, hash_of)));
        for (others, change) in [(0, 0), (20_000, 7), (20_000, 1)] {
            let mut seen = vec![0; 5000];
            let mut position = 0;
            let mut added = 5000..5000;
            for turn in 1.. {
                let (places, next) = index.at_position(position);
                places.filter(|&place| place < 5000).for_each(|place| seen[place as usize] += 1);
                assert!(next > position || next == 0);
                position = next;
                if position == 0 {
                    break;
                }
                // Grows for the first half of the walk, and shrinks then.
                if turn % 3 == 0 {
                    for _ in 0..change {
                        if position < 1 << 31 && added.end < 5000 + others {
                            assert!(index.insert(hash_of(added.end), added.end, hash_of));
                            added.end += 1;
                        } else if position >= 1 << 31 && added.end > 5000 {
                            added.end -= 1;
                            let slot = index.find(hash_of(added.end), |found| found == added.end).unwrap();
                            index.remove(slot, hash_of);
                        }
                    }
                }
            }
            assert!(seen.iter().all(|&times| times > 0) && (change > 0 || seen.iter().all(|&times| times == 1)));
            added.for_each(|place| {
                let slot = index.find(hash_of(place), |found| found == place).unwrap();
                index.remove(slot, hash_of);
            });
        }
    }

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }
}
