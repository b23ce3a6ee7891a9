//! A value that goes back to its scope.

use core::ops::{Deref, DerefMut};
use zmalloc::Scope;

/// A value that is dropped in a scope, wherever it went meanwhile.
///
/// A free counts where it is made. So what leaves the scope that allocated it stays in that scope's live bytes, if
/// others drop it: held, it does not. The scope shows it as long as it lives, which is what a budget should see.
///
/// ```
/// use zmalloc::{Scope, Zmalloc, backend::Libc};
/// use zmalloc_scopes::Held;
///
/// #[global_allocator]
/// static HEAP: Zmalloc<Libc> = Zmalloc::new();
///
/// let tenant = Scope::new("tenant");
/// let answer = tenant.run(|| Held::new(&tenant, vec![0u8; 1000]));
/// let sent = std::thread::spawn(move || answer.len()).join().unwrap();
/// assert_eq!((sent, tenant.live_bytes()), (1000, 0));
/// ```
#[derive(Debug)]
pub struct Held<T> {
    scope: Scope,
    /// `None` only while it is dropped or taken out.
    value: Option<T>,
}

impl<T> Held<T> {
    /// The value, which will be dropped in the scope. Made there too, or its bytes would only be credited.
    pub fn new(scope: &Scope, value: T) -> Held<T> {
        Held { scope: scope.clone(), value: Some(value) }
    }

    /// Where it is dropped.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The value, which the caller drops wherever that may be.
    pub fn into_inner(mut self) -> T {
        self.value.take().expect(THERE)
    }
}

const THERE: &str = "taken out only at the end";

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(THERE)
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(THERE)
    }
}

impl<T: AsRef<U>, U: ?Sized> AsRef<U> for Held<T> {
    fn as_ref(&self) -> &U {
        self.deref().as_ref()
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.scope.run(|| drop(value));
        }
    }
}
