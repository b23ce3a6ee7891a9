//! What the headers declare is what the library exports, and both are of one version.

mod common;

use common::{library, symbols};
use std::collections::BTreeSet;
use std::fs;

/// The functions that a header declares: names before a parenthesis, in lines that begin a declaration.
fn declared(header: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(library().join("include").join(header)).expect("it was installed");
    let declarations = text.split("/* ---- Inline").next().expect("there is a first part");
    let without_comments: String = declarations
        .split("/*")
        .enumerate()
        .map(|(index, part)| if index == 0 { part } else { part.split_once("*/").map_or("", |(_, rest)| rest) })
        .collect();
    let plain: String =
        without_comments.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    plain
        .split(';')
        .filter_map(|declaration| {
            let declaration = declaration.rsplit('{').next()?.trim();
            let declaration = declaration.strip_prefix("ZMALLOC_USE_RESULT").unwrap_or(declaration);
            // Attributes with arguments come first.
            let declaration = declaration
                .trim()
                .trim_start_matches("ZMALLOC_MALLOC ")
                .trim_start_matches(|c: char| declaration.contains("ZMALLOC_SIZE(") && c != ')')
                .trim_start_matches(')');
            let (before, _) = declaration.split_once('(')?;
            let name = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
            (!name.is_empty()).then(|| name.to_owned())
        })
        .collect()
}

#[test]
fn every_declared_function_is_exported_and_every_exported_one_declared() {
    let mut expected = declared("zmalloc.h");
    assert!(expected.len() > 50, "{expected:?}");
    if cfg!(feature = "jemalloc") {
        expected.extend(declared("zmalloc_jemalloc.h"));
    }
    for name in ["malloc", "calloc", "realloc", "free"] {
        expected.insert(format!("valkey_{name}"));
    }
    let exported: BTreeSet<String> = symbols(&library().join("lib/libzmalloc.so"), &["-D"]).into_iter().collect();
    assert_eq!(expected, exported);
    let archived: BTreeSet<String> = symbols(&library().join("lib/libzmalloc.a"), &[]).into_iter().collect();
    let missing: Vec<_> = expected.difference(&archived).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// No function is only declared: a program of the tests calls each one.
#[test]
fn every_declared_function_is_tested() {
    let programs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let sources: String = fs::read_dir(programs)
        .expect("they are there")
        .map(|file| fs::read_to_string(file.expect("it can be listed").path()).expect("text"))
        .collect();
    let words: BTreeSet<&str> = sources.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let untested: Vec<String> = declared("zmalloc.h")
        .into_iter()
        .chain(declared("zmalloc_jemalloc.h"))
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn one_version() {
    let version = env!("CARGO_PKG_VERSION");
    let text = fs::read_to_string(library().join("include/zmalloc.h")).expect("it was installed");
    assert!(text.contains(&format!("#define ZMALLOC_VERSION \"{version}\"\n")));
    let package = fs::read_to_string(library().join("lib/pkgconfig/zmalloc.pc")).expect("it was installed");
    assert!(package.contains(&format!("\nVersion: {version}\n")), "{package}");
    // The thread-local that inline calls use carries the version too, so that a header cannot meet another library.
    let name: String = version.split('.').take(2).map(|part| format!("_{part}")).collect();
    assert!(text.contains(&format!("zmalloc_local{name}")));
}

/// What cannot be is said by the compiler, or before anything is built.
#[test]
fn wrong_settings_are_told_what_would_be_right() {
    let make = |settings: &[&str]| {
        let mut make = std::process::Command::new("make");
        make.args(["--dry-run", "-C", env!("CARGO_MANIFEST_DIR"), "install"]).args(settings);
        let output = make.env_remove("MAKEFLAGS").output().expect("make is a prerequisite of these tests");
        assert!(!output.status.success(), "{settings:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(
        make(&["BACKEND=nonsense"]).contains("one of: jemalloc mimalloc snmalloc tcmalloc libc-malloc size-prefix")
    );
    assert!(make(&["PREFIX="]).contains("give a path from the root"));
    assert!(make(&["PREFIX=here"]).contains("give a path from the root"));
    assert!(make(&["LG_QUANTUM=99"]).contains("it is 3 or 4"));
    assert!(make(&["LG_QUANTUM=3", "BACKEND=mimalloc"]).contains("leave it out"));

    let programs = library().join("programs");
    fs::create_dir_all(&programs).expect("it can be made");
    let source = programs.join("without.c");
    fs::write(&source, "#include <zmalloc.h>\nint nothing;\n").expect("it can be written");
    for flag in ["-DUSE_JEMALLOC", "-DZMALLOC_INLINE"] {
        let mut cc = std::process::Command::new("cc");
        cc.arg(flag).arg("-I").arg(library().join("include")).arg("-c").arg(&source).arg("-o").arg("/dev/null");
        let output = cc.output().expect("cc is a prerequisite of these tests");
        let told = String::from_utf8_lossy(&output.stderr).contains("install it with BACKEND=jemalloc");
        assert_eq!(told, !cfg!(feature = "jemalloc"), "{flag}");
    }
}

/// The renames under a prefix have every function.
#[test]
fn every_function_may_have_a_prefix() {
    let text = fs::read_to_string(library().join("include/zmalloc.h")).expect("it was installed")
        + &fs::read_to_string(library().join("include/zmalloc_jemalloc.h")).expect("it was installed");
    for name in declared("zmalloc.h").into_iter().chain(declared("zmalloc_jemalloc.h")) {
        assert!(text.contains(&format!("#define {name} ZMALLOC_NAME({name})")), "{name}");
    }
}
