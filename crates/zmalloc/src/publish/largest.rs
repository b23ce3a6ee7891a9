//! Which scopes are published when there are more than fit: the largest, with those around them.

use super::format::SCOPES;
use crate::scope::ScopeFigures;

/// The chosen scopes, parents before children, each with its parent's place among them; and how many there are in all.
pub(super) fn largest(scopes: &[ScopeFigures]) -> (Vec<(&ScopeFigures, Option<usize>)>, usize) {
    let mut all = Vec::new();
    flatten(scopes, None, &mut all);
    let total = all.len();
    if total <= SCOPES {
        return (all, total);
    }
    let mut order: Vec<usize> = (0..total).collect();
    // Of equals the one that allocated more, and then the earlier.
    order.sort_by_key(|&index| {
        let figures = &all[index].0.total;
        (std::cmp::Reverse((figures.live_bytes, figures.allocated_bytes)), index)
    });
    let mut chosen = vec![false; total];
    let mut count = 0;
    for index in order {
        let missing: Vec<usize> = around(&all, index).take_while(|&index| !chosen[index]).collect();
        if count + missing.len() <= SCOPES {
            missing.iter().for_each(|&index| chosen[index] = true);
            count += missing.len();
        }
        if count == SCOPES {
            break;
        }
    }
    let mut places = vec![0; total];
    let mut kept = Vec::with_capacity(count);
    for (index, &(scope, parent)) in all.iter().enumerate().filter(|&(index, _)| chosen[index]) {
        places[index] = kept.len();
        kept.push((scope, parent.map(|parent| places[parent])));
    }
    (kept, total)
}

fn flatten<'s>(scopes: &'s [ScopeFigures], parent: Option<usize>, all: &mut Vec<(&'s ScopeFigures, Option<usize>)>) {
    for scope in scopes {
        let place = all.len();
        all.push((scope, parent));
        flatten(&scope.children, Some(place), all);
    }
}

/// A scope and those around it, the innermost first.
fn around<'a>(all: &'a [(&ScopeFigures, Option<usize>)], index: usize) -> impl Iterator<Item = usize> + 'a {
    std::iter::successors(Some(index), |&index| all[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_a_tree_with_the_largest_in_it(parents in proptest::collection::vec(any::<prop::sample::Index>(), 1..200)) {
            // Scopes within random earlier ones, whose figures are then set as they please.
            let mut made: Vec<Scope> = Vec::new();
            for (number, parent) in parents.iter().enumerate() {
                let parent = (number > 0).then(|| parent.index(number + 1)).filter(|&parent| parent < number);
                let name = format!("{number}");
                made.push(parent.map_or_else(|| Scope::new(name.clone()), |parent| made[parent].child(name.clone())));
            }
            fn invent(scopes: &mut [ScopeFigures]) {
                for scope in scopes {
                    let number: i64 = scope.name.parse().unwrap_or(0);
                    scope.total.live_bytes = number * 7919 % 101 - 20;
                    invent(&mut scope.children);
                }
            }
            let mut tree = crate::scope::snapshot().scopes;
            invent(&mut tree);
            let (kept, total) = largest(&tree);
            prop_assert!(total >= made.len());
            prop_assert_eq!(kept.len(), total.min(SCOPES));
            for (index, (scope, parent)) in kept.iter().enumerate() {
                prop_assert!(parent.is_none_or(|parent| parent < index));
                if let Some(parent) = parent {
                    prop_assert!(kept[*parent].0.children.iter().any(|child| std::ptr::eq(child, *scope)));
                }
            }
            let mut all = Vec::new();
            flatten(&tree, None, &mut all);
            let most = all.iter().map(|(scope, _)| scope.total.live_bytes).max();
            prop_assert_eq!(kept.iter().map(|(scope, _)| scope.total.live_bytes).max(), most);
        }
    }
}
