//! C and C++ programs over the installed library, static and shared, with sanitizers.

mod common;

use common::{BACKEND, Linked, compile, library, run};

/// Flags that put jemalloc's calls in place, where there is jemalloc.
const IN_PLACE: &str = if cfg!(feature = "jemalloc") { "-DZMALLOC_INLINE" } else { "-DZMALLOC_NO_INLINE" };

/// jemalloc's own calls too, where there is jemalloc.
const SHAPE: &str = if cfg!(feature = "jemalloc") { "-DUSE_JEMALLOC" } else { "-DALLOCATOR_NEUTRAL" };

#[test]
fn every_edge_in_c() {
    for (name, flags, linked) in [
        ("edges-c99", &["-std=c99", "-D_DEFAULT_SOURCE", "-pedantic", "-O2"][..], Linked::Static),
        ("edges-c99-shared", &["-std=c99", "-D_DEFAULT_SOURCE", "-pedantic", "-O0"], Linked::Shared),
        ("edges-c11-in-place", &["-std=gnu11", "-O2", IN_PLACE], Linked::Static),
        ("edges-c11-not-in-place", &["-std=gnu11", "-O3", "-DZMALLOC_NO_INLINE"], Linked::Shared),
        ("edges-fortified", &["-O2", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"], Linked::Static),
    ] {
        run(&compile(library(), name, "cc", flags, &["edges.c"], linked));
    }
}

#[test]
fn every_edge_in_cxx() {
    for (name, flags, linked) in [
        ("edges-cxx11", &["-x", "c++", "-std=c++11", "-O1"][..], Linked::Shared),
        ("edges-cxx17-in-place", &["-x", "c++", "-std=c++17", "-O2", IN_PLACE], Linked::Static),
    ] {
        run(&compile(library(), name, "c++", flags, &["edges.c"], linked));
    }
}

#[test]
fn scopes() {
    for (name, compiler, flags, linked) in [
        ("scopes-c99", "cc", &["-std=c99", "-D_DEFAULT_SOURCE", "-pedantic", "-O2"][..], Linked::Static),
        ("scopes-in-place", "cc", &["-O2", IN_PLACE], Linked::Static),
        ("scopes-cxx11", "c++", &["-x", "c++", "-std=c++11", "-O1"], Linked::Shared),
    ] {
        run(&compile(library(), name, compiler, flags, &["scopes.c"], linked));
    }
}

#[test]
fn budgets() {
    for (name, compiler, flags, linked) in [
        ("budget-c99", "cc", &["-std=c99", "-D_DEFAULT_SOURCE", "-pedantic", "-O2"][..], Linked::Static),
        ("budget-shared", "cc", &["-O2", "-DZMALLOC_NO_INLINE"], Linked::Shared),
        ("budget-in-place", "cc", &["-O2", IN_PLACE, SHAPE], Linked::Static),
        ("budget-jemalloc-shape", "cc", &["-O2", "-DZMALLOC_NO_INLINE", SHAPE], Linked::Shared),
        ("budget-valkey", "cc", &["-O2", "-DZMALLOC_COMPAT_VALKEY", "-DZMALLOC_NO_INLINE"], Linked::Static),
        ("budget-cxx11", "c++", &["-x", "c++", "-std=c++11", "-O1"], Linked::Shared),
        ("budget-cxx17-in-place", "c++", &["-x", "c++", "-std=c++17", "-O2", IN_PLACE], Linked::Static),
    ] {
        run(&compile(library(), name, compiler, flags, &["budget.c"], linked));
    }
}

/// Over the limit, a plain call ends the program, and the report says why.
#[test]
fn the_report_names_the_limit() {
    for (name, flag, linked) in
        [("budget-report", "-DZMALLOC_NO_INLINE", Linked::Shared), ("budget-report-in-place", IN_PLACE, Linked::Static)]
    {
        let program = compile(library(), name, "cc", &["-O2", flag], &["budget.c"], linked);
        let output = std::process::Command::new(program).arg("abort").output().expect("it starts");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "{name}: {}", output.status);
        let text = String::from_utf8_lossy(&output.stderr);
        for part in ["Out of memory trying to allocate 765432 bytes", "the hard limit is 1234567", "tenant-42"] {
            assert!(text.contains(part), "{name}: {text}");
        }
    }
}

/// The address sanitizer takes the place of C's malloc. gperftools' takes it as well, and both at once cannot be.
const SANITIZERS: &str =
    if cfg!(feature = "tcmalloc") { "-fsanitize=undefined" } else { "-fsanitize=address,undefined" };

#[test]
fn every_edge_under_sanitizers() {
    for (source, compiler, language, place, linked) in [
        ("edges.c", "cc", "c", IN_PLACE, Linked::Static),
        ("edges.c", "cc", "c", "-DZMALLOC_NO_INLINE", Linked::Shared),
        ("edges.c", "c++", "c++", IN_PLACE, Linked::Static),
        ("scopes.c", "cc", "c", IN_PLACE, Linked::Static),
        ("budget.c", "cc", "c", IN_PLACE, Linked::Static),
        ("budget.c", "c++", "c++", "-DZMALLOC_NO_INLINE", Linked::Shared),
        ("threads.c", "cc", "c", IN_PLACE, Linked::Static),
        ("threads.c", "cc", "c", "-DZMALLOC_NO_INLINE", Linked::Shared),
    ] {
        let name = format!("sanitized-{source}-{compiler}-{linked:?}");
        let flags = ["-g", "-O1", SANITIZERS, "-fno-sanitize-recover=all", FORKS, place, "-x", language];
        let program = compile(library(), &name, compiler, &flags, &[source], linked);
        // The address sanitizer refuses absurd sizes by ending the program, unless it is told to answer null.
        let options = "allocator_may_return_null=1:detect_leaks=0";
        let output = std::process::Command::new(&program).env("ASAN_OPTIONS", options).output().expect("it starts");
        assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A lock of mimalloc's or snmalloc's may be held by another thread when one forks, and then is for good in the child.
const FORKS: &str = if cfg!(any(feature = "mimalloc", feature = "snmalloc")) {
    "-DFORKS_ONLY_AT_REST"
} else {
    "-DFORKS_IN_MID_AIR_TOO"
};

#[test]
fn threads_and_forks() {
    for (name, flag, linked) in [
        ("threads", "-DZMALLOC_NO_INLINE", Linked::Static),
        ("threads-shared", "-DZMALLOC_NO_INLINE", Linked::Shared),
        ("threads-in-place", IN_PLACE, Linked::Static),
    ] {
        let program = compile(library(), name, "cc", &["-O2", flag, FORKS], &["threads.c"], linked);
        for _ in 0..5 {
            run(&program);
        }
    }
}

#[test]
fn names_and_signatures_of_each_version() {
    for version in ["REDIS_5", "REDIS_7", "REDIS_8", "VALKEY_8", "VALKEY"] {
        let flag = format!("-DZMALLOC_COMPAT_{version}");
        for (compiler, language) in [("cc", "c"), ("c++", "c++")] {
            let name = format!("compat-{version}-{compiler}");
            let flags = ["-O2", "-x", language, &flag, IN_PLACE];
            run(&compile(library(), &name, compiler, &flags, &["compat.c"], Linked::Static));
        }
    }
}

/// A program that replaces C's malloc by a static jemalloc or none, and uses names that zlib has.
#[test]
fn a_prefix_keeps_out_of_the_way() {
    let prefix = common::installed("prefixed", &["SYMBOL_PREFIX=my_"]);
    for (name, flag) in [("prefixed", "-DZMALLOC_NO_INLINE"), ("prefixed-in-place", IN_PLACE)] {
        run(&compile(&prefix, name, "cc", &["-O2", flag], &["prefixed.c", "prefixed_user.c"], Linked::Static));
        run(&compile(&prefix, &format!("{name}-edges"), "cc", &["-O2", flag], &["edges.c"], Linked::Static));
        run(&compile(&prefix, &format!("{name}-scopes"), "cc", &["-O2", flag], &["scopes.c"], Linked::Static));
        run(&compile(&prefix, &format!("{name}-budget"), "cc", &["-O2", flag], &["budget.c"], Linked::Static));
        let flags = ["-O2", flag, "-DZMALLOC_COMPAT_REDIS_5"];
        run(&compile(&prefix, &format!("{name}-compat"), "cc", &flags, &["compat.c"], Linked::Static));
    }
    let exported = common::symbols(&prefix.join("lib/libzmalloc.so"), &["-D"]);
    assert!(exported.len() > 50 && exported.iter().all(|name| name.starts_with("my_")), "{exported:?}");
}

#[cfg(feature = "jemalloc")]
#[test]
fn the_jemalloc_shape() {
    for (name, flag, linked) in
        [("shape", "-DZMALLOC_NO_INLINE", Linked::Shared), ("shape-in-place", IN_PLACE, Linked::Static)]
    {
        run(&compile(library(), name, "cc", &["-O2", flag], &["jemalloc_shape.c"], linked));
        run(&compile(library(), &format!("{name}-moves"), "cc", &["-O2", flag], &["defragment.c"], linked));
        run(&compile(library(), &format!("{name}-recount"), "cc", &["-O2", flag], &["recount.c"], linked));
    }
}

/// jemalloc's and gperftools' thread-locals do not fit what the loader keeps for objects loaded late.
#[cfg(not(any(feature = "jemalloc", feature = "tcmalloc")))]
#[test]
fn a_thread_outlives_the_closed_library() {
    let program = compile(library(), "unload", "cc", &["-O2"], &["unload.c"], Linked::Shared);
    let shared = library().join("lib/libzmalloc.so");
    let output = std::process::Command::new(program).arg(shared).output().expect("it starts");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_library_lies_over_the_chosen_allocator() {
    let expected = match BACKEND {
        "libc-malloc" | "size-prefix" => "libc",
        name => name,
    };
    let program = compile(library(), "name", "cc", &["-O2"], &["name.c"], Linked::Shared);
    let output = std::process::Command::new(program).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with(&format!("{expected} ")), "{text}");
}
