//! zmalloc-keyspace beside other caches, in the same bytes: see the usage below. Each measurement is a process of its own.

mod caches;
mod servers;
mod traces;

use caches::Cache;
use std::process::Command;
use std::time::{Duration, Instant};
use traces::{Random, Zipf};

#[global_allocator]
static HEAP: zmalloc::Zmalloc = zmalloc::Zmalloc::new();

const USAGE: &str = "\
usage: keyspace-bench WHAT [CACHE ...]
  bytes    bytes for each of a million keys, by the ledger and resident
  churn    resident memory with a bound of 200 MiB while sizes change
  hits     hits in the same bytes
  speed    operations each second by threads, in the same bytes
  pauses   the longest that one call took, of its thread's processor time
  expiry   how late keys are given back";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["one", what, cache, ref rest @ ..] => one(what, cache, rest),
        [what, ref wanted @ ..] if wanted.iter().all(|name| !name.is_empty()) => {
            let servers: &[&str] = if ["bytes", "churn"].contains(&what) { servers::NAMES } else { &[] };
            all(what, if wanted.is_empty() { [caches::NAMES, servers].concat() } else { wanted.to_vec() });
        }
        _ => panic!("{USAGE}"),
    }
}

/// Runs one measurement in a process of its own, and answers what it printed.
fn measure(arguments: &[&str]) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg("one").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn row(name: &str, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    println!("| {name} | {} |", cells.join(" | "));
}

fn head(first: &str, columns: &[String]) {
    row(first, columns.iter().cloned());
    println!("|{}", "---|".repeat(columns.len() + 1));
}

fn all(what: &str, names: Vec<&str>) {
    let text = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>();
    match what {
        "bytes" => {
            head(
                "bytes for each key, used / resident",
                &text(&["8 B", "8 B, TTL", "64 B", "64 B, TTL", "512 B", "512 B, TTL"]),
            );
            for name in &names {
                let cases = [8, 64, 512].iter().flat_map(|size| [(size, "no"), (size, "ttl")]);
                row(name, cases.map(|(size, ttl)| measure(&[what, name, &size.to_string(), ttl])));
            }
        }
        "churn" => {
            head(
                "resident MiB at a bound of 200",
                &text(&[
                    "2M x 100 B",
                    "800k x 300 B",
                    "600k x 50 to 1000 B",
                    "250k x 1500 B",
                    "most",
                    "of the last 1000 written, readable",
                ]),
            );
            names.iter().for_each(|name| row(name, [measure(&[what, name])]));
        }
        "hits" => {
            for share in ["0.02", "0.1"] {
                head(&format!("hits in %, {share} of all bytes"), &text(traces::NAMES));
                names
                    .iter()
                    .for_each(|name| row(name, traces::NAMES.iter().map(|trace| measure(&[what, name, trace, share]))));
                println!();
            }
        }
        "speed" => {
            head(
                "million operations each second, median of 5",
                &text(&["get, 1 thread", "2", "8", "get or set, 1 thread", "2", "8"]),
            );
            let cases: Vec<(&str, &str)> =
                ["get", "mixed"].iter().flat_map(|kind| ["1", "2", "8"].map(|threads| (*kind, threads))).collect();
            let mut figures = vec![vec![Vec::new(); cases.len()]; names.len()];
            for _ in 0..5 {
                for (case, (kind, threads)) in cases.iter().enumerate() {
                    for (at, name) in names.iter().enumerate() {
                        figures[at][case].push(measure(&[what, name, kind, threads]).parse::<f64>().unwrap());
                    }
                }
            }
            for (name, cases) in names.iter().zip(figures) {
                row(
                    name,
                    cases.into_iter().map(|mut rounds| {
                        rounds.sort_by(f64::total_cmp);
                        format!("{:.2}", rounds[rounds.len() / 2])
                    }),
                );
            }
        }
        "pauses" => {
            head(
                "longest call, microseconds (99.99 %)",
                &text(&["growing to 10M keys", "evicting", "expiring", "reading"]),
            );
            names.iter().for_each(|name| row(name, [measure(&[what, name])]));
        }
        "expiry" => {
            head("keys given back of 1000 that are due, milliseconds after", &text(&["100", "200", "500", "1000"]));
            row("keyspace, 100,000 others", [measure(&[what, "keyspace"])]);
        }
        _ => panic!("{USAGE}"),
    }
}

fn one(what: &str, cache: &str, rest: &[&str]) {
    match (what, rest) {
        ("bytes", [size, ttl]) => bytes(cache, size.parse().unwrap(), *ttl == "ttl"),
        ("churn", []) => churn(cache),
        ("hits", [trace, share]) => hits(cache, trace, share.parse().unwrap()),
        ("speed", [kind, threads]) => speed(cache, kind, threads.parse().unwrap()),
        ("pauses", []) => pauses(cache),
        ("expiry", []) => expiry(),
        _ => panic!("{USAGE}"),
    }
}

/// A cache, in this process or in one of its own.
enum Store {
    Here(Box<dyn Cache>),
    Server(servers::Server),
}

impl Store {
    fn new(name: &str, max_memory: usize, entries: usize, ttl: Option<Duration>) -> Store {
        match servers::Server::start(name, max_memory) {
            Some(server) => Store::Server(server),
            None => Store::Here(caches::make(name, max_memory, entries, ttl)),
        }
    }

    fn cache(&self) -> &dyn Cache {
        match self {
            Store::Here(cache) => &**cache,
            Store::Server(server) => server,
        }
    }

    /// Bytes used and resident.
    fn memory(&self) -> (usize, usize) {
        match self {
            Store::Here(_) => (zmalloc::used_memory(), resident_of("self")),
            Store::Server(server) => (server.used(), resident_of(&server.pid().to_string())),
        }
    }
}

fn resident_of(process: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn key(number: u64) -> [u8; 14] {
    let mut key = *b"key:0000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn bytes(name: &str, size: usize, ttl: bool) {
    const KEYS: u64 = 1_000_000;
    let value = vec![7u8; size];
    let hour = Duration::from_secs(3600);
    let store = Store::new(name, 8 << 30, KEYS as usize, ttl.then_some(hour));
    let cache = store.cache();
    let before = store.memory();
    for number in 0..KEYS {
        if ttl { cache.set_for(&key(number), &value, hour) } else { cache.set(&key(number), &value) }
    }
    cache.settle();
    let after = store.memory();
    let each = |before: usize, after: usize| (after - before) as f64 / KEYS as f64;
    println!("{:.1} / {:.1}", each(before.0, after.0), each(before.1, after.1));
}

fn churn(name: &str) {
    const MIB: usize = 1 << 20;
    let store = Store::new(name, 200 * MIB, 1_000_000, None);
    let (cache, resident) = (store.cache(), || store.memory().1);
    let mut random = Random(7);
    let (mut number, mut most, mut cells) = (0u64, 0, Vec::new());
    let mut readable = Vec::new();
    for (keys, least, largest) in
        [(2_000_000, 100, 100), (800_000, 300, 300), (600_000, 50, 1000), (250_000, 1500, 1500)]
    {
        for at in 0..keys {
            let size = least + (random.next() % (largest - least + 1) as u64) as usize;
            cache.set(&key(number), &vec![1; size]);
            number += 1;
            if at % 1000 == 0 {
                most = most.max(resident());
            }
        }
        cells.push((resident() / MIB).to_string());
        readable.push((number - 1000..number).filter(|&number| cache.get(&key(number))).count().to_string());
    }
    println!("{} | {} | {}", cells.join(" | "), most / MIB, readable.join(", "));
}

fn hits(name: &str, trace: &str, share: f64) {
    const REQUESTS: usize = 6_000_000;
    // What an entry takes with us.
    const ENTRY: f64 = 130.0;
    let requests = traces::make(trace, REQUESTS);
    let bytes = (traces::OBJECTS as f64 * share * ENTRY) as usize;
    let cache = caches::make(name, bytes, (bytes as f64 / ENTRY) as usize, None);
    let (mut hits, mut asked) = (0u64, 0u64);
    for (at, &object) in requests.iter().enumerate() {
        let key = key(object);
        let hit = cache.get(&key);
        if !hit {
            cache.set(&key, &[1; 100]);
        }
        if at >= REQUESTS / 5 {
            asked += 1;
            hits += u64::from(hit);
        }
    }
    println!("{:.1}", hits as f64 * 100.0 / asked as f64);
}

fn speed(name: &str, kind: &str, threads: usize) {
    const OBJECTS: u64 = 1_000_000;
    const OPERATIONS: usize = 2_000_000;
    // Of what is asked for, about half fits.
    let bytes = if kind == "get" { 2 << 30 } else { 48 << 20 };
    let cache = caches::make(name, bytes, if kind == "get" { OBJECTS as usize } else { 500_000 }, None);
    let zipf = Zipf::new(OBJECTS as usize, 0.99);
    let cache: &dyn Cache = &*cache;
    for object in 0..OBJECTS {
        cache.set(&key(object), &[1; 64]);
    }
    cache.settle();
    let draws: Vec<Vec<u64>> = (0..threads)
        .map(|thread| {
            let mut random = Random(thread as u64 * 77 + 1);
            (0..OPERATIONS / threads).map(|_| zipf.draw(&mut random).wrapping_mul(7919) % OBJECTS).collect()
        })
        .collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for draws in &draws {
            scope.spawn(move || {
                for &object in draws {
                    let key = key(object);
                    if !cache.get(&key) && kind == "mixed" {
                        cache.set(&key, &[1; 64]);
                    }
                }
            });
        }
    });
    println!("{:.3}", OPERATIONS as f64 / start.elapsed().as_secs_f64() / 1e6);
}

fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The longest of the calls, and what all but one of ten thousand are below.
fn longest(calls: u64, mut call: impl FnMut(u64)) -> String {
    let mut times = Vec::with_capacity(calls as usize);
    for at in 0..calls {
        let start = thread_time();
        call(at);
        times.push((thread_time() - start).as_nanos() as u32);
    }
    times.sort_unstable();
    let us = |at: usize| f64::from(times[at]) / 1000.0;
    format!("{:.0} ({:.0})", us(times.len() - 1), us(times.len() - 1 - times.len() / 10_000))
}

fn pauses(name: &str) {
    const KEYS: u64 = 10_000_000;
    let value = [1; 32];
    let mut cells = Vec::new();
    let growing = caches::make(name, 16 << 30, KEYS as usize, None);
    cells.push(longest(KEYS, |at| growing.set(&key(at), &value)));
    drop(growing);
    let evicting = caches::make(name, 400 << 20, KEYS as usize / 2, None);
    (0..KEYS).for_each(|at| evicting.set(&key(at), &value));
    cells.push(longest(KEYS / 2, |at| evicting.set(&key(KEYS + at), &value)));
    drop(evicting);
    let second = Duration::from_secs(2);
    let expiring = caches::make(name, 16 << 30, KEYS as usize, Some(second));
    (0..KEYS / 2).for_each(|at| expiring.set_for(&key(at), &value, second));
    // All of it ends while this goes on.
    cells.push(longest(KEYS / 2, |at| expiring.set_for(&key(KEYS + at), &value, second * 1000)));
    cells.push(longest(KEYS / 4, |at| _ = expiring.get(&key(KEYS + at))));
    println!("{}", cells.join(" | "));
}

fn expiry() {
    let keyspace = zmalloc_keyspace::Keyspace::builder().background(true).build().unwrap();
    (0..100_000).for_each(|at| keyspace.set_for(&key(at), b"value", Duration::from_secs(3600)).unwrap());
    (0..1000).for_each(|at| keyspace.set_for(&key(1_000_000 + at), b"value", Duration::from_secs(2)).unwrap());
    let due = Instant::now() + Duration::from_secs(2);
    let gone = [100, 200, 500, 1000].map(|after| {
        std::thread::sleep((due + Duration::from_millis(after)).saturating_duration_since(Instant::now()));
        (101_000 - keyspace.len()).to_string()
    });
    println!("{}", gone.join(" | "));
}
