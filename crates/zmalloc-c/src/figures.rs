//! What the program holds, and what the kernel says of it.

use core::ffi::{CStr, c_char, c_int, c_long, c_longlong};
use zmalloc::process;

/// A process as C names it; -1 is the calling one. `None` if no process has such an id.
fn process_of(pid: c_long) -> Option<Option<u32>> {
    if pid == -1 { Some(None) } else { u32::try_from(pid).ok().map(Some) }
}

fn smaps_bytes(field: &str, pid: c_long) -> usize {
    process_of(pid).map_or(0, |pid| process::smaps_bytes(field, pid))
}

#[unsafe(export_name = symbol!("zmalloc_used_memory"))]
pub extern "C" fn zmalloc_used_memory() -> usize {
    zmalloc::used_memory()
}

#[unsafe(export_name = symbol!("zmalloc_peak_memory"))]
pub extern "C" fn zmalloc_peak_memory() -> usize {
    zmalloc::peak_memory()
}

#[unsafe(export_name = symbol!("zmalloc_get_rss"))]
pub extern "C" fn zmalloc_get_rss() -> usize {
    process::resident_bytes().unwrap_or(0)
}

#[unsafe(export_name = symbol!("zmalloc_get_fragmentation_ratio"))]
pub extern "C" fn zmalloc_get_fragmentation_ratio(rss: usize) -> f32 {
    // As Redis had it, with a used memory of 0 giving infinity, or not a number for 0 over 0.
    rss as f32 / zmalloc::used_memory() as f32
}

#[unsafe(export_name = symbol!("zmalloc_get_private_dirty"))]
pub extern "C" fn zmalloc_get_private_dirty(pid: c_long) -> usize {
    smaps_bytes("Private_Dirty:", pid)
}

#[unsafe(export_name = symbol!("zmalloc_get_smap_bytes_by_field"))]
pub unsafe extern "C" fn zmalloc_get_smap_bytes_by_field(field: *const c_char, pid: c_long) -> usize {
    // SAFETY: a string that ends with 0, by the caller's contract.
    let field = unsafe { CStr::from_ptr(field) };
    field.to_str().map_or(0, |field| smaps_bytes(field, pid))
}

#[unsafe(export_name = symbol!("zmalloc_get_memory_size"))]
pub extern "C" fn zmalloc_get_memory_size() -> usize {
    process::memory_size().effective_bytes().unwrap_or(0)
}

#[unsafe(export_name = symbol!("zmalloc_get_physical_memory_size"))]
pub extern "C" fn zmalloc_get_physical_memory_size() -> usize {
    process::memory_size().physical.unwrap_or(0)
}

#[unsafe(export_name = symbol!("get_proc_stat_ll"))]
pub unsafe extern "C" fn get_proc_stat_ll(index: c_int, value: *mut c_longlong) -> c_int {
    let field = usize::try_from(index).ok().and_then(process::proc_stat_field);
    let Some(field) = field else { return 0 };
    // SAFETY: writable, by the caller's contract.
    unsafe { value.write(field) };
    1
}
