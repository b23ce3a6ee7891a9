//! Scopes on the threads of rayon.

mod common;

use common::{Block, block, flow};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelBridge, ParallelIterator};
use std::sync::Mutex;
use zmalloc::Scope;
use zmalloc_scopes::rayon::{self as scoped, ParallelIteratorScopeExt};

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap()
}

fn charged(sizes: impl Iterator<Item = usize>) -> u64 {
    sizes.map(|size| block(size).charged).sum()
}

fn assert_all_outside(pool: &rayon::ThreadPool) {
    assert_eq!(pool.broadcast(|_| Scope::current()), [None, None, None]);
}

#[test]
fn every_item_counts_in_the_scope_and_order_is_kept() {
    let (pool, scope) = (pool(), Scope::new("scope"));
    let all = charged(1..=1000);
    let kept: Vec<(usize, Block)> =
        pool.install(|| (1..1001_usize).into_par_iter().in_scope(&scope).map(|size| (size, block(size))).collect());
    assert!(kept.iter().map(|(size, _)| *size).eq(1..=1000));
    assert_eq!(flow(&scope), (all, 0));
    let sum = pool.install(|| {
        // What comes before counts too, whatever it is.
        let before = kept.into_par_iter().enumerate().map(|(at, (size, block))| {
            drop(block);
            at + 1 - size
        });
        before.in_scope(&scope).sum::<usize>()
    });
    assert_eq!((sum, flow(&scope)), (0, (all, all)));
    assert_all_outside(&pool);
}

#[test]
fn iterators_without_a_length_and_nested_ones() {
    let (pool, outer) = (pool(), Scope::new("outer"));
    let inner = outer.child("inner");
    let filtered: Vec<Block> = pool
        .install(|| (1..=500_usize).par_bridge().in_scope(&outer).filter(|size| size % 2 == 0).map(block).collect());
    let even = charged((1..=500).filter(|size| size % 2 == 0));
    assert_eq!(flow(&outer), (even, 0));
    drop(filtered);
    let nested: Vec<Block> = pool.install(|| {
        (0..20_usize)
            .into_par_iter()
            .in_scope(&outer)
            .flat_map(|_| (1..=20_usize).into_par_iter().in_scope(&inner).map(block))
            .collect()
    });
    let each = charged((0..20).flat_map(|_| 1..=20));
    assert_eq!((nested.len(), flow(&inner), flow(&outer)), (400, (each, 0), (even, 0)));
    assert_all_outside(&pool);
}

#[test]
fn reducing_is_in_the_scope_too() {
    let (pool, scope) = (pool(), Scope::new("scope"));
    let concat = |left: Vec<Block>, right: Vec<Block>| {
        assert_eq!(Scope::current().as_ref(), Some(&scope));
        left.into_iter().chain(right).collect::<Vec<_>>()
    };
    let all: Vec<Block> = pool.install(|| {
        (0..300_usize).into_par_iter().in_scope(&scope).map(|size| vec![block(size)]).reduce(Vec::new, concat)
    });
    assert_eq!(flow(&scope).0, charged(0..300));
    scope.run(|| drop(all));
    assert_eq!(scope.live_bytes(), 0);
}

#[test]
fn closures_inherit() {
    let (pool, outer) = (pool(), Scope::new("outer"));
    fn here() -> Option<String> {
        Scope::current().map(|scope| scope.name())
    }
    let outers = Some("outer".to_owned());
    outer.run(|| {
        assert_eq!(scoped::install(&pool, || scoped::join(here, here)), (outers.clone(), outers.clone()));
        let seen = Mutex::new(Vec::new());
        scoped::install(&pool, || {
            scoped::scope(|threads| {
                for number in 0..50 {
                    let seen = &seen;
                    scoped::spawn_in(threads, move |threads| {
                        let inner = Scope::new(format!("{number}"));
                        inner.run(|| scoped::spawn_in(threads, |_| seen.lock().unwrap().push(here())));
                        seen.lock().unwrap().push(here());
                    });
                }
            });
        });
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), 100);
        for number in 0..50 {
            assert_eq!(seen.iter().filter(|name| **name == Some(number.to_string())).count(), 1);
        }
        assert_eq!(seen.iter().filter(|name| **name == outers).count(), 50);
        let (sender, receiver) = std::sync::mpsc::channel();
        pool.install(|| outer.run(|| scoped::spawn(move || sender.send(here()).unwrap())));
        assert_eq!(receiver.recv().unwrap(), outers);
    });
    assert_eq!(scoped::join(here, here), (None, None));
    assert_all_outside(&pool);
}

#[test]
fn a_panic_leaves_the_scope_on_every_thread() {
    let (pool, scope) = (pool(), Scope::new("scope"));
    let all = std::panic::AssertUnwindSafe(|| {
        pool.install(|| {
            (0..1000_usize).into_par_iter().in_scope(&scope).for_each(|number| {
                let _block = block(number);
                if number % 300 == 7 {
                    std::panic::resume_unwind(Box::new(()));
                }
            });
        });
    });
    assert!(std::panic::catch_unwind(all).is_err());
    assert_all_outside(&pool);
    assert_eq!(scope.live_bytes(), 0);
}
