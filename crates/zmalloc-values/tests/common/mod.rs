//! What the tests share.
#![allow(dead_code)]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Runs a generic test over each memory: that of std, and the ledger's heaps (not under Miri, which has no such allocators).
#[macro_export]
macro_rules! over_each_memory {
    ($function:ident) => {
        $function::<zmalloc_values::Global>();
        #[cfg(not(miri))]
        {
            $function::<zmalloc::Zmalloc<zmalloc::backend::Libc>>();
            $function::<zmalloc::Zmalloc<zmalloc::backend::Jemalloc>>();
            $function::<zmalloc::Zmalloc<zmalloc::backend::SizePrefix<zmalloc::backend::PlainLibc>>>();
        }
    };
}

/// Plays `cases` random cases; few of them under Miri.
pub fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let cases = if cfg!(miri) { 3 } else { cases };
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    TestRunner::new(config).run(strategy, test).unwrap();
}

/// Bytes of every kind that a format treats in its own way: texts of integers of each width, and lengths around each bound.
pub fn element() -> impl Strategy<Value = Vec<u8>> {
    let around = |center: i64| (center - 3..=center + 3).prop_map(|integer| integer.to_string().into_bytes());
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20),
        3 => any::<i16>().prop_map(|integer| integer.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|integer| integer.to_string().into_bytes()),
        2 => prop::sample::select(vec![0, 13, 127, -4096, 4096, -128, 1 << 15, -(1 << 15), 1 << 23, -(1 << 23), 1 << 31, -(1 << 31)])
            .prop_flat_map(around),
        1 => prop::sample::select(vec!["9223372036854775807", "-9223372036854775808", "9223372036854775808", "-0", "01", "+1", "1 "])
            .prop_map(|text| text.as_bytes().to_vec()),
        4 => prop::sample::select(vec![63usize, 127, 246, 250, 254, 4095])
            .prop_flat_map(|center| (any::<u8>(), center.saturating_sub(6)..=center + 4))
            .prop_map(|(byte, length)| vec![byte; length]),
        1 => (any::<u8>(), prop::sample::select(vec![16_370usize, 16_383, 16_384, 70_000])).prop_map(|(byte, length)| vec![byte; length]),
    ]
}
