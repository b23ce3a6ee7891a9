//! What happens when memory runs out.

use core::ffi::c_void;
use core::ptr::null_mut;
use zmalloc::OomHandler;

#[unsafe(export_name = symbol!("zmalloc_set_oom_handler"))]
pub extern "C" fn zmalloc_set_oom_handler(handler: Option<OomHandler>) {
    zmalloc::set_oom_handler(handler);
}

/// Redis had a mode without threads; this library never has.
#[unsafe(export_name = symbol!("zmalloc_enable_thread_safeness"))]
pub extern "C" fn zmalloc_enable_thread_safeness() {}

#[unsafe(export_name = symbol!("zmalloc_out_of_memory"))]
pub extern "C" fn zmalloc_out_of_memory(requested: usize) -> *mut c_void {
    zmalloc::out_of_memory(requested);
    null_mut()
}
