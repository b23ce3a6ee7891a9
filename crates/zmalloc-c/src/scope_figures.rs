//! What scopes counted: a structure that may grow, and texts.

use crate::budget::{zmalloc_limit_hard, zmalloc_limit_soft};
use crate::out::{NO_LIMIT, UNKNOWN, fill, write_text};
use crate::scope::scope_of;
use core::ffi::{c_char, c_int, c_void};
use zmalloc::scope::{self, Figures, Flow, ScopeFigures};
use zmalloc::{peak_memory, used_memory};

/// What `zmalloc.h` calls `struct zmalloc_scope_flow`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CFlow {
    allocated_bytes: u64,
    freed_bytes: u64,
    live_bytes: i64,
    peak_live_bytes: u64,
}

impl CFlow {
    fn with_peak(figures: Figures) -> CFlow {
        let Figures { allocated_bytes, freed_bytes, live_bytes, peak_live_bytes, .. } = figures;
        CFlow { allocated_bytes, freed_bytes, live_bytes, peak_live_bytes }
    }

    fn without_peak(flow: Flow) -> CFlow {
        let Flow { allocated_bytes, freed_bytes, live_bytes, .. } = flow;
        CFlow { allocated_bytes, freed_bytes, live_bytes, peak_live_bytes: UNKNOWN }
    }
}

/// What `zmalloc.h` calls `struct zmalloc_scope_figures`. Grows at its end only.
#[repr(C)]
pub struct CFigures {
    size: usize,
    version: u32,
    reserved: u32,
    own: CFlow,
    total: CFlow,
    ended: CFlow,
    entered: u64,
    children: u64,
    limit_bytes_soft: u64,
    limit_bytes_hard: u64,
    spare: [u64; 8],
}

/// The structure's version; each one has all fields of those before.
const VERSION: u32 = 1;

impl CFigures {
    fn of_scope(figures: &ScopeFigures) -> CFigures {
        CFigures {
            size: size_of::<CFigures>(),
            version: VERSION,
            reserved: 0,
            own: CFlow::with_peak(figures.own),
            total: CFlow::with_peak(figures.total),
            ended: CFlow::without_peak(figures.ended),
            entered: figures.own.entered,
            children: figures.children.len() as u64,
            limit_bytes_soft: figures.limit_bytes_soft.unwrap_or(NO_LIMIT),
            limit_bytes_hard: figures.limit_bytes_hard.unwrap_or(NO_LIMIT),
            spare: [UNKNOWN; 8],
        }
    }

    /// The whole program, as if it were the scope around all.
    fn of_program() -> CFigures {
        let all = scope::snapshot();
        let (allocated_bytes, freed_bytes) = (all.totals.allocated_bytes, all.totals.freed_bytes);
        CFigures {
            size: size_of::<CFigures>(),
            version: VERSION,
            reserved: 0,
            own: CFlow::without_peak(all.outside),
            total: CFlow {
                allocated_bytes,
                freed_bytes,
                live_bytes: allocated_bytes.wrapping_sub(freed_bytes) as i64,
                peak_live_bytes: peak_memory() as u64,
            },
            ended: CFlow::without_peak(all.ended),
            entered: 0,
            children: all.scopes.len() as u64,
            limit_bytes_soft: zmalloc_limit_soft(),
            limit_bytes_hard: zmalloc_limit_hard(),
            spare: [UNKNOWN; 8],
        }
    }
}

#[unsafe(export_name = symbol!("zmalloc_scope_live_bytes"))]
pub unsafe extern "C" fn zmalloc_scope_live_bytes(scope: *const c_void) -> i64 {
    // SAFETY: the caller's contract is the callee's.
    unsafe { scope_of(scope) }.map_or_else(|| used_memory() as i64, |scope| scope.live_bytes())
}

#[unsafe(export_name = symbol!("zmalloc_scope_get_figures"))]
pub unsafe extern "C" fn zmalloc_scope_get_figures(scope: *const c_void, figures: *mut CFigures) -> c_int {
    // SAFETY: the caller's contract is the callee's; its structure begins with its size, and is null or as large as it
    // says.
    unsafe {
        let scope = scope_of(scope);
        fill(figures, core::mem::offset_of!(CFigures, spare), || {
            scope.map_or_else(CFigures::of_program, |scope| CFigures::of_scope(&scope.figures()))
        })
    }
}

#[unsafe(export_name = symbol!("zmalloc_scopes_text"))]
pub unsafe extern "C" fn zmalloc_scopes_text(buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { write_text(&scope::snapshot(), buffer, capacity) }
}

#[unsafe(export_name = symbol!("zmalloc_scopes_open_metrics"))]
pub unsafe extern "C" fn zmalloc_scopes_open_metrics(buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: the caller's contract is the callee's.
    unsafe { write_text(&scope::snapshot().to_open_metrics(), buffer, capacity) }
}
