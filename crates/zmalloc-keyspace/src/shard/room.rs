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
/// Segments that are cleaned for one call before whoever comes goes.
const PATIENCE: usize = 1;
/// From so few free segments on they are made before they are needed.
const AHEAD: usize = 3;
/// How many entries are asked how much they are worth.
const SAMPLE: usize = 48;
/// Of so many segments the worst is cleaned, by so many of its entries.
const CANDIDATES: usize = 8;
const PROBE: usize = 16;
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
    /// Something went.
    went: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// All that is there is moved.
    Compact,
    /// As S3-FIFO does.
    Fifo,
    /// Who is worth less than others goes.
    Threshold(Threshold),
}

/// How bad is bad enough to go, at a time by both clocks: those that are used while a segment is cleaned are no worse for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Threshold {
    badness: u64,
    clock: u32,
    now_ms: u64,
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

    /// Whether there is room for so many segments more, and bytes beside them, and for what another entry has the tables grow.
    pub(super) fn has_room_for(&self, segments: usize, bytes: usize) -> bool {
        let growth = self.index.next_growth() + self.wheel.next_growth();
        self.has_bytes_for(segments, bytes.saturating_add(growth))
    }

    fn has_bytes_for(&self, segments: usize, bytes: usize) -> bool {
        let segments = segments.saturating_sub(self.log.spares());
        let more = (segments * self.segment_charge()).saturating_add(bytes);
        self.used().saturating_add(more) <= self.settings.limit
    }

    /// What is done with each write: whatever has ended is taken out, and segments that will be needed are made free.
    pub(super) fn keep_up(&mut self, bytes: usize, now_ms: u64) {
        self.expire(now_ms);
        let ghost = if self.ghost.is_short() { self.ghost.chunk_bytes() } else { 0 };
        if !self.has_room_for(AHEAD, ghost + ghost / 4) {
            // The nearer, the faster.
            let pace = if self.has_room_for(AHEAD - 1, 0) { PACE } else { 4 * PACE };
            self.clean(bytes * pace + PACE_MIN, now_ms);
        } else if ghost > 0 {
            self.ghost.grow();
        }
    }

    /// Makes room for an entry in what is open of a queue, and for bytes beside it.
    pub(super) fn make_room(&mut self, queue: Queue, size: usize, beside: usize, now_ms: u64) -> Result<(), NoRoom> {
        // What would not fit even if all others were gone has none of them go.
        if (8 * self.segment_charge()).saturating_add(beside) > self.settings.limit {
            return Err(NoRoom);
        }
        let mut tries = self.tries();
        for cleaned in 0.. {
            // One more is for those that are moved.
            let is_open = self.log.has_room(queue, size, now_ms);
            if self.has_room_for(if is_open { 1 } else { 2 }, beside) {
                if is_open {
                    return Ok(());
                }
                if self.log.open(queue, now_ms) {
                    continue;
                }
                // There is no memory: that of a segment which is cleaned is taken again.
            }
            if self.log.spares() > AHEAD - 1 && self.log.drop_spare() {
                continue;
            }
            // Where the first few gave nothing, as all in them is in use, whoever comes next goes: nobody waits longer.
            self.is_forced = cleaned >= PATIENCE;
            let has_cleaned = self.clean(usize::MAX, now_ms);
            self.is_forced = false;
            if tries == 0 || !has_cleaned {
                return Err(NoRoom);
            }
            tries -= 1;
        }
        Err(NoRoom)
    }

    /// How many segments are cleaned at most for one call: each is one more that is free, or has less in it.
    fn tries(&self) -> usize {
        8 * (self.log.held(Queue::Small) + self.log.held(Queue::Main)) + 64
    }

    /// Evicts until it has so many bytes at most, as far as that is possible.
    pub(crate) fn shrink_to(&mut self, bytes: usize, now_ms: u64) {
        let mut tries = self.tries();
        while self.used() > bytes {
            if self.log.drop_spare() {
                continue;
            }
            if tries == 0 || !self.clean(usize::MAX, now_ms) {
                return;
            }
            tries -= 1;
        }
    }

    /// Sets how much it may have, and evicts until it has no more, if that is possible.
    pub(crate) fn set_limit(&mut self, limit: usize, now_ms: u64) {
        self.settings.limit = limit;
        self.nothing_below = 0;
        if self.used() > limit {
            self.ghost.forget();
        }
        self.trim(now_ms);
    }

    /// Evicts what is more than it may have, and so much that there is room to move others in. Meanwhile it may have a segment
    /// more.
    pub(super) fn trim(&mut self, now_ms: u64) {
        if self.used() > self.settings.limit {
            self.is_trimming = true;
            self.shrink_to(self.settings.limit.saturating_sub(2 * self.segment_charge()), now_ms);
            self.is_trimming = false;
        }
    }

    /// Cleans so many bytes of a segment, or until it is empty. False if there is nothing to be cleaned, or nothing came of it.
    pub(super) fn clean(&mut self, mut bytes: usize, now_ms: u64) -> bool {
        let Some(mut cleaning) = self.cleaning.take().or_else(|| self.choose(now_ms)) else { return false };
        loop {
            let Some(entry) = self.log.entry_at(cleaning.segment, cleaning.at) else {
                return self.finish(&cleaning);
            };
            let size = entry.size;
            // One at least.
            if bytes == 0 {
                self.cleaning = Some(cleaning);
                return true;
            }
            bytes = bytes.saturating_sub(size);
            let place = self.log.place(cleaning.segment, cleaning.at);
            let hash = self.settings.hasher.hash_one(entry.key);
            let slot = self.index.find(hash, |found| found == place);
            // Otherwise it was taken out, or is elsewhere by now.
            if let Some(slot) = slot {
                let verdict = match self.look_at((slot, hash), place, cleaning.way, now_ms) {
                    Verdict::Stays(..) if self.is_forced && self.may_go(place) => Verdict::Goes(Why::Evicted),
                    verdict => verdict,
                };
                let mut goes = None;
                match verdict {
                    Verdict::Goes(why) => goes = Some(why),
                    Verdict::Stays(queue, uses) => {
                        cleaning.kept += size;
                        if self.move_to(queue, place, slot, now_ms) {
                            self.index.set_uses(slot, uses);
                        } else if self.may_go(place) {
                            goes = Some(Why::Evicted);
                        }
                        // Otherwise it stays where it is.
                    }
                }
                if let Some(why) = goes {
                    cleaning.went = true;
                    self.take_out(slot, why);
                }
            }
            cleaning.at += size;
        }
    }

    /// All of a segment was looked at. False if it is as it was.
    fn finish(&mut self, cleaning: &Cleaning) -> bool {
        let segment = self.log.segment(cleaning.segment);
        let (used, live) = (segment.used(), segment.live());
        self.adapt(cleaning, used);
        if live == 0 {
            self.log.release(cleaning.segment);
            return true;
        }
        // What could not be moved is there still.
        self.log.put_back(cleaning.segment);
        cleaning.went
    }

    /// What becomes of an entry that is there.
    fn look_at(&mut self, (slot, hash): (Slot, u64), place: Place, way: Way, now_ms: u64) -> Verdict {
        let entry = self.log.entry(place);
        let deadline_ms = self.deadline_ms(place, &entry);
        if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            return Verdict::Goes(Why::Expired);
        }
        let queue = self.queue_of(place);
        let uses = self.index.uses(slot);
        match (way, queue) {
            (Way::Compact, queue) => Verdict::Stays(queue, uses),
            (Way::Fifo, Queue::Small) if uses > 1 => Verdict::Stays(Queue::Main, 0),
            (Way::Fifo, Queue::Small) => {
                self.ghost.add(hash);
                Verdict::Goes(Why::Evicted)
            }
            (Way::Fifo, Queue::Main) if uses > 0 => Verdict::Stays(Queue::Main, uses - 1),
            (Way::Fifo, Queue::Main) => Verdict::Goes(Why::Evicted),
            (Way::Threshold(threshold), _) => {
                let (access, may_go) = (entry.access, self.may_go(place));
                if may_go && self.badness(access, deadline_ms, (threshold.clock, threshold.now_ms)) >= threshold.badness
                {
                    return Verdict::Goes(Why::Evicted);
                }
                Verdict::Stays(queue, uses)
            }
        }
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
        let (from, beside) = (self.queue_of(place), self.beside_of(&entry));
        let may_open = self.is_trimming || self.has_bytes_for(1, 0);
        let has_room = self.log.has_room(queue, size, now_ms) || (may_open && self.log.open(queue, now_ms));
        if !has_room {
            return false;
        }
        let base_ms = self.log.open_base_ms(queue);
        let new = self
            .log
            .copy(place, queue, |old_base_ms, raw| deadline::encode(base_ms, deadline::decode(old_base_ms, raw)));
        self.log.bury(place);
        self.index.set_place(slot, new);
        self.beside_in[from as usize] -= beside;
        self.beside_in[queue as usize] += beside;
        self.counters.moved += 1;
        if let Some(deadline_ms) = deadline_ms {
            self.note_deadline(new, deadline_ms, now_ms);
        }
        true
    }

    /// The segment that is cleaned next, and how.
    fn choose(&mut self, now_ms: u64) -> Option<Cleaning> {
        let policy = self.settings.policy;
        let some_may_go = policy != Policy::NoEviction && (!policy.is_volatile() || self.volatile > 0);
        let not_live = self.log.charged().saturating_sub(self.log.live());
        if !some_may_go && not_live < self.nothing_below {
            return None;
        }
        let segment = |segment: u32, way: Way| Some(Cleaning { segment, at: 0, way, kept: 0, went: false });
        // What is half empty costs less than what it gives.
        if let Some(sparse) = self.log.take_sparsest(self.log.segment_bytes() / 2) {
            return segment(sparse, Way::Compact);
        }
        if policy == Policy::S3Fifo {
            self.ghost.fit(self.index.len());
            let bytes_in = |queue| self.log.held(queue) * self.log.segment_bytes() + self.beside_in[queue as usize];
            let [small, main] = [Queue::Small, Queue::Main].map(bytes_in);
            let order =
                if small * 10 > small + main { [Queue::Small, Queue::Main] } else { [Queue::Main, Queue::Small] };
            return segment(order.into_iter().find_map(|queue| self.oldest(queue))?, Way::Fifo);
        }
        if some_may_go && self.index.len() > 0 {
            let badness = self.threshold(now_ms);
            let threshold = Threshold { badness, clock: self.clock(), now_ms };
            return segment(self.worst(threshold)?, Way::Threshold(threshold));
        }
        // Nobody may go: what can be had is what is not live, if that is enough to be worth it.
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

    /// Of some sealed segments, that of which the most would go.
    fn worst(&mut self, threshold: Threshold) -> Option<u32> {
        let (mut worst, mut looked_at) = (None, 0);
        for _ in 0..8 * CANDIDATES {
            let segments = self.log.segments().len() as u64;
            let id = (((self.random() >> 32) * segments) >> 32) as u32;
            if !self.log.is_sealed(id) {
                continue;
            }
            let goes = self.would_go(id, threshold);
            if worst.is_none_or(|(_, most)| goes > most) {
                worst = Some((id, goes));
            }
            looked_at += 1;
            if looked_at == CANDIDATES {
                break;
            }
        }
        match worst {
            Some((id, _)) => Some(self.log.take(id)),
            None => self.oldest(Queue::Main),
        }
    }

    /// About how much of a segment would go, in 1000 parts, by its first entries and by what is not live.
    fn would_go(&mut self, id: u32, threshold: Threshold) -> usize {
        let (mut at, mut seen, mut go) = (0, 0, 0);
        while seen < PROBE
            && let Some(entry) = self.log.entry_at(id, at)
        {
            let (access, size, place) = (entry.access, entry.size, self.log.place(id, at));
            let deadline_ms = self.deadline_ms(place, &entry);
            let badness = self.badness(access, deadline_ms, (threshold.clock, threshold.now_ms));
            go += usize::from(self.may_go(place) && badness >= threshold.badness);
            seen += 1;
            at += size;
        }
        let segment = self.log.segment(id);
        let stays = (seen - go) * 1000 / seen.max(1);
        1000 - stays * segment.live() / segment.used().max(1)
    }

    /// How much sooner than others an entry goes, by these clocks: of uses, and in milliseconds.
    fn badness(&mut self, access: u32, deadline_ms: Option<u64>, (clock, now_ms): (u32, u64)) -> u64 {
        let policy = self.settings.policy;
        if policy.is_lru() {
            // What was used since is the best.
            return (clock.wrapping_sub(access) as i32).max(0) as u64;
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
        let mut badness = sample.map(|(access, deadline_ms)| self.badness(access, deadline_ms, (self.clock(), now_ms)));
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
