//! Reclaimers: a handle is a box of the registration.

use crate::watch::User;
use core::ffi::c_void;
use core::ptr::null_mut;
use zmalloc::budget::{self, Reclaimer};

/// Told how many bytes are missing, answers how many it freed.
type Reclaim = unsafe extern "C" fn(missing: usize, user: *mut c_void) -> usize;

#[unsafe(export_name = symbol!("zmalloc_reclaimer_add"))]
pub unsafe extern "C" fn zmalloc_reclaimer_add(
    cost: u32,
    reclaim: Option<Reclaim>,
    user: *mut c_void,
) -> *mut Reclaimer {
    let (Some(reclaim), user) = (reclaim, User(user)) else { return null_mut() };
    // SAFETY: it may be called so from any thread until it is removed, by the caller's contract.
    let reclaimer = budget::reclaimer(cost, move |missing| unsafe { reclaim(missing, user.get()) });
    reclaimer.map_or(null_mut(), |reclaimer| Box::into_raw(Box::new(reclaimer)))
}

#[unsafe(export_name = symbol!("zmalloc_reclaimer_remove"))]
pub unsafe extern "C" fn zmalloc_reclaimer_remove(reclaimer: *mut Reclaimer) {
    if !reclaimer.is_null() {
        // SAFETY: made above and not yet removed, by the caller's contract.
        drop(unsafe { Box::from_raw(reclaimer) });
    }
}
