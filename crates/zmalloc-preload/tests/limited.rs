//! A limit that the environment gives: never exceeded by a byte, whatever calls a program makes, and told where it was
//! met.

mod common;

use common::{Directory, compile, finish, run, under};
use zmalloc::ledger::LIMIT_VARIABLE;

#[test]
fn no_call_of_the_family_exceeds_it() {
    let build = Directory::new();
    let program = compile(&build, "limited.c", &["-pthread"]);
    for limit in [3 << 20, 1 << 20] {
        let session = Directory::new();
        let output = finish(under(&program, &session).env(LIMIT_VARIABLE, limit.to_string()));
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{limit}: {text}");
        let segments = session.segments();
        let [parent, child] = &segments[..] else { panic!("{}", segments.len()) };
        for segment in [parent, child] {
            assert!(segment.used_peak_bytes <= limit, "{segment:?}");
            assert!(segment.refusals > 0 && segment.refused_first_ns >= Some(segment.started_ns), "{segment:?}");
        }
    }
}

#[test]
fn what_is_no_number_is_no_limit() {
    for limit in ["", "12M", "-1", "99999999999999999999999"] {
        let session = Directory::new();
        run(under("ls", &session).env(LIMIT_VARIABLE, limit));
        assert_eq!(session.segment().refusals, 0);
    }
}
