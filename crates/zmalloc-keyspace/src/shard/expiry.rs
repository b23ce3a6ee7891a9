//! Expiry: whatever has ended is taken out at its time, and what has not is not looked at for it.

use super::{Shard, Why};
use crate::deadline;
use crate::log::{NEVER, Place};
use crate::wheel::{Item, WINDOW_MS};
use std::hash::BuildHasher;
use zmalloc_values::Memory;

/// Entries that have ended and are taken out at each write.
const PACE: usize = 16;
/// Entries that have ended and are taken out where a segment is read through.
const ENDED_MAX: usize = 128;
/// How often it is looked ahead, in milliseconds.
const AHEAD_MS: u64 = WINDOW_MS / 4;

impl<M: Memory> Shard<M> {
    /// Takes out some of what has ended, and looks ahead in one segment. Whether there is more to do by now.
    pub(crate) fn expire(&mut self, now_ms: u64) -> bool {
        if self.volatile == 0 {
            return false;
        }
        let mut taken = 0;
        while taken < PACE && self.wheel.is_due(now_ms) {
            let Some((place, generation)) = self.wheel.pop(now_ms) else { break };
            taken += 1;
            self.end(place, generation, now_ms);
        }
        self.look_ahead(now_ms) || self.wheel.is_due(now_ms)
    }

    /// Takes out the entry at a place, if it is still there and has ended; whether it did.
    fn end(&mut self, place: Place, generation: u32, now_ms: u64) -> bool {
        let segment = self.log.segment(self.log.segment_of(place));
        if segment.generation() != generation || segment.used() == 0 {
            return false;
        }
        crate::entry::set_noted(self.log.bytes_mut(place), false);
        let entry = self.log.entry(place);
        let (deadline_ms, hash) = (self.deadline_ms(place, &entry), self.settings.hasher.hash_one(entry.key));
        let Some(slot) = self.index.find(hash, |found| found == place) else { return false };
        let has_ended = deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms);
        if has_ended {
            self.take_out(slot, Why::Expired);
        } else if let Some(deadline_ms) = deadline_ms {
            // It ends later by now, or the wheel stood still when it was added.
            self.note_deadline(place, deadline_ms, now_ms);
        }
        has_ended
    }

    /// An entry is there, or its deadline is another: it is in the wheel if it ends soon, else its segment knows.
    pub(super) fn note_deadline(&mut self, place: Place, deadline_ms: u64, now_ms: u64) {
        // It ends no sooner than the wheel has it, and is noted again then.
        if crate::entry::is_noted(self.log.bytes_mut(place)) {
            return;
        }
        let id = self.log.segment_of(place);
        let segment = self.log.segment_mut(id);
        let item = (place, segment.generation());
        if deadline_ms > now_ms + WINDOW_MS || !self.add_to_wheel(now_ms, deadline_ms, item) {
            let segment = self.log.segment_mut(id);
            segment.set_due_ms(segment.due_ms().min(deadline_ms));
        }
    }

    /// False if there is no room, in the wheel or for more of it: then it is looked for again in its segment, in the next
    /// round.
    fn add_to_wheel(&mut self, now_ms: u64, deadline_ms: u64, item: Item) -> bool {
        let added =
            (self.wheel.has_room(deadline_ms) || self.has_room_for(1, 0)) && self.wheel.add(now_ms, deadline_ms, item);
        if added {
            crate::entry::set_noted(self.log.bytes_mut(item.0), true);
        }
        added
    }

    /// Brings what ends soon into the wheel, of one segment that has any. Whether there may be others.
    ///
    /// A segment is looked through once for all of its entries that end within a window, however many end later.
    fn look_ahead(&mut self, now_ms: u64) -> bool {
        if now_ms < self.ahead_ms {
            return false;
        }
        if self.ahead == 0 {
            self.ahead_since_ms = now_ms;
        }
        let horizon_ms = now_ms + WINDOW_MS;
        let segments = self.log.segments();
        let found = segments[self.ahead as usize..].iter().position(|segment| segment.due_ms() <= horizon_ms);
        let Some(found) = found else {
            // Should this round have taken that long, the next one begins: what was noted meanwhile may be behind it.
            (self.ahead, self.ahead_ms) = (0, self.ahead_since_ms + AHEAD_MS);
            return self.ahead_ms <= now_ms;
        };
        let id = self.ahead + found as u32;
        self.ahead = id + 1;
        let segment = self.log.segment(id);
        let (base_ms, generation) = (segment.base_ms(), segment.generation());
        let (mut at, mut later_ms, mut ended) = (0, NEVER, 0);
        while let Some(entry) = self.log.entry_at(id, at) {
            let (place, deadline) = (self.log.place(id, at), entry.deadline);
            at += entry.size;
            let Some(deadline_ms) = deadline.map(|deadline| deadline::decode(base_ms, deadline)) else { continue };
            if deadline_ms <= now_ms {
                ended += usize::from(self.end(place, generation, now_ms));
                if ended == ENDED_MAX {
                    // The rest the next time.
                    self.ahead = id;
                    return true;
                }
                continue;
            }
            let is_noted = crate::entry::is_noted(self.log.bytes_mut(place));
            if !is_noted && (deadline_ms > horizon_ms || !self.add_to_wheel(now_ms, deadline_ms, (place, generation))) {
                later_ms = later_ms.min(deadline_ms);
            }
        }
        self.log.segment_mut(id).set_due_ms(later_ms);
        true
    }
}
