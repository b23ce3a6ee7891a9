//! Bytes that nobody vouches for, given to every decoder: damaged ones of every kind, always the same, a fixed number.
//! `fuzz/` searches for more of them.

#[path = "../fuzz/checks.rs"]
mod checks;

use zmalloc_values::dump::{Form, Payload};
use zmalloc_values::packed::{Format, ListpackFormat, ZiplistFormat};
use zmalloc_values::{Global, HyperLogLog, Intset, Packed};

const INPUTS: usize = if cfg!(miri) { 40 } else { 20_000 };

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Damages good bytes, and gives them to a check: some have to be let in, and some refused.
fn play(seed: u64, good: impl Fn(&mut Random) -> Vec<u8>, mend: impl Fn(&mut Vec<u8>), check: impl Fn(&[u8]) -> bool) {
    let mut random = Random(seed);
    let (mut let_in, mut refused) = (0, 0);
    for number in 0..INPUTS {
        let mut bytes = good(&mut random);
        if number % 16 == 0 {
            assert!(check(&bytes), "good bytes: {bytes:?}");
        }
        for _ in 0..=random.below(4) {
            damage(&mut bytes, &mut random);
        }
        // With lengths that are right, more of the rest is looked at.
        if number % 2 == 0 {
            mend(&mut bytes);
        }
        let counter = if check(&bytes) { &mut let_in } else { &mut refused };
        *counter += 1;
    }
    assert!(let_in > INPUTS / 1000 && refused > INPUTS / 10, "{let_in} let in, {refused} refused");
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    const TELLING: [u8; 14] = [0, 1, 2, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xE0, 0xF0, 0xF4, 0xFD, 0xFE, 0xFF];
    let at = random.below(bytes.len());
    let other = random.below(bytes.len());
    match random.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = random.next() as u8,
        2 if at < bytes.len() => bytes[at] = TELLING[random.below(TELLING.len())],
        3 => bytes.truncate(at),
        4 => bytes.insert(at, random.next() as u8),
        5 if at < bytes.len() => drop(bytes.remove(at)),
        6 => {
            let copy = bytes[at.min(other)..at.max(other)].to_vec();
            bytes.splice(at..at, copy);
        }
        _ if at + 4 <= bytes.len() => {
            let large = [0u32, 0xFFFF, 1 << 30, u32::MAX, u32::MAX - 5][random.below(5)];
            bytes[at..at + 4].copy_from_slice(&large.to_le_bytes());
        }
        _ => {}
    }
}

fn good_list<F: Format>(random: &mut Random) -> Vec<u8> {
    let mut list = Packed::<F, Global>::new();
    for _ in 0..random.below(8) {
        match random.below(4) {
            0 => list.push_back((random.next() as i64) >> random.below(64)),
            1 => list.push_back(&vec![b'a'; random.below(12)][..]),
            2 => list.push_back(&vec![b'b'; 240 + random.below(20)][..]),
            _ => list.push_back(&vec![b'c'; random.below(100)][..]),
        }
    }
    list.as_bytes().to_vec()
}

fn mend_total(bytes: &mut [u8]) {
    let total = (bytes.len() as u32).to_le_bytes();
    if let Some(place) = bytes.first_chunk_mut() {
        *place = total;
    }
}

#[test]
fn listpack() {
    play(1, good_list::<ListpackFormat>, |bytes| mend_total(bytes), checks::listpack);
}

#[test]
fn ziplist() {
    play(2, good_list::<ZiplistFormat>, |bytes| mend_total(bytes), checks::ziplist);
}

#[test]
fn intset() {
    let good = |random: &mut Random| {
        let mut set: Intset = Intset::new();
        let shift = [40, 50, 10][random.below(3)];
        for _ in 0..random.below(20) {
            set.insert(random.next() as i64 >> shift);
        }
        set.as_bytes().to_vec()
    };
    let mend = |bytes: &mut Vec<u8>| {
        let width = bytes.first().map_or(2, |&width| width.max(1).into());
        let count = bytes.len().saturating_sub(8) / width;
        if let Some(place) = bytes.get_mut(4..8) {
            place.copy_from_slice(&(count as u32).to_le_bytes());
        }
    };
    play(3, good, mend, checks::intset);
}

#[test]
fn hyperloglog() {
    let good = |random: &mut Random| {
        let mut log: HyperLogLog = HyperLogLog::new();
        for _ in 0..random.below(40) {
            log.add(&random.next().to_le_bytes());
        }
        log.as_bytes().to_vec()
    };
    // A run of zeros that makes up for what is missing.
    let mend = |bytes: &mut Vec<u8>| {
        let (mut at, mut left) = (16, 16384usize);
        while let Some(&first) = bytes.get(at) {
            let (width, count) = match first {
                0..0x40 => (1, usize::from(first) + 1),
                0x40..0x80 => match bytes.get(at + 1) {
                    Some(&low) => (2, usize::from(first - 0x40) * 256 + usize::from(low) + 1),
                    None => return bytes.truncate(at),
                },
                _ => (1, usize::from(first % 4) + 1),
            };
            if count > left {
                return bytes.truncate(at);
            }
            (at, left) = (at + width, left - count);
        }
        if left > 0 {
            bytes.extend_from_slice(&((left as u16 - 1) | 0x4000).to_be_bytes());
        }
    };
    play(4, good, mend, checks::hyperloglog);
}

#[test]
fn dense_hyperloglog() {
    let mut log: HyperLogLog = HyperLogLog::new();
    log.make_dense();
    for number in 0..5000u32 {
        log.add(&number.to_le_bytes());
    }
    let good = log.as_bytes().to_vec();
    let mut random = Random(5);
    let (mut let_in, mut refused) = (0, 0);
    for _ in 0..INPUTS / 100 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        let counter = if checks::hyperloglog(&bytes) { &mut let_in } else { &mut refused };
        *counter += 1;
    }
    assert!(cfg!(miri) || (let_in > 0 && refused > 0), "{let_in} let in, {refused} refused");
    for length in [0, 15, 16, 12_303] {
        assert!(!checks::hyperloglog(&good[..length]));
    }
}

#[test]
fn dump() {
    let good = |random: &mut Random| match random.below(3) {
        0 => Payload::new(Form::String, &vec![b'x'; random.below(100)]).write(),
        1 => Payload::new(Form::HashListpack, &good_list::<ListpackFormat>(random)).write(),
        _ => {
            let lists: Vec<Vec<u8>> = (0..random.below(4)).map(|_| good_list::<ListpackFormat>(random)).collect();
            Payload::quicklist(lists.iter().map(|list| &list[..])).write()
        }
    };
    // The checksum, by bits: without it nothing else would be looked at.
    let mend = |bytes: &mut Vec<u8>| {
        let Some(end) = bytes.len().checked_sub(8) else { return };
        let sum = bytes[..end].iter().fold(0u64, |sum, &byte| {
            (0..8).fold(sum ^ u64::from(byte), |sum, _| (sum >> 1) ^ ((sum & 1) * 0x95AC_9329_AC4B_C9B5))
        });
        bytes[end..].copy_from_slice(&sum.to_le_bytes());
    };
    play(6, good, mend, checks::dump);
}
