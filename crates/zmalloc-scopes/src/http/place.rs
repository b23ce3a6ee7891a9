//! Where a thread is.

use zmalloc::Scope;
use zmalloc::scope::outside;

/// A scope, or the outside.
#[derive(Clone, Debug)]
pub(super) struct Place(Option<Scope>);

impl Place {
    pub(super) fn current() -> Place {
        Place(Scope::current())
    }

    pub(super) fn run<R>(&self, section: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(scope) => scope.run(section),
            None => outside(section),
        }
    }
}
