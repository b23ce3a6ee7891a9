//! Scopes of threads that a thread starts.

use super::Scope;

/// Has a closure run in the scope that the calling thread is in now, on whichever thread it is called.
///
/// ```
/// use zmalloc::{Scope, scope};
///
/// let tenant = Scope::new("tenant");
/// let thread = tenant.run(|| std::thread::spawn(scope::inherit(Scope::current)));
/// assert_eq!(thread.join().unwrap(), Some(tenant));
/// ```
///
/// For the closures of thread pools too. What the thread itself needs, before and after the closure, counts outside.
pub fn inherit<R>(section: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let scope = Scope::current();
    move || match scope {
        Some(scope) => scope.run(section),
        None => section(),
    }
}
