//! Whole real programs, bare and under the preloaded library, in turn: median ratios of processor time and of wall time.
//!
//! `programs [--rounds N] [--only PROGRAM] [PRELOAD.so [--swap NAME=BARE.so[+WITH.so]]...] [--under 'NAME=COMMAND']...`
//!
//! Each `--swap` adds two columns' worth of one comparison: the program with `BARE.so` preloaded alone, against the same
//! program counted over that allocator: `WITH.so` if given, else `PRELOAD.so` with `BARE.so` behind it. Each `--under` adds a
//! comparison of the bare program with the same one run by `COMMAND`, like `zm run --quiet --limit 8G --`, which gets what is
//! run as its last arguments.

use std::process::{Command, Stdio};
use std::time::Instant;

fn main() {
    let mut rounds = 11;
    let mut swaps = Vec::new();
    let mut unders = Vec::new();
    let mut preload = None;
    let mut only = String::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => rounds = value().parse().expect("a number of rounds"),
            "--swap" => swaps.push(value()),
            "--only" => only = value(),
            "--under" => unders.push(value()),
            path => preload = Some(path.to_owned()),
        }
    }
    assert!(preload.is_some() || !unders.is_empty(), "usage: programs [OPTIONS] PRELOAD.so, or with --under");
    let folder = std::env::temp_dir().join(format!("zmalloc-programs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the programs");
    prepare(&folder);
    let session = std::path::Path::new("/dev/shm").join(folder.file_name().unwrap());

    let mut pairs: Vec<(String, How, How)> = Vec::new();
    let preload = preload.unwrap_or_default();
    if !preload.is_empty() {
        pairs.push((String::from("forwarding"), How::Bare, How::Preload(preload.clone())));
    }
    for swap in &swaps {
        let (name, libraries) = swap.split_once('=').expect("NAME=BARE.so");
        let (bare, with) = match libraries.split_once('+') {
            Some((bare, with)) => (bare.to_owned(), with.to_owned()),
            None => (libraries.to_owned(), format!("{preload}:{libraries}")),
        };
        pairs.push((name.to_owned(), How::Preload(bare), How::Preload(with)));
    }
    for under in &unders {
        let (name, command) = under.split_once('=').expect("NAME=COMMAND");
        let command = command.split_whitespace().map(str::to_owned).collect();
        pairs.push((name.to_owned(), How::Bare, How::Under(command)));
    }

    println!(
        "| program | counted | bare CPU s | CPU ratio, median (of the fastest) | wall ratio, median |\n|---|---|---|---|---|"
    );
    for (program, script) in PROGRAMS.iter().filter(|(program, _)| program.contains(&only)) {
        for (name, bare, with) in &pairs {
            let mut times: Vec<[(f64, f64); 2]> = Vec::new();
            for round in 0..=rounds {
                let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
                let mut both = [(0.0, 0.0); 2];
                for which in order {
                    std::fs::create_dir_all(&session).expect("a session");
                    both[which] = run(script, &folder, [bare, with][which], &session);
                    std::fs::remove_dir_all(&session).expect("the session goes");
                }
                // The first round warms the caches.
                if round > 0 {
                    times.push(both);
                }
            }
            let ratio = |figure: fn(&(f64, f64)) -> f64| {
                median(times.iter().map(|both| figure(&both[1]) / figure(&both[0])).collect())
            };
            let fastest = |which: usize| times.iter().map(|both| both[which].0).fold(f64::INFINITY, f64::min);
            println!(
                "| {program} | {name} | {:.2} | {:.3} ({:.3}) | {:.3} |",
                median(times.iter().map(|both| both[0].0).collect()),
                ratio(|time| time.0),
                fastest(1) / fastest(0),
                ratio(|time| time.1),
            );
        }
    }
    for (name, bare, with) in pairs.iter().filter(|_| "redis-server".contains(&only)) {
        let mut times: Vec<[f64; 2]> = Vec::new();
        for round in 0..=rounds {
            let mut both = [0.0; 2];
            for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                std::fs::create_dir_all(&session).expect("a session");
                both[which] = redis_seconds([bare, with][which], &session, &folder);
                std::fs::remove_dir_all(&session).expect("the session goes");
            }
            if round > 0 {
                times.push(both);
            }
        }
        let fastest = |which: usize| times.iter().map(|both| both[which]).fold(f64::INFINITY, f64::min);
        println!(
            "| redis-server, 400,000 commands | {name} | {:.2} | {:.3} ({:.3}) | |",
            median(times.iter().map(|both| both[0]).collect()),
            median(times.iter().map(|both| both[1] / both[0]).collect()),
            fastest(1) / fastest(0),
        );
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
}

/// How a program is run.
enum How {
    Bare,
    /// With this in `LD_PRELOAD`.
    Preload(String),
    /// By this command.
    Under(Vec<String>),
}

impl How {
    fn command(&self, program: &[&str], session: &std::path::Path) -> Command {
        let under = if let How::Under(command) = self { command.as_slice() } else { &[] };
        let mut words = under.iter().map(String::as_str).chain(program.iter().copied());
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).stdout(Stdio::null()).stdin(Stdio::null());
        match self {
            How::Bare => {}
            How::Preload(libraries) => _ = command.env("LD_PRELOAD", libraries).env("ZMALLOC_SESSION", session),
            // What it has to say of the program.
            How::Under(_) => _ = command.stderr(Stdio::null()),
        }
        command
    }
}

/// The server's own processor seconds for a load of SET and GET, by its own account.
fn redis_seconds(how: &How, session: &std::path::Path, folder: &std::path::Path) -> f64 {
    let port = (20000 + std::process::id() % 20000).to_string();
    let directory = folder.to_string_lossy();
    let program =
        ["redis-server", "--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &directory];
    let mut server = how.command(&program, session);
    server.stderr(Stdio::null());
    let mut server = server.spawn().expect("redis-server");
    let client = |arguments: &[&str]| {
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    while !client(&["ping"]).contains("PONG") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let load = ["-p", &port, "-n", "200000", "-P", "16", "-r", "100000", "-d", "64", "-q", "-t", "set,get"];
    let status = Command::new("redis-benchmark").args(load).stdout(Stdio::null()).status().expect("redis-benchmark");
    assert!(status.success());
    let figures = client(&["info", "cpu"]);
    let figure = |name: &str| -> f64 {
        let line = figures.lines().find_map(|line| line.strip_prefix(name)).expect("a figure of INFO cpu");
        line.trim().parse().expect("seconds")
    };
    let seconds = figure("used_cpu_user:") + figure("used_cpu_sys:");
    client(&["shutdown", "nosave"]);
    server.wait().expect("the server ends");
    seconds
}

/// What is run, each by `sh -c` in a folder with a git repository, a C file and a JSON file.
const PROGRAMS: &[(&str, &str)] = &[
    ("python3 JSON", "exec ./python3 json_round_trip.py"),
    ("python3 JSON, PYTHONMALLOC=malloc", "PYTHONMALLOC=malloc exec ./python3 json_round_trip.py"),
    (
        "sqlite3",
        "exec sqlite3 :memory: 'create table t(a integer primary key, b text, c real);
         with recursive n(i) as (select 1 union all select i+1 from n where i<300000)
         insert into t select i, hex(i*7919), i*0.5 from n;
         create index tb on t(b); select count(*), sum(c) from t where b like \"%3\";'",
    ),
    ("gcc -O2", "exec gcc -O2 -c big.c -o big.o"),
    ("git repack", "exec git -C repository repack -adfq --threads=1"),
    ("jq", "exec jq 'group_by(.kind) | map({kind: .[0].kind, n: length, sum: (map(.value) | add)})' data.json"),
    // What starting a process costs, and nothing else.
    ("sh, 200 processes", "i=0; while [ $i -lt 100 ]; do /bin/true; (/bin/true; :); i=$((i+1)); done"),
];

fn prepare(folder: &std::path::Path) {
    let script = r#"
# Python itself: what is first in the path may be a script of dozens of processes that looks for it.
printf '#!/bin/sh\nexec %s "$@"\n' "$(python3 -c 'import sys; print(sys.executable)')" > python3 && chmod +x python3
cat > json_round_trip.py <<'P'
import json
data = [{"id": i, "name": "item %d" % i, "tags": ["a%d" % (i % 7), "b"], "value": i * 1.5} for i in range(60000)]
for _ in range(3):
    data = json.loads(json.dumps(data))
print(len(data))
P
python3 - <<'P'
import json, random
random.seed(7)
json.dump([{"kind": "k%d" % random.randrange(50), "value": random.random()} for _ in range(60000)], open("data.json", "w"))
with open("big.c", "w") as f:
    for i in range(350):
        f.write("int f%d(int *a, int n) { int s = %d; for (int i = 0; i < n; i++) { if (a[i] %% %d) s += a[i] * i; else s ^= a[i] >> 3; } return s; }\n" % (i, i, i % 9 + 2))
P
git init -q repository && cd repository && git config user.name t && git config user.email t@example.org
for i in $(seq 1 150); do seq $i $((i * 900)) > file$((i % 11)); git add -A; git commit -qm "change $i"; done
"#;
    let status = Command::new("bash").args(["-euc", script]).current_dir(folder).status().expect("bash");
    assert!(status.success(), "the programs' data could not be made");
}

/// Processor and wall seconds of one run, its children included.
fn run(script: &str, folder: &std::path::Path, how: &How, session: &std::path::Path) -> (f64, f64) {
    let mut command = how.command(&["/bin/sh", "-c", script], session);
    command.current_dir(folder);
    let before = children_seconds();
    let start = Instant::now();
    let status = command.status().expect("a program");
    let wall = start.elapsed().as_secs_f64();
    assert!(status.success(), "{script} failed");
    (children_seconds() - before, wall)
}

fn children_seconds() -> f64 {
    // SAFETY: a zeroed rusage is valid, and is written to.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
