//! Work that is no scope's, within one.

use super::here::{self, Frame};

/// Runs `section` in no scope, also if it panics; after it, the thread is in the scope it was in before.
///
/// For what one scope's work does for others: a pool that it fills, a buffer that it hands on, a figure that it logs.
///
/// ```
/// use zmalloc::{Scope, scope};
///
/// let tenant = Scope::new("tenant");
/// tenant.run(|| {
///     assert_eq!(scope::outside(Scope::current), None);
///     assert_eq!(Scope::current().as_ref(), Some(&tenant));
/// });
/// ```
///
/// Cost: as entering a scope.
pub fn outside<R>(section: impl FnOnce() -> R) -> R {
    let (entry, previous) = here::enter_outside();
    let _left = Left { entry, previous };
    section()
}

struct Left {
    entry: u64,
    previous: Frame,
}

impl Drop for Left {
    fn drop(&mut self) {
        here::leave(None, self.entry, self.previous);
    }
}
