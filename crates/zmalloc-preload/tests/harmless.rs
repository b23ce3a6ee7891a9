//! Real programs do what they do without the library, to the byte; also where it cannot publish.

mod common;

use common::{Directory, compile, figure, has, library, run, under};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

fn assert_same(command: impl Fn() -> Command) {
    let session = Directory::new();
    let bare = run(&mut command());
    let output = run(command().env("LD_PRELOAD", library()).env("ZMALLOC_SESSION", &session.0));
    assert_eq!((&bare.stdout, &bare.stderr), (&output.stdout, &output.stderr));
    let segments = session.segments();
    assert!(segments.iter().any(|segment| segment.blocks_allocated() > 0), "{segments:?}");
    for segment in segments {
        assert!(segment.totals.freed_bytes <= segment.totals.allocated_bytes, "{segment:?}");
        assert!(segment.totals.live_bytes() <= segment.used_peak_bytes);
        assert_eq!(segment.totals.live_bytes() == 0, segment.details.blocks_live() == 0);
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script]);
    command
}

#[test]
fn shells_and_pipelines() {
    assert_same(|| shell("ls -laR /usr/share/doc | sort | tail -n 2000"));
    assert_same(|| {
        shell("for i in $(seq 50); do (echo $i $(echo $((i * i)))) ; done | sort -rn | head -n 40 | md5sum")
    });
    assert_same(|| {
        shell("trap 'echo trapped' USR1; kill -USR1 $$; cat <(seq 1000) <(seq 7) | grep -c 7; exec echo end")
    });
    assert_same(|| shell("find /usr/include -name '*.h' | xargs -n 200 wc -c | tail -n 3"));
}

#[test]
fn perl() {
    if has("perl") {
        assert_same(|| {
            let mut command = Command::new("perl");
            command.env("PERL_HASH_SEED", "0");
            command.args([
                "-e",
                "my %h; $h{$_ % 977} .= $_ for 1..200000; print join(',', map { length $h{$_} } sort keys %h)",
            ]);
            command
        });
        assert_same(|| {
            shell(
                "perl -e 'for (1..20) { my $p = fork; if (!$p) { my @a = (1..1000); exit 0 } } 1 while wait > 0; print qq{done\n}'",
            )
        });
    }
}

#[test]
fn python() {
    if has("python3") {
        let script = "import json, threading, subprocess, multiprocessing as m
d = {str(i): [i, i * 2.5, 'x' * (i % 50)] for i in range(20000)}
for _ in range(3): d = json.loads(json.dumps(d))
t = [threading.Thread(target=lambda: json.dumps(d)) for _ in range(4)]
[x.start() for x in t]; [x.join() for x in t]
print(len(json.dumps(d)), subprocess.run(['echo', 'child'], capture_output=True).stdout)
with m.get_context('fork').Pool(3) as p: print(p.map(len, [d] * 9))";
        for allocator in ["pymalloc", "malloc"] {
            assert_same(|| {
                let mut command = Command::new("python3");
                command.env("PYTHONMALLOC", allocator).args(["-c", script]);
                command
            });
        }
    }
}

#[test]
fn git() {
    if has("git") {
        let directory = Directory::new();
        let at = directory.0.to_str().expect("text");
        let make = format!(
            "cd {at} && git init -q . && git config user.name t && git config user.email t@t.t && \
             for i in 1 2 3 4 5 6 7 8; do seq $((i * 300)) > f$i; git add .; \
             GIT_AUTHOR_DATE=2020-01-01T00:00:0$i GIT_COMMITTER_DATE=2020-01-01T00:00:0$i git commit -qm $i; done; git log --stat"
        );
        let session = Directory::new();
        run(shell(&make).env("LD_PRELOAD", library()).env("ZMALLOC_SESSION", &session.0));
        assert_same(|| {
            shell(&format!("cd {at} && git log --stat -p --no-color && git gc -q && git fsck && git rev-parse HEAD"))
        });
    }
}

#[test]
fn databases_and_compilers() {
    if has("sqlite3") {
        assert_same(|| {
            let mut command = Command::new("sqlite3");
            command.args([
                ":memory:",
                "create table t(a integer primary key, b text); \
                 with recursive c(x) as (select 1 union all select x+1 from c where x<30000) insert into t select x, hex(x*x) from c; \
                 create index i on t(b); select count(*), sum(length(b)), max(b) from t where b > '3';",
            ]);
            command
        });
    }
    assert_same(|| shell("echo 'int f(int x) { return x * 3; }' | cc -O2 -xc -S -o - -"));
}

/// The library neither helps nor hinders, and says nothing, wherever it cannot publish.
#[test]
fn where_nothing_can_be_published() {
    let build = Directory::new();
    let program = compile(&build, "family.c", &[]);
    let count = |command: &mut Command| -> Output {
        let output = run(command);
        assert_eq!(output.stderr, b"");
        assert!(figure(&output, "allocated") > 0);
        output
    };
    let mut bare = Command::new(&program);
    bare.env("LD_PRELOAD", library());
    count(&mut bare);
    for directory in ["", "relative", "/nowhere/at/all", "/dev/null", "/proc", &"/x".repeat(3000)] {
        count(bare.env("ZMALLOC_SESSION", directory));
    }
    let session = Directory::new();
    std::fs::set_permissions(&session.0, PermissionsExt::from_mode(0o500)).expect("ours");
    count(&mut under(&program, &session));
    std::fs::set_permissions(&session.0, PermissionsExt::from_mode(0o700)).expect("ours");

    for (limit, value) in [(libc::RLIMIT_FSIZE, 0), (libc::RLIMIT_NOFILE, 3)] {
        let session = Directory::new();
        let mut limited = under(&program, &session);
        let limits = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: one system call between fork and exec. After it the loader still has to open the libraries.
        unsafe {
            limited.pre_exec(move || {
                if limit == libc::RLIMIT_FSIZE {
                    libc::setrlimit(limit, &limits);
                }
                Ok(())
            })
        };
        count(&mut limited);
        let published = if limit == libc::RLIMIT_FSIZE { 0 } else { 1 };
        assert_eq!(session.segments().len(), published);
    }
}

/// A session that ends while its programs run: their children count for themselves.
#[test]
fn where_the_directory_goes_away() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "forks.c", &[]);
    let script = format!("rm -r {0}; (echo within; {1} both) ", session.0.display(), program.display());
    let output = run(shell(&script).env("LD_PRELOAD", library()).env("ZMALLOC_SESSION", &session.0));
    assert!(output.stdout.starts_with(b"within\n"));
    std::fs::create_dir(&session.0).expect("gone");
}
