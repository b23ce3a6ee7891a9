//! Making room: segments are emptied, of what may go and of what is moved elsewhere, and given back as a whole.
//!
//! One segment is cleaned at a time, a few entries with each write, ahead of when its memory is needed. There is always room
//! for one more segment, into which what stays is moved; should that not be enough, what was to stay goes as well, if it may.

use super::{NoRoom, Shard, Why, minute};
use crate::deadline;
use crate::index::Slot;
use crate::log::{Place, Queue};
use crate::policy::{Policy, frequency};
use std::hash::BuildHasher;
use zmalloc_values::Memory;

/// For each byte that is written, so many of a segment that is cleaned are looked at.
const PACE: usize = 12;
/// And so many more at least.
const PACE_MIN: usize = 512;
/// From so few free segments on they are made before they are needed.
const AHEAD: usize = 3;
/// How many entries are asked how much they are worth.
const SAMPLE: usize = 48;
/// In what parts the share is told that goes of a segment, and what it usually is.
const SHARES: u32 = 96;
pub(super) const SHARE: u32 = SHARES / 6;

/// What becomes of an entry.
enum Verdict {
    Goes(Why),
    /// In this queue, with so many uses.
    Stays(Queue, u8),
}

/// A segment whose entries are being moved away.
pub(super) struct Cleaning {
    segment: u32,
    at: usize,
    way: Way,
    /// Bytes that stayed.
    kept: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// All that is there is moved.
    Compact,
    /// As S3-FIFO does.
    Fifo,
    /// Who is worth less than others goes.
    Threshold(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is nothing to be cleaned.
    None,
    More,
    /// A segment was given back.
    Done,
}

impl<M: Memory> Shard<M> {
    pub(super) fn random(&mut self) -> u64 {
        // xorshift64*: Vigna, 2016.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// What one more segment may be charged.
    fn segment_charge(&self) -> usize {
        self.log.segment_bytes() + self.log.segment_bytes() / 16
    }

    /// Whether there is room for so many segments more, and bytes beside them.
    fn has_room_for(&self, segments: usize, bytes: usize) -> bool {
        let growth = self.index.next_growth() + self.wheel.next_growth();
        let more = (segments * self.segment_charge()).saturating_add(bytes).saturating_add(growth);
        self.used().saturating_add(more) <= self.settings.limit
    }

    /// What is done with each write: whatever has ended is taken out, and segments that will be needed are made free.
    pub(super) fn keep_up(&mut self, bytes: usize, now_ms: u64) {
        self.expire(now_ms);
        if !self.has_room_for(AHEAD, 0) {
            self.clean(bytes * PACE + PACE_MIN, now_ms);
        }
    }

    /// Makes room for an entry in what is open of a queue, and for bytes beside it.
    pub(super) fn make_room(&mut self, queue: Queue, size: usize, beside: usize, now_ms: u64) -> Result<(), NoRoom> {
        // Each makes a segment free, or has less to be moved the next time.
        let mut tries = 8 * (self.log.held(Queue::Small) + self.log.held(Queue::Main)) + 64;
        loop {
            let is_open = self.log.has_room(queue, size);
            if is_open && self.has_room_for(0, beside) {
                return Ok(());
            }
            // One is for those that are moved.
            if !is_open && self.has_room_for(2, beside) {
                if !self.log.open(queue, now_ms) {
                    return Err(NoRoom);
                }
                continue;
            }
            if tries == 0 || self.clean(usize::MAX, now_ms) == Progress::None {
                return Err(NoRoom);
            }
            tries -= 1;
        }
    }

    /// Evicts until it has so many bytes at most, as far as that is possible.
    pub(crate) fn shrink_to(&mut self, bytes: usize, now_ms: u64) {
        let mut tries = 8 * (self.log.held(Queue::Small) + self.log.held(Queue::Main)) + 64;
        while self.used() > bytes && tries > 0 && self.clean(usize::MAX, now_ms) != Progress::None {
            tries -= 1;
        }
    }

    /// Sets how much it may have, and evicts until it has no more, if that is possible.
    pub(crate) fn set_limit(&mut self, limit: usize, now_ms: u64) {
        self.settings.limit = limit;
        self.nothing_below = 0;
        self.shrink_to(limit, now_ms);
    }

    /// Cleans so many bytes of a segment, or until it is empty.
    pub(super) fn clean(&mut self, mut bytes: usize, now_ms: u64) -> Progress {
        let Some(mut cleaning) = self.cleaning.take().or_else(|| self.choose(now_ms)) else { return Progress::None };
        loop {
            let Some(entry) = self.log.entry_at(cleaning.segment, cleaning.at) else {
                let used = self.log.segment(cleaning.segment).used();
                self.adapt(&cleaning, used);
                self.log.release(cleaning.segment);
                return Progress::Done;
            };
            let size = entry.size;
            if size > bytes {
                self.cleaning = Some(cleaning);
                return Progress::More;
            }
            bytes -= size;
            let place = self.log.place(cleaning.segment, cleaning.at);
            let slot = self.index.find(self.settings.hasher.hash_one(entry.key), |found| found == place);
            // Otherwise it was taken out, or is elsewhere by now.
            if let Some(slot) = slot {
                match self.look_at(slot, place, cleaning.way, now_ms) {
                    Verdict::Goes(why) => self.take_out(slot, why),
                    Verdict::Stays(queue, uses) => {
                        if self.move_to(queue, place, slot, now_ms) {
                            self.index.set_uses(slot, uses);
                            cleaning.kept += size;
                        } else if self.may_go(place) {
                            self.take_out(slot, Why::Evicted);
                        } else {
                            // Nothing can be moved: as it is now, it stays.
                            self.log.put_back(cleaning.segment);
                            return Progress::None;
                        }
                    }
                }
            }
            cleaning.at += size;
        }
    }

    /// What becomes of an entry that is there.
    fn look_at(&mut self, slot: Slot, place: Place, way: Way, now_ms: u64) -> Verdict {
        let entry = self.log.entry(place);
        let deadline_ms = self.deadline_ms(place, &entry);
        if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            return Verdict::Goes(Why::Expired);
        }
        let queue = self.log.segment(self.log.segment_of(place)).queue();
        let uses = self.index.uses(slot);
        match (way, queue) {
            (Way::Compact, queue) => Verdict::Stays(queue, uses),
            (Way::Fifo, Queue::Small) if uses > 1 => Verdict::Stays(Queue::Main, 0),
            (Way::Fifo, Queue::Small) => {
                let hash = self.settings.hasher.hash_one(entry.key);
                self.remember(hash);
                Verdict::Goes(Why::Evicted)
            }
            (Way::Fifo, Queue::Main) if uses > 0 => Verdict::Stays(Queue::Main, uses - 1),
            (Way::Fifo, Queue::Main) => Verdict::Goes(Why::Evicted),
            (Way::Threshold(threshold), _) => {
                let (access, may_go) = (entry.access, self.may_go(place));
                if may_go && self.badness(access, deadline_ms, now_ms) >= threshold {
                    return Verdict::Goes(Why::Evicted);
                }
                Verdict::Stays(queue, uses)
            }
        }
    }

    fn remember(&mut self, hash: u64) {
        if let Some(bytes) = self.ghost.growth_for(self.index.len())
            && self.has_room_for(1, bytes + bytes / 4)
        {
            self.ghost.fit(self.index.len());
        }
        self.ghost.add(hash);
    }

    /// Whether the policy lets an entry go.
    fn may_go(&self, place: Place) -> bool {
        let policy = self.settings.policy;
        policy != Policy::NoEviction && (!policy.is_volatile() || self.log.entry(place).deadline.is_some())
    }

    /// Moves an entry to the end of a queue. False if there is no room.
    fn move_to(&mut self, queue: Queue, place: Place, slot: Slot, now_ms: u64) -> bool {
        let entry = self.log.entry(place);
        let (size, deadline_ms) = (entry.size, self.deadline_ms(place, &entry));
        if !self.log.has_room(queue, size) && !(self.has_room_for(1, 0) && self.log.open(queue, now_ms)) {
            return false;
        }
        let base_ms = self.log.open_base_ms(queue);
        let new = self
            .log
            .copy(place, queue, |old_base_ms, raw| deadline::encode(base_ms, deadline::decode(old_base_ms, raw)));
        self.log.bury(place);
        self.index.set_place(slot, new);
        self.counters.moved += 1;
        if let Some(deadline_ms) = deadline_ms {
            self.note_deadline(new, deadline_ms, now_ms);
        }
        true
    }

    /// The segment that is cleaned next, and how.
    fn choose(&mut self, now_ms: u64) -> Option<Cleaning> {
        let (charged, live) = (self.log.charged(), self.log.live());
        let not_live = charged.saturating_sub(live);
        let segment = |segment: u32, way: Way| Some(Cleaning { segment, at: 0, way, kept: 0 });
        // What is half empty costs less than what it gives.
        if let Some(sparse) = self.log.take_sparsest(self.log.segment_bytes() / 2) {
            return segment(sparse, Way::Compact);
        }
        let policy = self.settings.policy;
        if policy == Policy::S3Fifo {
            let [small, main] = [Queue::Small, Queue::Main].map(|queue| self.log.held(queue));
            let order =
                if small * 10 > small + main { [Queue::Small, Queue::Main] } else { [Queue::Main, Queue::Small] };
            return segment(order.into_iter().find_map(|queue| self.oldest(queue))?, Way::Fifo);
        }
        let some_may_go = policy != Policy::NoEviction && (!policy.is_volatile() || self.volatile > 0);
        if some_may_go && self.index.len() > 0 {
            let threshold = self.threshold(now_ms);
            return segment(self.oldest(Queue::Main)?, Way::Threshold(threshold));
        }
        // Nobody may go: what can be had is what is not live, if that is enough to be worth it.
        if not_live < self.nothing_below {
            return None;
        }
        let most = self.log.segment_bytes() - self.log.segment_bytes() / 16;
        let sparse = self.log.take_sparsest(most);
        if sparse.is_none() {
            self.nothing_below = not_live + self.log.segment_bytes() / 4;
        }
        segment(sparse?, Way::Compact)
    }

    /// The oldest segment of a queue, be it the open one.
    fn oldest(&mut self, queue: Queue) -> Option<u32> {
        self.log.take_oldest(queue).or_else(|| {
            self.log.seal(queue);
            self.log.take_oldest(queue)
        })
    }

    /// How much sooner than others an entry goes.
    fn badness(&mut self, access: u32, deadline_ms: Option<u64>, now_ms: u64) -> u64 {
        let policy = self.settings.policy;
        if policy.is_lru() {
            return u64::from(self.clock.wrapping_sub(access));
        }
        let random = self.random() >> 32;
        if policy.is_lfu() {
            // Of those that are used as often, any.
            return u64::from(255 - frequency::count(access, minute(now_ms))) << 32 | random;
        }
        if policy == Policy::VolatileTtl { u64::MAX - deadline_ms.unwrap_or(u64::MAX) } else { random }
    }

    /// From what badness on entries go, so that about the share of them does.
    fn threshold(&mut self, now_ms: u64) -> u64 {
        let (mut sample, mut taken) = ([(0, None); SAMPLE], 0);
        for _ in 0..4 * SAMPLE {
            if taken == SAMPLE {
                break;
            }
            let random = self.random();
            for place in self.index.sample(random) {
                let entry = self.log.entry(place);
                if taken < SAMPLE && self.may_go(place) {
                    sample[taken] = (entry.access, self.deadline_ms(place, &entry));
                    taken += 1;
                }
            }
        }
        let mut badness = sample.map(|(access, deadline_ms)| self.badness(access, deadline_ms, now_ms));
        let badness = &mut badness[..taken];
        badness.sort_unstable();
        let stay = taken - (taken * self.share as usize).div_ceil(SHARES as usize);
        // Of few that may go, whoever is met.
        badness.get(stay).copied().unwrap_or(0)
    }

    /// More has to go of each segment where too little did.
    fn adapt(&mut self, cleaning: &Cleaning, used: usize) {
        if !matches!(cleaning.way, Way::Threshold(_)) {
            return;
        }
        self.share = if used - cleaning.kept.min(used) < used / 12 {
            (self.share * 2).min(SHARES)
        } else {
            (self.share / 2).max(SHARE)
        };
    }
}
