//! Which entries end next: a wheel of the places of those that end within the window. Those that end later are found in their
//! segments, once before they come into it: see [`Shard::look_ahead`](super::shard::Shard::look_ahead).

use crate::log::Place;
use allocator_api2::vec::Vec as VecIn;
use zmalloc_values::{Counted, Memory};

/// How far apart the spokes are, in milliseconds: as late as an entry may be given back.
pub(crate) const STEP_MS: u64 = 64;
const SPOKES: u64 = 128;
/// Items that are allocated together: more of them do not move those that there are.
const CHUNK: usize = 256;
/// What ends this much later is not in the wheel yet, in milliseconds.
pub(crate) const WINDOW_MS: u64 = STEP_MS * (SPOKES - 1);

/// Where an entry is that ends, as long as its segment is of this generation.
pub(crate) type Item = (Place, u32);

type Chunk<M> = VecIn<Item, Counted<M>>;
type Spoke<M> = VecIn<Chunk<M>, Counted<M>>;

pub(crate) struct Wheel<M: Memory> {
    spokes: VecIn<Spoke<M>, Counted<M>>,
    /// The first spoke that was not looked at, counted since the keyspace began.
    next: u64,
    /// All items.
    count: usize,
    charged: usize,
}

impl<M: Memory> Wheel<M> {
    pub(crate) fn new() -> Self {
        Wheel { spokes: VecIn::new_in(Counted::new()), next: 0, count: 0, charged: 0 }
    }

    pub(crate) fn charged(&self) -> usize {
        self.charged + self.spokes.allocator().charged_size()
    }

    /// Notes an entry that ends within the window. False if there is no memory: it is given back when it is met.
    pub(crate) fn add(&mut self, now_ms: u64, deadline_ms: u64, item: Item) -> bool {
        if self.spokes.is_empty() {
            if self.spokes.try_reserve_exact(SPOKES as usize).is_err() {
                return false;
            }
            self.spokes.resize_with(SPOKES as usize, || VecIn::new_in(Counted::new()));
        }
        if self.count == 0 {
            self.next = now_ms / STEP_MS;
        }
        if deadline_ms <= now_ms {
            // Found late: it is due. Should that step have been made, it is made again; of what is a whole turn later, an entry that
            // comes too early is noted again.
            self.next = self.next.min(now_ms / STEP_MS);
        }
        // At the step after its end, so that it is over then.
        let after = if deadline_ms <= now_ms { now_ms / STEP_MS } else { deadline_ms / STEP_MS + 1 };
        let spoke = after.clamp(self.next, self.next + SPOKES - 1);
        let chunks = &mut self.spokes[(spoke % SPOKES) as usize];
        if chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            let (mut chunk, before) = (Chunk::new_in(Counted::new()), chunks.allocator().charged_size());
            let reserved = chunk.try_reserve_exact(CHUNK).and_then(|()| chunks.try_reserve(1));
            self.charged = self.charged - before + chunks.allocator().charged_size();
            if reserved.is_err() {
                return false;
            }
            self.charged += chunk.allocator().charged_size();
            chunks.push(chunk);
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(item);
        }
        self.count += 1;
        true
    }

    /// Whether an item of this time can be added without more memory. Of one that is due already, perhaps not.
    pub(crate) fn has_room(&self, deadline_ms: u64) -> bool {
        let spoke = (deadline_ms / STEP_MS + 1).clamp(self.next, self.next + SPOKES - 1);
        let chunks = self.spokes.get((spoke % SPOKES) as usize).filter(|_| self.count > 0);
        chunks.and_then(|chunks| chunks.last()).is_some_and(|chunk| chunk.len() < CHUNK)
    }

    /// Bytes that may come to that at the next [`add`](Wheel::add).
    pub(crate) fn next_growth(&self) -> usize {
        let spokes = if self.spokes.is_empty() { SPOKES as usize * size_of::<Spoke<M>>() } else { 0 };
        // All items may be in one spoke, whose list doubles.
        let list = 2 * (self.count / CHUNK).max(4) * size_of::<Chunk<M>>();
        let bytes = spokes + list + CHUNK * size_of::<Item>();
        // What an allocator may round up.
        bytes + bytes / 4
    }

    /// Takes an item whose time has come.
    pub(crate) fn pop(&mut self, now_ms: u64) -> Option<Item> {
        while self.is_due(now_ms) {
            let chunks = &mut self.spokes[(self.next % SPOKES) as usize];
            if let Some(item) = chunks.last_mut().and_then(|chunk| chunk.pop()) {
                self.count -= 1;
                return Some(item);
            }
            match chunks.pop() {
                Some(chunk) => self.charged -= chunk.allocator().charged_size(),
                None => {
                    self.charged -= chunks.allocator().charged_size();
                    *chunks = VecIn::new_in(Counted::new());
                    self.next += 1;
                }
            }
        }
        None
    }

    /// Whether something's time has come, or a step has to be made.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        self.count > 0 && self.next <= now_ms / STEP_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zmalloc_values::Global;

    #[test]
    fn items_come_at_the_step_after_their_time() {
        let mut wheel = Wheel::<Global>::new();
        let start = 1_000_000;
        for n in 0..1000 {
            assert!(wheel.add(start, start + n * 8, (n as Place, 1)));
        }
        let mut came = 0;
        for now in (start..start + WINDOW_MS + 1000).step_by(17) {
            while let Some((n, _)) = wheel.pop(now) {
                let late = now as i64 - (start + u64::from(n) * 8) as i64;
                assert!((0..=2 * STEP_MS as i64 + 17).contains(&late), "{late}");
                came += 1;
            }
        }
        assert_eq!((came, wheel.charged() > 0, wheel.is_due(u64::MAX / 2)), (1000, true, false));
        // Long ago, and beyond the window: as soon and as late as can be.
        assert!(wheel.add(start * 9, 5, (7, 1)) && wheel.add(start * 9, u64::MAX / 2, (8, 1)));
        assert_eq!((wheel.pop(start * 9), wheel.pop(start * 9)), (Some((7, 1)), None));
        assert_eq!(wheel.pop(start * 9 + WINDOW_MS + STEP_MS), Some((8, 1)));
    }
}
