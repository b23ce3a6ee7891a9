//! A limit on what may be counted, which holds to the byte without a look at it per operation.
//!
//! Bytes of the limit are given to threads *ahead* of use: what is [`committed`](Limit::committed) is never less than what
//! lives, and never more than the limit. A thread comes back when what it was given is used up: where the ledger
//! counts, when its room is; where the backend does, when that tells that another [`ROOM`] was allocated. Frees are not
//! reported one by one either: what they give back is found when the thread comes back, or when somebody is about to be
//! refused, who looks at every thread first.
//!
//! Invariant, of an armed pool with its lock held, for each slot: the bytes that its owner may count before it takes the
//! lock again are at most `room + margin`, and where the backend counts `ceiling` less its counter. Requests of
//! [`LARGE`] bytes and more are asked for before they are made, so a smaller one finds [`MARGIN`] enough.
//!
//! So a refusal comes early by at most what other threads were given and have not used: [`GIVEN_MAX`] each, and close to
//! the limit less, as rooms shrink with what is left; and a 256th of the limit over all of them.

use super::pool::{Pool, read_foreign};
use super::share;
use super::slot::Slot;
use super::sync::{AtomicU64, AtomicUsize, Ordering, const_unless_loom};

/// Nothing is limited, and nothing kept account of.
pub(crate) const NO_LIMIT: usize = usize::MAX;
/// Nothing is refused, but account is kept: somebody wants to know when the use rises.
pub(crate) const WATCHED: usize = usize::MAX - 1;

/// Requests of so many bytes are asked for before they are made.
pub const LARGE: usize = 16 << 10;
/// The most that a smaller request is charged: size classes are at most a quarter larger, and a prefix is small.
pub(crate) const MARGIN: u64 = 20 << 10;
/// The bytes that a thread is given at a time, beside the margin.
pub(crate) const ROOM: u64 = 44 << 10;
/// What a thread may be given and not use.
pub(crate) const GIVEN_MAX: u64 = ROOM + MARGIN;
/// What a thread may be given beyond that where the backend counts, far below the limit: all of them less than a 256th of
/// what is left. Then most of the backend's calls have nothing to do.
const EXTRA_MAX: u64 = 16 * ROOM;
/// Less room than this is not worth to be given.
const ROOM_MIN: u64 = 1 << 10;

/// The limit of a pool, and what is given out of it.
///
/// Zeroed memory is one without a limit, as a pool in a new segment is.
#[repr(C)]
pub(crate) struct Limit {
    /// Bytes, or one of the two constants above, each bit inverted. Changed with the lock held.
    bytes_inverted: AtomicUsize,
    /// Use above which to tell who watches, each bit inverted.
    watched_above_inverted: AtomicUsize,
    /// With the lock held: what lives, and what may come to live before anybody takes the lock again. Too high by frees that
    /// are not known yet.
    committed: AtomicU64,
    /// With the lock held: asked for and granted, for operations that are being made.
    in_flight: AtomicU64,
    /// With the lock held: of what is committed, what is no block's.
    beside: AtomicU64,
}

impl Limit {
    const_unless_loom! {
        pub(super) fn new() -> Limit {
            Limit {
                bytes_inverted: AtomicUsize::new(!NO_LIMIT),
                watched_above_inverted: AtomicUsize::new(!usize::MAX),
                committed: AtomicU64::new(0),
                in_flight: AtomicU64::new(0),
                beside: AtomicU64::new(0),
            }
        }
    }

    /// Bytes, [`WATCHED`] or [`NO_LIMIT`].
    pub(crate) fn bytes(&self) -> usize {
        !self.bytes_inverted.load(Ordering::Relaxed)
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.bytes() != NO_LIMIT
    }

    /// With the lock held, of an armed pool: what is committed is more than what lives by what threads were given ahead.
    /// Not what is committed for a large operation that is under way: it would be missed once it lives.
    pub(crate) fn watch_above(&self, bytes: usize, live: u64, threads: usize) {
        let ahead = self.committed.load(Ordering::Relaxed).saturating_sub(live);
        let ahead = ahead.min((GIVEN_MAX + MARGIN) * threads as u64);
        let bytes = bytes.saturating_add(ahead as usize);
        self.watched_above_inverted.store(!bytes, Ordering::Relaxed);
    }

    /// With the lock held: whether the use, too high by frees that are not known yet, is above what is watched.
    pub(crate) fn is_above_watched(&self) -> bool {
        self.committed() > !self.watched_above_inverted.load(Ordering::Relaxed) as u64
    }

    /// Not below 0, as it is where more was seen to be freed than allocated: of blocks from before anything was counted.
    fn committed(&self) -> u64 {
        (self.committed.load(Ordering::Relaxed) as i64).max(0) as u64
    }

    pub(super) fn left(&self) -> u64 {
        (self.bytes() as u64).saturating_sub(self.committed())
    }

    /// With the lock held: by how much it would have to be higher for `bytes` to be left.
    pub(super) fn missing(&self, bytes: u64) -> u64 {
        self.committed().saturating_add(bytes).saturating_sub(self.bytes() as u64)
    }

    /// With the lock held.
    pub(super) fn raise(&self, bytes: u64) {
        let raised = self.bytes().saturating_add(bytes as usize).min(WATCHED - 1);
        self.bytes_inverted.store(!raised, Ordering::Relaxed);
    }

    /// With the lock held: lowers it until at most `keep` bytes are left; answers by how much. Nobody has to be told, as what
    /// threads were given ahead is committed.
    pub(super) fn lower(&self, keep: u64) -> u64 {
        let surplus = self.left().saturating_sub(keep);
        self.bytes_inverted.store(!(self.bytes() - surplus as usize), Ordering::Relaxed);
        surplus
    }

    fn give(&self, bytes: u64) {
        self.committed.store(self.committed.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
    }

    fn take_back(&self, bytes: u64) {
        self.give(bytes.wrapping_neg());
    }
}

/// Everything here is called with the pool's lock held.
impl Pool {
    /// Sets the limit. Where a backend counts, no operation that begins from then on takes what lives above it; what was
    /// under way is known when all threads are looked at the next time. Elsewhere threads may still use what they were
    /// given before, at most [`GIVEN_MAX`] each.
    ///
    /// `barrier` has every other thread see what was stored before it, and what they stored seen here.
    pub(crate) fn set_limit(&self, bytes: usize, barrier: impl Fn()) {
        let (was_armed, before) = (self.limit.is_armed(), self.limit.bytes());
        self.limit.bytes_inverted.store(!bytes, Ordering::Relaxed);
        if bytes >= before {
            if self.limit.is_armed() {
                return;
            }
            // Threads find out when they come back.
            for slot in self.slots() {
                slot.margin.store(0, Ordering::Relaxed);
                slot.ceiling.store(0, Ordering::Relaxed);
            }
            return;
        }
        for slot in self.slots() {
            // SAFETY: not null while the owner lives, and the lock is held.
            if let Some(unasked_below) = unsafe { slot.unasked_below.load(Ordering::Relaxed).as_ref() } {
                unasked_below.store(0, Ordering::Relaxed);
            }
        }
        barrier();
        // A thread that is claiming one sees the limit if it is not seen here: see `ask::begin`.
        for slot in self.slots().filter(|slot| slot.is_claimed()) {
            if slot.backend_counts() {
                slot.ceiling.store(read_foreign(&slot.backend_allocated), Ordering::Relaxed);
            } else if !was_armed {
                slot.margin.store(MARGIN, Ordering::Relaxed);
            }
        }
        self.find_committed();
    }

    /// Finds what is committed anew: every thread's frees are known then.
    pub(crate) fn find_committed(&self) {
        let [in_flight, beside] = [&self.limit.in_flight, &self.limit.beside].map(|part| part.load(Ordering::Relaxed));
        let mut committed = in_flight.wrapping_add(beside);
        for slot in core::iter::once(self.shared()).chain(self.slots()) {
            let freed = slot.freed.load(Ordering::Acquire).wrapping_add(read_foreign(&slot.backend_freed));
            slot.freed_known.store(freed, Ordering::Relaxed);
            super::sync::fence(Ordering::Acquire);
            let given = [&slot.granted, &slot.margin].map(|part| part.load(Ordering::Relaxed));
            // What an operation took that was under way as the pool became armed.
            let ceiling = slot.ceiling.load(Ordering::Relaxed).max(read_foreign(&slot.backend_allocated));
            slot.ceiling.store(ceiling, Ordering::Relaxed);
            committed =
                committed.wrapping_add(given[0]).wrapping_add(given[1]).wrapping_add(ceiling).wrapping_sub(freed);
        }
        self.limit.committed.store(committed, Ordering::Relaxed);
    }

    /// Takes bytes of the limit, if there are so many.
    fn commit(&self, bytes: u64) -> bool {
        if !self.has_left(bytes) {
            return false;
        }
        self.limit.give(bytes);
        true
    }

    /// Whether so many are left, once all frees are known and what others have too was asked for.
    fn has_left(&self, bytes: u64) -> bool {
        if bytes <= self.limit.left() {
            return true;
        }
        self.find_committed();
        bytes <= self.limit.left() || share::raise(&self.limit, bytes)
    }

    /// Takes bytes for what is no block.
    pub(super) fn take_beside(&self, bytes: u64) -> bool {
        let granted = !self.limit.is_armed() || self.has_left(bytes);
        if granted {
            self.add_beside(bytes);
        }
        granted
    }

    /// Takes bytes for what is no block, and is there.
    pub(super) fn add_beside(&self, bytes: u64) {
        self.limit.beside.store(self.limit.beside.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
        self.limit.give(bytes);
    }

    /// What is no block any more.
    pub(super) fn give_back_beside(&self, bytes: u64) {
        let beside = self.limit.beside.load(Ordering::Relaxed);
        self.limit.beside.store(beside.saturating_sub(bytes), Ordering::Relaxed);
        self.limit.take_back(bytes.min(beside));
    }

    /// Gives back what the slot's owner, who calls, freed of late.
    pub(super) fn report_frees(&self, slot: &Slot) {
        let freed = slot.freed.load(Ordering::Relaxed).wrapping_add(read_foreign(&slot.backend_freed));
        let known = slot.freed_known.load(Ordering::Relaxed);
        slot.freed_known.store(freed, Ordering::Relaxed);
        self.limit.take_back(freed.wrapping_sub(known));
    }

    /// So much that every thread may be given as much and more is left.
    fn is_plenty_left(&self) -> bool {
        let plenty = 2 * GIVEN_MAX * self.threads().max(1) as u64;
        self.limit.left() > plenty || (share::is_shared() && self.has_left(plenty))
    }

    // ---- Where the ledger counts -------------------------------------------------------------------------------

    /// Raises the room of the slot's owner, who calls, to `room` bytes, or to what may be; true if it may go on without
    /// being asked. Otherwise its room is used up and it has no margin any more.
    pub(crate) fn top_up(&self, slot: &Slot, room: u64) -> bool {
        if !self.limit.is_armed() {
            // Nor more than under a limit: there may be one soon.
            slot.grant(room.min(ROOM));
            return true;
        }
        self.report_frees(slot);
        let (missing, margin) = (slot.missing_room(), slot.margin.load(Ordering::Relaxed));
        for try_shrunk in [false, true] {
            let shrunk = self.limit.left() / (4 * self.threads().max(1) as u64);
            let room = if try_shrunk { room.min(shrunk) } else { room }.min(ROOM);
            if room >= ROOM_MIN && self.commit((room + missing + MARGIN).wrapping_sub(margin)) {
                slot.margin.store(MARGIN, Ordering::Relaxed);
                slot.grant(room);
                share::trim(&self.limit);
                return true;
            }
        }
        // What it has taken beyond its room was in the margin; what is left of that goes back.
        slot.grant(0);
        slot.margin.store(0, Ordering::Relaxed);
        self.limit.give(missing.wrapping_sub(margin));
        false
    }

    /// For a thread without a margin, who calls: whether it may go on without being asked.
    pub(crate) fn equip(&self, slot: &Slot) -> bool {
        if !self.limit.is_armed() {
            return true;
        }
        let margin = slot.margin.load(Ordering::Relaxed);
        let equipped = margin == MARGIN || (self.is_plenty_left() && self.commit(MARGIN - margin));
        if equipped {
            slot.margin.store(MARGIN, Ordering::Relaxed);
        }
        equipped
    }

    /// Takes back what the slot's owner, who calls and is to ask from now on, was given ahead and has not used.
    pub(crate) fn take_back_given(&self, slot: &Slot) {
        let [room, margin] = [&slot.room, &slot.margin].map(|part| part.load(Ordering::Relaxed));
        slot.grant(0);
        slot.margin.store(0, Ordering::Relaxed);
        self.limit.take_back(room.wrapping_add(margin));
        if slot.backend_counts() {
            self.trim_ceiling(slot);
        }
    }

    /// Takes `bytes` for a block, and counts them in the slot of the calling thread, past its room; false if there are not
    /// so many.
    pub(crate) fn charge_asked(&self, slot: &Slot, bytes: u64) -> bool {
        self.report_frees(slot);
        let granted = self.commit(bytes);
        if granted {
            slot.charge_past_room(bytes);
        }
        granted
    }

    /// Counts bytes in a slot, past its room, whatever the limit: they were given out already.
    pub(crate) fn charge_unasked(&self, slot: &Slot, bytes: u64) {
        slot.charge_past_room(bytes);
        self.limit.give(bytes);
    }

    /// Takes `bytes` for an operation that is going to be made; [`land`](Pool::land) has to follow.
    pub(crate) fn take_off(&self, bytes: u64) -> bool {
        let granted = self.commit(bytes);
        if granted {
            self.limit.in_flight.store(self.limit.in_flight.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
        }
        granted
    }

    /// The operation for which `bytes` were taken is made: they go back.
    pub(crate) fn land(&self, bytes: u64) {
        let in_flight = self.limit.in_flight.load(Ordering::Relaxed);
        // Forgotten in a child that was forked in the midst of it.
        let bytes = bytes.min(in_flight);
        self.limit.in_flight.store(in_flight - bytes, Ordering::Relaxed);
        self.limit.take_back(bytes);
    }

    // ---- Where the backend counts ------------------------------------------------------------------------------

    /// For the slot's owner, who calls: whether an operation may be made that the backend counts with at most `bytes`.
    pub(crate) fn raise_ceiling(&self, slot: &Slot, bytes: u64) -> bool {
        self.report_frees(slot);
        let allocated = read_foreign(&slot.backend_allocated);
        let ahead = slot.counts_ahead();
        let wanted = allocated.wrapping_add(ahead).wrapping_add(bytes);
        let rise = self.rise_to(slot, wanted);
        if rise <= 0 {
            return true;
        }
        for extra in [if ahead == 0 && self.is_plenty_left() { ROOM } else { 0 }, 0] {
            if self.commit(rise as u64 + extra) {
                slot.ceiling.store(wanted.wrapping_add(extra), Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    /// How far the ceiling is to rise to a value of the backend's counter.
    fn rise_to(&self, slot: &Slot, value: u64) -> i64 {
        value.wrapping_sub(slot.ceiling.load(Ordering::Relaxed)) as i64
    }

    /// Lowers the ceiling of the slot's owner, who calls, to what it may use.
    pub(crate) fn trim_ceiling(&self, slot: &Slot) {
        let allocated = read_foreign(&slot.backend_allocated);
        let wanted = allocated.wrapping_add(slot.counts_ahead());
        let rise = self.rise_to(slot, wanted);
        if self.limit.is_armed() && rise < 0 {
            slot.ceiling.store(wanted, Ordering::Relaxed);
            self.limit.give(rise as u64);
        }
    }

    /// The backend tells the slot's owner, who calls, that it has allocated another [`ROOM`], and that it will do so again:
    /// whether it may go on unasked until then.
    pub(crate) fn renew(&self, slot: &Slot) -> bool {
        self.report_frees(slot);
        let least = read_foreign(&slot.backend_allocated).wrapping_add(GIVEN_MAX);
        let wanted = least.wrapping_add(self.extra());
        let rise = self.rise_to(slot, wanted);
        if rise > 0 && !self.commit(rise as u64) {
            return false;
        }
        if rise < 0 {
            self.limit.give(rise as u64);
        }
        slot.ceiling.store(wanted, Ordering::Relaxed);
        true
    }

    /// What a thread may be given beyond the usual. Nothing where somebody wants to know when the use rises, and is to be told
    /// in time.
    fn extra(&self) -> u64 {
        let is_watched = self.limit.watched_above_inverted.load(Ordering::Relaxed) != !usize::MAX;
        if is_watched {
            0
        } else {
            (self.limit.left() / (256 * self.threads().max(1) as u64)).min(EXTRA_MAX) / ROOM * ROOM
        }
    }

    /// The counters of the slot's owner, who calls, are read from now on: what they say exists. What it was given to count
    /// itself, it asks for again if it does.
    pub(crate) fn begin_ceiling(&self, slot: &Slot) {
        let margin = slot.margin.load(Ordering::Relaxed);
        slot.margin.store(0, Ordering::Relaxed);
        if self.limit.is_armed() {
            let allocated = read_foreign(&slot.backend_allocated);
            slot.ceiling.store(allocated, Ordering::Relaxed);
            self.limit.give(allocated.wrapping_sub(margin));
            self.report_frees(slot);
        }
    }

    /// The slot's owner ends, or was left behind by a fork, and its backend's counters are folded: what it was given goes
    /// back.
    pub(super) fn end_ceiling(&self, slot: &Slot, allocated: u64) {
        let [ceiling, margin] = [&slot.ceiling, &slot.margin].map(|part| {
            let given = part.load(Ordering::Relaxed);
            part.store(0, Ordering::Relaxed);
            given
        });
        let granted = slot.granted.load(Ordering::Relaxed);
        slot.give_up_room();
        let given_up = granted.wrapping_sub(slot.granted.load(Ordering::Relaxed));
        if self.limit.is_armed() {
            // The sums that were the backend's are the slot's by now.
            self.limit.give(allocated.wrapping_sub(ceiling).wrapping_sub(margin).wrapping_sub(given_up));
        }
    }

    /// In a forked child: nobody else is at anything.
    pub(super) fn forget_others(&self) {
        self.limit.in_flight.store(0, Ordering::Relaxed);
        if self.limit.is_armed() {
            self.find_committed();
        }
    }
}

impl Slot {
    /// Whether the ledger reads the backend's counters of the owner.
    fn backend_counts(&self) -> bool {
        !self.backend_allocated.load(Ordering::Relaxed).is_null()
    }

    /// For the owner: whether its backend may count another [`ROOM`], and what is asked for by nobody then.
    pub(super) fn needs_no_renewal(&self) -> bool {
        self.is_below_ceiling(GIVEN_MAX)
    }

    /// For the owner: whether its backend may count so many bytes more.
    pub(super) fn is_below_ceiling(&self, bytes: u64) -> bool {
        let allocated = read_foreign(&self.backend_allocated);
        self.ceiling.load(Ordering::Relaxed).wrapping_sub(allocated) as i64 >= bytes as i64
    }

    /// The bytes taken beyond the room.
    fn missing_room(&self) -> u64 {
        (self.room.load(Ordering::Relaxed) as i64).min(0).unsigned_abs()
    }

    /// The bytes that its owner, who calls, may allocate unasked over the backend that counts.
    fn counts_ahead(&self) -> u64 {
        // SAFETY: null, or the calling thread's own.
        match unsafe { self.unasked_below.load(Ordering::Relaxed).as_ref() } {
            Some(below) if below.load(Ordering::Relaxed) > 0 => GIVEN_MAX,
            _ => 0,
        }
    }
}
