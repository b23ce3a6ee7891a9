//! A part of the keyspace, with everything that is in it: its table, its log, and what evicts and expires.

mod expiry;
mod object;
mod room;

use crate::deadline;
use crate::entry::{Entry, Form, NewEntry};
use crate::ghost::Ghost;
use crate::index::{Index, Slot};
use crate::log::{Log, Place, Queue};
use crate::policy::{Policy, frequency};
use crate::slab::Slab;
use crate::wheel::Wheel;
use allocator_api2::vec::Vec as VecIn;
use foldhash::quality::RandomState;
use std::hash::BuildHasher;
use zmalloc_values::{Counted, Kind, Memory, Object, Thresholds};

/// There is no room, and nothing that may be evicted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Why nothing is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    Absent,
    /// It is still in this slot.
    Ended(Slot),
}

/// A value, to be read.
#[derive(Debug)]
pub enum ValueRef<'a, M: Memory = zmalloc_values::Global> {
    /// Bytes that were set.
    Bytes(&'a [u8]),
    /// An object.
    Object(&'a Object<M>),
}

impl<M: Memory> ValueRef<'_, M> {
    /// The bytes of a string; `None` for another type.
    pub fn to_vec(&self) -> Option<Vec<u8>> {
        match self {
            ValueRef::Bytes(bytes) => Some(bytes.to_vec()),
            ValueRef::Object(object) => object.string_bytes().map(|element| element.bytes().to_vec()),
        }
    }

    /// The type.
    pub fn kind(&self) -> Kind {
        match self {
            ValueRef::Bytes(_) => Kind::String,
            ValueRef::Object(object) => object.kind(),
        }
    }
}

/// What a shard did so far, and has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub hits: u64,
    pub misses: u64,
    pub evicted: u64,
    pub expired: u64,
    pub moved: u64,
}

/// Values whose entry would be longer than this part of a segment lie by themselves.
const LONG_PART: usize = 8;

/// Why an entry is taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Removed,
    Evicted,
    Expired,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub limit: usize,
    pub segment_bytes: usize,
    pub policy: Policy,
    pub thresholds: Thresholds,
    pub hasher: RandomState,
}

pub(crate) struct Shard<M: Memory> {
    index: Index<M>,
    log: Log<M>,
    longs: Slab<VecIn<u8, Counted<M>>, M>,
    objects: Slab<Option<Object<M>>, M>,
    ghost: Ghost<M>,
    wheel: Wheel<M>,
    /// Bytes that what `longs` and `objects` hold is charged.
    beside: usize,
    /// Of that, what belongs to the entries of each queue.
    beside_in: [usize; 2],
    settings: Settings,
    /// Uses, which are the clock of least recent use.
    uses: u64,
    random: u64,
    cleaning: Option<room::Cleaning>,
    /// It has more than it may, or no room to move anything in, until enough has gone.
    is_trimming: bool,
    /// Whoever is met goes, if he may.
    is_forced: bool,
    /// The share of a segment that is to go, in `SHARES`.
    share: u32,
    /// There was nothing to be cleaned while so many bytes were not live.
    nothing_below: usize,
    /// The segment that is looked at next for entries that end soon, when this round of it began, and when the next one does.
    ahead: u32,
    ahead_since_ms: u64,
    ahead_ms: u64,
    /// Keys that have a deadline.
    volatile: usize,
    kinds: [usize; 5],
    counters: Counters,
}

impl<M: Memory> Shard<M> {
    /// `None` if there is no memory.
    pub(crate) fn new(settings: Settings) -> Option<Self> {
        Some(Shard {
            index: Index::new((settings.segment_bytes / 2).clamp(4 << 10, 64 << 10))?,
            log: Log::new(settings.segment_bytes, settings.policy.has_access()),
            longs: Slab::new(),
            objects: Slab::new(),
            ghost: Ghost::new((settings.segment_bytes / 8).clamp(1 << 10, 16 << 10)),
            wheel: Wheel::new(),
            beside: 0,
            beside_in: [0; 2],
            uses: 0,
            random: settings.hasher.hash_one(0) | 1,
            cleaning: None,
            is_trimming: false,
            is_forced: false,
            share: room::SHARE,
            nothing_below: 0,
            ahead: 0,
            ahead_since_ms: 0,
            ahead_ms: 0,
            volatile: 0,
            kinds: [0; 5],
            counters: Counters::default(),
            settings,
        })
    }

    // ---- Figures ------------------------------------------------------------------------------------------------

    /// All bytes that it has.
    pub(crate) fn used(&self) -> usize {
        let slabs = self.longs.charged() + self.objects.charged() + self.beside;
        self.log.charged() + self.index.charged() + self.ghost.charged() + self.wheel.charged() + slabs
    }

    /// Bytes of the table, of the log, and of the entries in it.
    pub(crate) fn parts(&self) -> (usize, usize, usize) {
        (self.index.charged(), self.log.charged(), self.log.live())
    }

    pub(crate) fn beside(&self) -> usize {
        self.beside
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn volatile(&self) -> usize {
        self.volatile
    }

    pub(crate) fn kinds(&self) -> [usize; 5] {
        self.kinds
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn segment_bytes(&self) -> usize {
        self.settings.segment_bytes
    }

    /// The longest key.
    pub(crate) fn key_max(&self) -> usize {
        self.settings.segment_bytes / LONG_PART
    }

    // ---- Reading ------------------------------------------------------------------------------------------------

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        self.index.find(hash, |place| self.log.entry(place).key == key)
    }

    /// When the entry at a place ends.
    fn deadline_ms(&self, place: Place, entry: &Entry<'_>) -> Option<u64> {
        let base_ms = self.log.segment(self.log.segment_of(place)).base_ms();
        entry.deadline.map(|deadline| deadline::decode(base_ms, deadline))
    }

    /// Where a key is that has not ended.
    fn locate(&self, hash: u64, key: &[u8], now_ms: impl FnOnce() -> u64) -> Result<(Slot, Place), Missing> {
        let slot = self.find(hash, key).ok_or(Missing::Absent)?;
        let place = self.index.place(slot);
        match self.deadline_ms(place, &self.log.entry(place)) {
            Some(deadline_ms) if deadline_ms <= now_ms() => Err(Missing::Ended(slot)),
            _ => Ok((slot, place)),
        }
    }

    /// The same. One that has ended is taken out.
    fn find_live(&mut self, hash: u64, key: &[u8], now_ms: impl FnOnce() -> u64) -> Option<(Slot, Place)> {
        let located = self.locate(hash, key, now_ms);
        if let Err(Missing::Ended(slot)) = located {
            self.take_out(slot, Why::Expired);
        }
        located.ok()
    }

    /// Reads a value. One that has ended is left where it is, and said to have: to take it out frees memory, which is the
    /// matter of a scope.
    pub(crate) fn get<R>(
        &mut self,
        hash: u64,
        key: &[u8],
        now_ms: impl Fn() -> u64,
        read: impl FnOnce(ValueRef<'_, M>) -> R,
    ) -> Result<R, Missing> {
        match self.locate(hash, key, &now_ms) {
            Ok((slot, place)) => {
                self.counters.hits += 1;
                self.note_use(slot, place, now_ms);
                Ok(read(self.value(&self.log.entry(place))))
            }
            Err(missing) => {
                self.counters.misses += 1;
                Err(missing)
            }
        }
    }

    /// Takes a key out if it has ended.
    pub(crate) fn take_out_ended(&mut self, hash: u64, key: &[u8], now_ms: u64) {
        self.find_live(hash, key, || now_ms);
    }

    fn value<'a>(&'a self, entry: &Entry<'a>) -> ValueRef<'a, M> {
        match entry.form {
            Form::Bytes => ValueRef::Bytes(entry.value),
            Form::Long => ValueRef::Bytes(self.longs.get(entry.index())),
            Form::Object => match self.objects.get(entry.index()) {
                Some(object) => ValueRef::Object(object),
                None => ValueRef::Bytes(&[]),
            },
        }
    }

    fn note_use(&mut self, slot: Slot, place: Place, now_ms: impl Fn() -> u64) {
        let policy = self.settings.policy;
        if !policy.has_access() {
            return self.index.count_use(slot);
        }
        let entry = self.log.entry(place);
        let (at, access) = (entry.access_at(), entry.access);
        let access = if policy.is_lru() {
            self.uses += 1;
            self.clock()
        } else {
            let random = self.random();
            frequency::used(access, minute(now_ms()), random)
        };
        self.log.bytes_mut(place)[at..at + 4].copy_from_slice(&access.to_le_bytes());
    }

    /// When a key ends: `Some(None)` for one without a deadline.
    pub(crate) fn deadline_of(&mut self, hash: u64, key: &[u8], now_ms: u64) -> Option<Option<u64>> {
        let (_, place) = self.find_live(hash, key, || now_ms)?;
        Some(self.deadline_ms(place, &self.log.entry(place)))
    }

    /// The bytes that a key's entry takes, and those that its value takes beside it.
    pub(crate) fn memory_of(&mut self, hash: u64, key: &[u8], now_ms: u64) -> Option<(usize, usize)> {
        let (_, place) = self.find_live(hash, key, || now_ms)?;
        let entry = self.log.entry(place);
        Some((entry.size, self.beside_of(&entry)))
    }

    /// What an entry's value is charged beside it.
    fn beside_of(&self, entry: &Entry<'_>) -> usize {
        match entry.form {
            Form::Bytes => 0,
            Form::Long => self.longs.get(entry.index()).allocator().charged_size(),
            Form::Object => self.objects.get(entry.index()).as_ref().map_or(0, Object::charged_size),
        }
    }

    fn queue_of(&self, place: Place) -> Queue {
        self.log.segment(self.log.segment_of(place)).queue()
    }

    /// What is at a position of the table, and the next one; see [`Index::at_position`].
    pub(crate) fn walk(&self, position: u32, now_ms: u64, mut each: impl FnMut(&[u8], ValueRef<'_, M>, usize)) -> u32 {
        let (places, next) = self.index.at_position(position);
        for place in places {
            let entry = self.log.entry(place);
            let deadline_ms = self.deadline_ms(place, &entry);
            if deadline_ms.is_none_or(|deadline_ms| deadline_ms > now_ms) {
                each(entry.key, self.value(&entry), entry.size);
            }
        }
        next
    }

    // ---- Writing ------------------------------------------------------------------------------------------------

    pub(crate) fn set(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &[u8],
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), NoRoom> {
        self.keep_up(key.len() + value.len(), now_ms);
        if key.len() + value.len() > self.settings.segment_bytes / LONG_PART {
            return self.set_long(hash, key, value, deadline_ms, now_ms);
        }
        self.store(hash, (Form::Bytes, key, value), deadline_ms, now_ms)
    }

    fn set_long(
        &mut self,
        hash: u64,
        key: &[u8],
        value: &[u8],
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), NoRoom> {
        // What an allocator may round up; more is seen when it is there.
        let growth = value.len() + value.len() / 8 + self.longs.next_growth();
        self.make_room(self.first_queue(), 0, growth, now_ms)?;
        let mut long = VecIn::new_in(Counted::new());
        if long.try_reserve_exact(value.len()).is_err() {
            // There is no memory: others go for it.
            self.shrink_to(self.used().saturating_sub(2 * value.len()), now_ms);
            long.try_reserve_exact(value.len()).map_err(|_| NoRoom)?;
        }
        long.extend_from_slice(value);
        let charged = long.allocator().charged_size();
        let number = self.longs.insert(long).map_err(|_| NoRoom)?;
        self.beside += charged;
        let stored = self.store(hash, (Form::Long, key, &number.to_le_bytes()), deadline_ms, now_ms);
        if stored.is_err() {
            self.drop_beside(Form::Long, number);
        }
        stored
    }

    /// Writes an entry, in the place of another of this key if there is one. With an error nothing is changed but that others
    /// may have been evicted.
    fn store(
        &mut self,
        hash: u64,
        (form, key, value): (Form, &[u8], &[u8]),
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), NoRoom> {
        let before = self.find_live(hash, key, || now_ms);
        if let Some((slot, place)) = before
            && self.overwrite(place, (form, value), deadline_ms, now_ms)
        {
            self.note_use(slot, place, || now_ms);
            return Ok(());
        }
        let queue = match before {
            Some((_, place)) => self.queue_of(place),
            None if self.ghost.take(hash) => Queue::Main,
            None => self.first_queue(),
        };
        let access = match before {
            // What it was used counts on.
            Some((_, place)) if self.settings.policy.is_lfu() => {
                let (access, random) = (self.log.entry(place).access, self.random());
                Some(frequency::used(access, minute(now_ms), random))
            }
            _ => self.first_access(now_ms),
        };
        let sized = NewEntry { form, key, value, deadline: deadline_ms.map(|_| 0), access };
        self.make_room(queue, sized.size(), 0, now_ms)?;
        let deadline = deadline_ms.map(|deadline_ms| deadline::encode(self.log.open_base_ms(queue), deadline_ms));
        let place = self.log.append(queue, &NewEntry { deadline, ..sized });
        // Room was made: the other may have been moved, or is gone.
        match before.and_then(|_| self.find_but(hash, key, place)) {
            Some(slot) => {
                let old = self.index.place(slot);
                self.count_out(old);
                self.index.set_place(slot, place);
                self.index.count_use(slot);
            }
            None => {
                let (log, hasher) = (&self.log, &self.settings.hasher);
                if !self.index.insert(hash, place, |place| hasher.hash_one(log.entry(place).key)) {
                    self.log.bury(place);
                    return Err(NoRoom);
                }
            }
        }
        let entry = self.log.entry(place);
        let (kind, beside) = (self.kind_of(&entry), self.beside_of(&entry));
        self.kinds[kind as usize] += 1;
        self.beside_in[queue as usize] += beside;
        if let Some(deadline_ms) = deadline_ms {
            self.volatile += 1;
            self.note_deadline(place, deadline_ms, now_ms);
        }
        Ok(())
    }

    /// The queue of what is new.
    fn first_queue(&self) -> Queue {
        if self.settings.policy == Policy::S3Fifo { Queue::Small } else { Queue::Main }
    }

    /// The slot of a key that is in the table, not of the entry that was just written for it.
    fn find_but(&self, hash: u64, key: &[u8], new: Place) -> Option<Slot> {
        self.index.find(hash, |place| place != new && self.log.entry(place).key == key)
    }

    /// Writes over a value that is as long, if the entry is one of the same form.
    fn overwrite(&mut self, place: Place, new: (Form, &[u8]), deadline_ms: Option<u64>, now_ms: u64) -> bool {
        let (form, value) = new;
        let entry = self.log.entry(place);
        let fits = form == Form::Bytes
            && entry.form == Form::Bytes
            && entry.value.len() == value.len()
            && entry.deadline.is_some() == deadline_ms.is_some();
        let fits = fits && deadline_ms.is_none_or(|deadline_ms| self.may_write_deadline(place, deadline_ms, now_ms));
        let entry = self.log.entry(place);
        if fits {
            let at = entry.value_at();
            self.log.bytes_mut(place)[at..at + value.len()].copy_from_slice(value);
            if let Some(deadline_ms) = deadline_ms {
                self.write_deadline(place, deadline_ms, now_ms);
            }
        }
        fits
    }

    /// One step for 16 uses: it comes round after so many that nothing is from the turn before.
    fn clock(&self) -> u32 {
        (self.uses >> 4) as u32
    }

    fn first_access(&mut self, now_ms: u64) -> Option<u32> {
        if self.settings.policy.is_lru() {
            self.uses += 1;
            return Some(self.clock());
        }
        self.settings.policy.is_lfu().then(|| frequency::new(minute(now_ms)))
    }

    /// Sets when a key ends, or that it does not. False if there is no such key.
    pub(crate) fn set_deadline(
        &mut self,
        hash: u64,
        key: &[u8],
        deadline_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<bool, NoRoom> {
        let Some((slot, place)) = self.find_live(hash, key, || now_ms) else { return Ok(false) };
        let entry = self.log.entry(place);
        if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            self.take_out(slot, Why::Expired);
            return Ok(true);
        }
        if entry.deadline.is_none() && deadline_ms.is_none() {
            return Ok(true);
        }
        let had_deadline = entry.deadline.is_some();
        if let Some(deadline_ms) = deadline_ms
            && self.may_write_deadline(place, deadline_ms, now_ms)
        {
            self.write_deadline(place, deadline_ms, now_ms);
            return Ok(true);
        }
        let entry = self.log.entry(place);
        // The entry becomes longer or shorter. Its value, where that lies beside it, keeps its number.
        let (form, value) = (entry.form, entry.value.to_vec());
        let access = self.settings.policy.has_access().then_some(entry.access);
        let queue = self.queue_of(place);
        let sized = NewEntry { form, key, value: &value, deadline: deadline_ms.map(|_| 0), access };
        self.make_room(queue, sized.size(), 0, now_ms)?;
        // Room was made: it may have been moved, or is gone.
        let Some((slot, old)) = self.find_live(hash, key, || now_ms) else { return Ok(false) };
        let deadline = deadline_ms.map(|deadline_ms| deadline::encode(self.log.open_base_ms(queue), deadline_ms));
        let place = self.log.append(queue, &NewEntry { deadline, ..sized });
        self.log.bury(old);
        self.index.set_place(slot, place);
        self.volatile += usize::from(deadline_ms.is_some());
        self.volatile -= usize::from(had_deadline);
        if let Some(deadline_ms) = deadline_ms {
            self.note_deadline(place, deadline_ms, now_ms);
        }
        Ok(true)
    }

    /// Whether a deadline can be written over that of an entry: the wheel has an entry once at most, and not too late; and it
    /// is told as exactly as in a new segment.
    fn may_write_deadline(&mut self, place: Place, deadline_ms: u64, now_ms: u64) -> bool {
        let base_ms = self.log.segment(self.log.segment_of(place)).base_ms();
        let is_exact = deadline::decode(base_ms, deadline::encode(base_ms, deadline_ms)) == deadline_ms;
        if !is_exact && now_ms.saturating_sub(base_ms) >= deadline::NEAR_MS {
            return false;
        }
        let is_noted = crate::entry::is_noted(self.log.bytes_mut(place));
        let before_ms = self.deadline_ms(place, &self.log.entry(place));
        before_ms.is_some_and(|before_ms| !is_noted || before_ms <= deadline_ms)
    }

    fn write_deadline(&mut self, place: Place, deadline_ms: u64, now_ms: u64) {
        let at = self.log.entry(place).deadline_at();
        let base_ms = self.log.segment(self.log.segment_of(place)).base_ms();
        let deadline = deadline::encode(base_ms, deadline_ms);
        self.log.bytes_mut(place)[at..at + 4].copy_from_slice(&deadline.to_le_bytes());
        self.note_deadline(place, deadline_ms, now_ms);
    }

    /// Takes everything out. The counters go on.
    pub(crate) fn clear(&mut self) {
        // What it begins with is there before the old is gone only if there is memory for it.
        if let Some(mut empty) = Shard::new(self.settings.clone()) {
            empty.counters = self.counters;
            *self = empty;
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &[u8], now_ms: impl FnOnce() -> u64) -> bool {
        let Some((slot, _)) = self.find_live(hash, key, now_ms) else { return false };
        self.take_out(slot, Why::Removed);
        true
    }

    fn take_out(&mut self, slot: Slot, why: Why) {
        let place = self.index.place(slot);
        match why {
            Why::Removed => {}
            Why::Evicted => self.counters.evicted += 1,
            Why::Expired => self.counters.expired += 1,
        }
        let (log, hasher) = (&self.log, &self.settings.hasher);
        self.index.remove(slot, |place| hasher.hash_one(log.entry(place).key));
        self.count_out(place);
    }

    /// The table does not lead to an entry any more: it goes out of all figures, and its value beside it goes.
    fn count_out(&mut self, place: Place) {
        let entry = self.log.entry(place);
        let beside = (entry.form != Form::Bytes).then(|| (entry.form, entry.index()));
        let (kind, charged, queue) = (self.kind_of(&entry), self.beside_of(&entry), self.queue_of(place));
        self.volatile -= usize::from(entry.deadline.is_some());
        self.kinds[kind as usize] -= 1;
        self.beside_in[queue as usize] -= charged;
        self.log.bury(place);
        if let Some((form, number)) = beside {
            self.drop_beside(form, number);
        }
    }

    fn kind_of(&self, entry: &Entry<'_>) -> Kind {
        match entry.form {
            Form::Bytes | Form::Long => Kind::String,
            Form::Object => self.objects.get(entry.index()).as_ref().map_or(Kind::String, Object::kind),
        }
    }

    fn drop_beside(&mut self, form: Form, number: u32) {
        match form {
            Form::Bytes => {}
            Form::Long => self.beside -= self.longs.remove(number).allocator().charged_size(),
            Form::Object => self.beside -= self.objects.remove(number).as_ref().map_or(0, Object::charged_size),
        }
    }
}

fn minute(now_ms: u64) -> u32 {
    (now_ms / 60_000) as u32
}
