//! Every function of the family, threads, forks and ends: the segment says what the program itself recounted.

mod common;

use common::{Directory, compile, eventually, figure, finish, library, run, under};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use zmalloc::ledger::Snapshot;

/// Exact to the byte and block, on top of what a program of this kind has anyway.
fn assert_recounted(segment: &Snapshot, output: &Output, anyway: (u64, u64)) {
    let (allocated, freed) = (figure(output, "allocated"), figure(output, "freed"));
    let blocks = figure(output, "blocks_allocated") - figure(output, "blocks_freed");
    assert_eq!(segment.totals.live_bytes(), allocated - freed + anyway.0, "{segment:?}");
    assert_eq!(segment.details.blocks_live(), blocks + anyway.1);
    assert!(segment.used_peak_bytes >= segment.totals.live_bytes());
}

#[test]
fn the_whole_family_is_counted_however_the_program_ends() {
    let build = Directory::new();
    let program = compile(&build, "family.c", &[]);
    for (end, code, signal) in [
        ("return", Some(0), None),
        ("_exit", Some(3), None),
        ("quick", Some(3), None),
        ("abort", None, Some(libc::SIGABRT)),
        ("kill", None, Some(libc::SIGKILL)),
    ] {
        let session = Directory::new();
        let output = finish(under(&program, &session).arg(end));
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.status.signal()), (code, signal), "{end}: {error}");
        let segment = session.segment();
        assert_recounted(&segment, &output, (0, 0));
        assert_eq!(segment.totals.allocated_bytes, figure(&output, "allocated"), "{end}");
        assert_eq!(segment.blocks_allocated(), figure(&output, "blocks_allocated"));
        assert_eq!(segment.ended_ns.is_some(), code.is_some(), "{end}");
        if code.is_some() {
            assert!(segment.ended_ns > Some(segment.started_ns));
            assert!((1 << 20..64 << 20).contains(&segment.resident_peak_bytes.expect("noted")));
        }
        assert_eq!((segment.backend.as_str(), segment.notes.own_malloc), (common::BACKEND, false));
        // Sizes are read where glibc keeps them: to ask for each costs more than all the rest of counting.
        assert!(!segment.notes.sizes_asked || !cfg!(all(target_env = "gnu", target_arch = "x86_64")));
        assert_eq!(segment.parent_pid, std::process::id());
        assert_eq!(segment.executable, program.canonicalize().expect("it exists").to_str().expect("text"));
        assert_eq!(segment.command, [program.to_str().expect("text"), end]);
    }
}

#[test]
#[cfg(not(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc")))]
fn the_c_librarys_functions_on_request() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "family.c", &[]);
    let output = run(under(&program, &session).env("ZMALLOC_BACKEND", "libc"));
    assert_recounted(&session.segment(), &output, (0, 0));
    assert_eq!(session.segment().backend, "libc");
}

#[test]
fn threads_that_end_and_destructors_that_run_late() {
    let build = Directory::new();
    let program = compile(&build, "threads.c", &[]);
    let session = Directory::new();
    run(under(&program, &session).arg("idle"));
    let idle = session.segment();
    for _ in 0..3 {
        let session = Directory::new();
        let output = run(&mut under(&program, &session));
        let segment = session.segment();
        assert_recounted(&segment, &output, (idle.totals.live_bytes(), idle.details.blocks_live()));
        assert_eq!(segment.threads, 1, "only the main thread is left");
    }
}

/// Over a jemalloc of the system, whose own counters tell the sizes. CI installs it; elsewhere a missing one is said.
#[test]
fn threads_over_an_allocator_that_counts() {
    let libraries = ["/usr/lib/x86_64-linux-gnu/libjemalloc.so.2", "/usr/lib64/libjemalloc.so.2"];
    let Some(jemalloc) = libraries.into_iter().find(|path| std::path::Path::new(path).exists()) else {
        eprintln!("not run: no libjemalloc.so.2 in {libraries:?}");
        return;
    };
    let build = Directory::new();
    let program = compile(&build, "threads.c", &[]);
    let preload = format!("{}:{jemalloc}", library().display());
    let session = Directory::new();
    run(under(&program, &session).env("LD_PRELOAD", &preload).arg("idle"));
    let idle = session.segment();
    for _ in 0..3 {
        let session = Directory::new();
        let output = run(under(&program, &session).env("LD_PRELOAD", &preload));
        assert_recounted(&session.segment(), &output, (idle.totals.live_bytes(), idle.details.blocks_live()));
        assert!(!session.segment().notes.sizes_asked);
    }
}

#[test]
fn both_sides_of_a_fork_go_on_apart() {
    let build = Directory::new();
    let program = compile(&build, "forks.c", &[]);
    for (how, processes) in [("both", 3), ("_Fork", 2)] {
        let session = Directory::new();
        let output = run(under(&program, &session).arg(how));
        let text = String::from_utf8_lossy(&output.stdout);
        let segments = session.segments();
        assert_eq!((segments.len(), text.lines().count()), (processes, processes));
        for line in text.lines() {
            let output = Output { stdout: line.into(), ..output.clone() };
            let pid = figure(&output, "pid") as u32;
            let segment = segments.iter().find(|segment| segment.pid == pid).expect("each has a segment");
            assert_recounted(segment, &output, (0, 0));
            assert_eq!(segment.totals.allocated_bytes, figure(&output, "allocated"));
            assert!(segment.ended_ns.is_some());
        }
        let (parent, child) = (&segments[0], &segments[1]);
        assert_eq!((child.parent_pid, &child.command), (parent.pid, &parent.command));
        assert_eq!(parent.inherited.allocated_bytes, 0);
        // Five rounds before the fork, two blocks each.
        assert_eq!(child.inherited_blocks, 10);
        assert_eq!(parent.blocks_allocated(), (5 + 7) * 2);
        assert_eq!(child.blocks_allocated() % 2, 0);
    }
}

#[test]
fn a_child_whose_ledger_cannot_be_moved_counts_in_private() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "no_mremap.c", &[]);
    let output = run(&mut under(&program, &session));
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 4, "{text}");
    // The program's line is the last. Its children wrote nothing into its ledger, and published none.
    let output = Output { stdout: text.lines().last().expect("four lines").into(), ..output.clone() };
    assert_recounted(&session.segment(), &output, (0, 0));
}

#[test]
fn a_thread_forks() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "forks.c", &[]);
    let output = run(under(&program, &session).arg("thread"));
    let text = String::from_utf8_lossy(&output.stdout);
    let segments = session.segments();
    assert_eq!(segments.len(), 2);
    // What glibc has for the thread itself is the same on both sides.
    let extra: Vec<u64> = text
        .lines()
        .zip(segments.iter().rev())
        .map(|(line, segment)| {
            let output = Output { stdout: line.into(), ..output.clone() };
            segment.totals.live_bytes() - (figure(&output, "allocated") - figure(&output, "freed"))
        })
        .collect();
    assert_eq!(extra.len(), 2);
    assert!(extra[0] == extra[1] && extra[0] < 2000, "{extra:?}");
}

#[test]
fn fifty_children() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "forks.c", &[]);
    let output = run(under(&program, &session).arg("many"));
    let segments = session.segments();
    assert_eq!(segments.len(), 51);
    assert!(segments.iter().all(|segment| segment.ended_ns.is_some()));
    let text = String::from_utf8_lossy(&output.stdout);
    let mut printed: Vec<u64> =
        text.lines().map(|line| figure(&Output { stdout: line.into(), ..output.clone() }, "allocated")).collect();
    let mut counted: Vec<u64> = segments.iter().map(|segment| segment.totals.allocated_bytes).collect();
    printed.sort();
    counted.sort();
    assert_eq!(printed, counted);
}

#[test]
fn a_vfork_child_counts_into_its_parent_and_exec_starts_anew() {
    let build = Directory::new();
    let program = compile(&build, "forks.c", &[]);
    for (how, images) in [("vfork", 2), ("exec", 2), ("plain", 1)] {
        let session = Directory::new();
        let output = run(under(&program, &session).arg(how));
        let text = String::from_utf8_lossy(&output.stdout);
        let segments = session.segments();
        assert_eq!((segments.len(), text.lines().count()), (images, images), "{how}");
        for line in text.lines() {
            let output = Output { stdout: line.into(), ..output.clone() };
            let allocated = figure(&output, "allocated");
            let matching = segments.iter().filter(|segment| segment.totals.allocated_bytes == allocated).count();
            assert_eq!(matching, if how == "exec" { 2 } else { 1 }, "{how}: {line} {segments:?}");
        }
        assert!(segments.iter().all(|segment| segment.inherited_blocks == 0));
        if how == "exec" {
            assert_eq!(segments[0].pid, segments[1].pid);
            assert_eq!((segments[0].ended_ns, &segments[1].command[1]), (None, &"plain".to_owned()));
        }
    }
}

/// The other program is linked statically, so it says nothing itself.
#[test]
fn becoming_another_program_is_noted_however_it_is_done() {
    let build = Directory::new();
    let (program, target) = (compile(&build, "execs.c", &[]), compile(&build, "target.c", &["-static"]));
    let ways = ["execve", "execv", "execvp", "execvpe", "fexecve", "execveat", "execl", "execlp", "execle"];
    for how in ways {
        let session = Directory::new();
        let output = run(under(&program, &session).arg(how).arg(&target));
        let bare = how.ends_with('e') || how == "execveat";
        assert_eq!((figure(&output, "arguments"), figure(&output, "bare")), (1, u64::from(bare)), "{how}");
        let listed = how.starts_with("execl");
        assert_eq!(session.segment().notes.exec, !listed || cfg!(target_arch = "x86_64"), "{how}");
        assert_eq!(session.segment().ended_ns, None, "{how}");
    }
    // One that fails is taken back.
    for how in ["raw", "killed"] {
        let session = Directory::new();
        finish(under(&program, &session).arg(how).arg(&target));
        assert!(!session.segment().notes.exec, "{how}");
    }
}

#[test]
fn system_and_popen_work() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "forks.c", &[]);
    run(under(&program, &session).arg("system"));
    assert!(session.segments().len() >= 3, "the program and two shells");
}

#[test]
fn mappings_are_counted_to_the_page() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "mappings.c", &[]);
    let output = run(&mut under(&program, &session));
    let segment = session.segment();
    assert_recounted(&segment, &output, (0, 0));
    assert_eq!(segment.mapped_bytes, figure(&output, "mapped"));
    assert_eq!(segment.mapped_peak_bytes, figure(&output, "peak"));
}

/// A lock of mimalloc's or snmalloc's may be the other thread's at a fork, and then is for good in the child.
const STORM: &[&str] =
    if cfg!(any(feature = "mimalloc", feature = "snmalloc")) { &["-DCHILD_MUST_NOT_ALLOCATE"] } else { &[] };

#[test]
fn a_storm_of_signals_does_not_stop_it() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "storm.c", STORM);
    let output = run(&mut under(&program, &session));
    assert!(figure(&output, "storms") > 100);
}

// With an allocator built in it must crash, as it would with any other: the block is not that allocator's.
#[test]
#[cfg(not(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc")))]
fn a_library_bound_past_the_preload_does_no_harm() {
    let (build, session) = (Directory::new(), Directory::new());
    let deep = compile(&build, "deep.c", &["-shared", "-fPIC"]);
    let program = compile(&build, "deepbind.c", &["-ldl"]);
    run(under(&program, &session).arg(deep));
    assert!(session.segment().blocks_allocated() >= 100);
}

// An allocator that is built in has thread-locals of its own, more than the loader keeps room for.
#[test]
#[cfg(not(any(feature = "jemalloc", feature = "mimalloc", feature = "snmalloc")))]
fn the_library_can_be_loaded_late_and_stays() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "late.c", &["-ldl"]);
    run(under(&program, &session).env_remove("LD_PRELOAD").arg(common::library()));
    // Of the program; its child has none of its own.
    let segment = &session.segments()[0];
    assert_eq!((segment.totals.live_bytes(), segment.blocks_allocated()), (0, 3000));
}

#[test]
fn a_program_with_its_own_malloc_says_so() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "own.c", &["-rdynamic"]);
    let output = run(&mut under(&program, &session));
    assert_eq!(output.stdout, b"own\n");
    assert!(session.segment().notes.own_malloc);
    assert_eq!(session.segment().blocks_allocated(), 0);
}

#[test]
fn new_and_delete() {
    if !common::has("c++") {
        return;
    }
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "cxx.cc", &["-std=c++17"]);
    let bare = run(&mut std::process::Command::new(&program));
    let output = run(&mut under(&program, &session));
    if common::BACKEND == "forward" {
        assert_eq!(figure(&bare, "live"), figure(&output, "live"));
    }
    // libstdc++ holds one block for exceptions that are thrown without memory.
    let live = session.segment().totals.live_bytes() - figure(&output, "live");
    assert!((70_000..90_000).contains(&live), "{live}");
}

#[test]
fn a_living_program_can_be_read() {
    let (build, session) = (Directory::new(), Directory::new());
    let program = compile(&build, "storm.c", STORM);
    let mut child = under(&program, &session).stdout(std::process::Stdio::null()).spawn().expect("it starts");
    let pid = child.id();
    let read = || session.segments().into_iter().find(|segment| segment.pid == pid);
    eventually("published", || read().is_some_and(|segment| segment.blocks_allocated() > 1000));
    let (first, second) = (read().expect("there"), read().expect("there"));
    assert!(second.blocks_allocated() >= first.blocks_allocated() && first.ended_ns.is_none());
    child.kill().expect("it can be ended");
    child.wait().expect("it ends");
    assert_eq!(read().expect("still there").ended_ns, None);
}
