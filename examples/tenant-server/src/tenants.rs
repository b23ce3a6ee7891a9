//! The tenants, their scopes and their documents.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zmalloc::Scope;
use zmalloc_scopes::Held;

/// What a tenant may hold, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Above it the server says so in its answers.
    pub soft: u64,
    /// Above it requests are refused.
    pub hard: u64,
}

/// All tenants.
#[derive(Debug)]
pub struct Tenants {
    scope: Scope,
    limits: Limits,
    /// As many tenants there may be: each takes a scope and a name, which are no tenant's.
    most: usize,
    by_name: Mutex<BTreeMap<String, Arc<Tenant>>>,
}

/// One tenant. Its scope, with the limits, has a child for what it stores and one for what it renders; what its requests
/// take besides is the scope's own.
#[derive(Debug)]
pub struct Tenant {
    /// What it holds in all.
    pub scope: Scope,
    /// Its documents, those being uploaded included.
    pub documents: Documents,
    /// Pages being rendered.
    pub render: Scope,
}

/// What a tenant stored.
#[derive(Debug)]
pub struct Documents {
    /// Where they are allocated and freed.
    pub scope: Scope,
    by_name: Mutex<BTreeMap<String, Bytes>>,
}

impl Tenants {
    /// None yet.
    pub fn new(limits: Limits, most: usize) -> Tenants {
        Tenants { scope: Scope::new("tenants"), limits, most, by_name: Mutex::default() }
    }

    /// The tenant of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<Arc<Tenant>> {
        lock(&self.by_name).get(name).cloned()
    }

    /// The tenant of this name, which is made if there is place. Called outside of every scope.
    pub fn find_or_add(&self, name: &str) -> Option<Arc<Tenant>> {
        let mut by_name = lock(&self.by_name);
        if let Some(tenant) = by_name.get(name) {
            return Some(tenant.clone());
        }
        if by_name.len() >= self.most {
            return None;
        }
        let tenant = Arc::new(Tenant::new(self.scope.child(name.to_owned()), self.limits));
        by_name.insert(name.to_owned(), tenant.clone());
        Some(tenant)
    }

    /// Takes the tenant away; its documents go with its last request.
    pub fn remove(&self, name: &str) -> bool {
        lock(&self.by_name).remove(name).is_some()
    }
}

impl Tenant {
    fn new(scope: Scope, limits: Limits) -> Tenant {
        scope.set_limit_bytes_soft(Some(limits.soft));
        scope.set_limit_bytes_hard(Some(limits.hard));
        let documents = Documents { scope: scope.child("documents"), by_name: Mutex::default() };
        Tenant { render: scope.child("render"), documents, scope }
    }
}

impl Documents {
    /// Stores a document in place of the one that has its name.
    pub fn insert(&self, name: &str, document: Held<Vec<u8>>) {
        self.scope.run(|| {
            let document = Bytes::from_owner(document.into_inner());
            let previous = lock(&self.by_name).insert(name.to_owned(), document);
            drop(previous);
        });
    }

    /// The document of this name; not a copy.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        lock(&self.by_name).get(name).cloned()
    }

    /// All of them by name; not copies.
    pub fn all(&self) -> Vec<Bytes> {
        lock(&self.by_name).values().cloned().collect()
    }

    /// Removes all, and answers how many there were.
    pub fn clear(&self) -> usize {
        self.scope.run(|| std::mem::take(&mut *lock(&self.by_name)).len())
    }
}

impl Drop for Documents {
    fn drop(&mut self) {
        self.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
