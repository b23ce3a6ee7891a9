//! Limits of the whole program, and how near them it is.

use crate::HEAP;
use crate::out::NO_LIMIT;
use crate::watch::without_signals;
use core::ffi::c_int;
use zmalloc::budget::{self, Resident};

/// A number of bytes as the header has it; what no address space holds is no limit.
fn bytes(limit: u64) -> Option<usize> {
    usize::try_from(limit).ok().filter(|&bytes| bytes != usize::MAX)
}

fn or_no_limit(limit: Option<usize>) -> u64 {
    limit.map_or(NO_LIMIT, |bytes| bytes as u64)
}

#[unsafe(export_name = symbol!("zmalloc_limit_hard"))]
pub extern "C" fn zmalloc_limit_hard() -> u64 {
    or_no_limit(budget::limit_bytes_hard())
}

#[unsafe(export_name = symbol!("zmalloc_set_limit_hard"))]
pub extern "C" fn zmalloc_set_limit_hard(limit: u64) {
    without_signals(|| budget::set_limit_bytes_hard(bytes(limit)));
}

#[unsafe(export_name = symbol!("zmalloc_limit_soft"))]
pub extern "C" fn zmalloc_limit_soft() -> u64 {
    or_no_limit(budget::limit_bytes_soft())
}

#[unsafe(export_name = symbol!("zmalloc_set_limit_soft"))]
pub extern "C" fn zmalloc_set_limit_soft(limit: u64) {
    without_signals(|| budget::set_limit_bytes_soft(bytes(limit)));
}

#[unsafe(export_name = symbol!("zmalloc_level"))]
pub extern "C" fn zmalloc_level() -> c_int {
    budget::level() as c_int
}

#[unsafe(export_name = symbol!("zmalloc_bound_resident"))]
pub extern "C" fn zmalloc_bound_resident(soft: u64, hard: u64) {
    let bound = (soft != NO_LIMIT || hard != NO_LIMIT).then(|| {
        let [soft, hard] = [soft, hard].map(|limit| bytes(limit).unwrap_or(usize::MAX));
        Resident::Bytes { soft, hard }
    });
    // Bytes have no error.
    set_bound(bound);
}

#[unsafe(export_name = symbol!("zmalloc_bound_resident_to_cgroup"))]
pub extern "C" fn zmalloc_bound_resident_to_cgroup(soft: f64, hard: f64) -> c_int {
    // What is no number compares with nothing.
    if !(soft > 0.0 && hard > 0.0 && soft <= 1.0 && hard <= 1.0) {
        return libc::EINVAL;
    }
    set_bound(Some(Resident::Cgroup { soft, hard }))
}

fn set_bound(bound: Option<Resident>) -> c_int {
    without_signals(|| HEAP.bound_resident(bound)).map_or(libc::ENOENT, |()| 0)
}
