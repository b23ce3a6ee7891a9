//! List, set, hash and sorted set against std's collections: random programs over each memory, with thresholds so low that
//! every form and every change of form is met.

mod common;

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use zmalloc_values::{Encoding, Hash, Inserted, List, Listpack, Memory, Set, SortedSet, Thresholds};

fn thresholds() -> impl Strategy<Value = Thresholds> {
    (prop::sample::select(vec![0usize, 3, 40]), prop::sample::select(vec![0usize, 6, 5000])).prop_map(
        |(entries, bytes)| Thresholds {
            string_embedded_bytes_max: 44,
            list_listpack_bytes_max: 20 * entries + 30,
            set_intset_entries_max: entries,
            set_listpack_entries_max: entries,
            set_listpack_bytes_max: bytes,
            hash_listpack_entries_max: entries,
            hash_listpack_bytes_max: bytes,
            sorted_set_listpack_entries_max: entries,
            sorted_set_listpack_bytes_max: bytes,
        },
    )
}

/// A name of few, so that the same come again.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..60u8).prop_map(|name| name.to_string().into_bytes()),
        4 => (0..60u8).prop_map(|name| format!("name {name}").into_bytes()),
        1 => common::element(),
    ]
}

#[test]
fn every_set_is_that_of_the_model() {
    fn check<M: Memory>() {
        let program = (thresholds(), any::<bool>(), prop::collection::vec((0..3u8, name()), 1..150));
        common::check(80, &program, |(thresholds, integers, program)| {
            let (mut set, mut model) = (Set::<M>::new(), BTreeSet::new());
            for (operation, member) in program {
                if integers && zmalloc_values::parse_integer(&member).is_none() {
                    continue;
                }
                let (done, expected) = if operation > 0 {
                    (set.insert(&member[..], &thresholds), model.insert(member.clone()))
                } else {
                    (set.remove(&member[..]), model.remove(&member))
                };
                prop_assert_eq!(done, expected);
                prop_assert_eq!(set.contains(&member[..]), operation > 0);
                prop_assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
                let members: Vec<Vec<u8>> = set.iter().map(|member| member.bytes().into_owned()).collect();
                prop_assert_eq!(members.len(), model.len());
                prop_assert_eq!(members.into_iter().collect::<BTreeSet<_>>(), model.clone());
                if set.encoding() == Encoding::Listpack {
                    prop_assert!(set.len() <= thresholds.set_listpack_entries_max);
                }
            }
            Ok(())
        });
    }
    over_each_memory!(check);
}

#[test]
fn every_hash_is_that_of_the_model() {
    fn check<M: Memory>() {
        let program = (thresholds(), prop::collection::vec((0..3u8, name(), common::element()), 1..150));
        common::check(80, &program, |(thresholds, program)| {
            let (mut hash, mut model) = (Hash::<M>::new(), BTreeMap::new());
            for (operation, field, value) in program {
                if operation > 0 {
                    let new = hash.insert(&field[..], &value[..], &thresholds);
                    prop_assert_eq!(new, model.insert(field.clone(), value).is_none());
                } else {
                    prop_assert_eq!(hash.remove(&field[..]), model.remove(&field).is_some());
                }
                let value = hash.get(&field[..]).map(|value| value.bytes().into_owned());
                prop_assert_eq!(value.as_ref(), model.get(&field));
                prop_assert_eq!(hash.len(), model.len());
                let pairs = hash.iter().map(|(field, value)| (field.bytes().into_owned(), value.bytes().into_owned()));
                prop_assert_eq!(pairs.collect::<BTreeMap<_, _>>(), model.clone());
            }
            Ok(())
        });
    }
    over_each_memory!(check);
}

#[test]
fn every_sorted_set_is_that_of_the_model() {
    fn check<M: Memory>() {
        let score = prop_oneof![
            8 => (-8..8i8).prop_map(|score| f64::from(score) / 2.0),
            1 => any::<f64>().prop_filter("a number", |score| !score.is_nan()),
            1 => prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, 1e300, 5e-324, 1e16, 0.1]),
        ];
        let program = (thresholds(), prop::collection::vec((0..4u8, name(), score), 1..150));
        common::check(60, &program, |(thresholds, program)| {
            let mut set = SortedSet::<M>::new();
            let mut model: BTreeMap<Vec<u8>, f64> = BTreeMap::new();
            for (operation, member, score) in program {
                if operation > 0 {
                    let expected = match model.insert(member.clone(), score) {
                        None => Inserted::New,
                        Some(old) if old == score => Inserted::Same,
                        Some(_) => Inserted::Moved,
                    };
                    prop_assert_eq!(set.insert(&member[..], score, &thresholds), expected);
                } else {
                    prop_assert_eq!(set.remove(&member[..]), model.remove(&member));
                }
                agree(&set, &model, &member, score)?;
            }
            Ok(())
        });
    }
    over_each_memory!(check);
}

fn agree<M: Memory>(
    set: &SortedSet<M>,
    model: &BTreeMap<Vec<u8>, f64>,
    member: &[u8],
    score: f64,
) -> Result<(), TestCaseError> {
    let mut order: Vec<(Vec<u8>, f64)> = model.iter().map(|(member, score)| (member.clone(), *score)).collect();
    order.sort_by(|one, two| one.1.partial_cmp(&two.1).unwrap().then_with(|| one.0.cmp(&two.0)));
    let owned = |(member, score): (zmalloc_values::Element<'_>, f64)| (member.bytes().into_owned(), score);
    prop_assert_eq!(set.len(), order.len());
    prop_assert_eq!(set.score(member), model.get(member).copied());
    prop_assert_eq!(set.rank(member), order.iter().position(|pair| pair.0 == member));
    prop_assert_eq!(set.iter().map(owned).collect::<Vec<_>>(), &*order);
    let from = order.len() / 3;
    let mut backward: Vec<_> = set.iter_from(from).rev().map(owned).collect();
    backward.reverse();
    prop_assert_eq!(&backward, &order[from..]);
    prop_assert_eq!(set.count_below(score, false), order.iter().filter(|pair| pair.1 < score).count());
    prop_assert_eq!(set.count_below(score, true), order.iter().filter(|pair| pair.1 <= score).count());
    Ok(())
}

/// So many that rows of the index are split, and joined as they empty.
#[test]
fn a_large_sorted_set_is_that_of_the_model() {
    let (count, step) = if cfg!(miri) { (600, 599) } else { (20_000, 4999) };
    let (mut set, mut model) = (SortedSet::<zmalloc_values::Global>::new(), BTreeMap::new());
    let member = |number: usize| format!("member {}", number * 7919 % count).into_bytes();
    for number in 0..count {
        let score = (number * 31 % 997) as f64;
        set.insert(&member(number)[..], score, &Thresholds::DEFAULT);
        model.insert(member(number), score);
        if number % step == 0 {
            agree(&set, &model, &member(number / 2), score).unwrap();
        }
    }
    assert_eq!(set.encoding(), Encoding::Ordered);
    let full = set.charged_size();
    for number in 0..count {
        // From one end, then here and there.
        let gone = if number < count / 2 { set.iter().next().unwrap().0.bytes().into_owned() } else { member(number) };
        assert_eq!(set.remove(&gone[..]), model.remove(&gone));
        if number % step == 0 {
            agree(&set, &model, &member(number / 2), 500.0).unwrap();
        }
    }
    for member in model.keys() {
        set.remove(&member[..]);
    }
    assert!(set.is_empty() && set.charged_size() < full / 20, "{} of {full}", set.charged_size());
}

#[derive(Clone, Debug)]
enum OnList {
    PushFront(Vec<u8>),
    PushBack(Vec<u8>),
    PopFront,
    PopBack,
    Insert(usize, Vec<u8>),
    Set(usize, Vec<u8>),
    Remove(usize),
    RemoveEqual(Vec<u8>, usize, bool),
    Keep(usize, usize),
}

#[test]
fn every_list_is_that_of_the_model() {
    fn check<M: Memory>() {
        use OnList::*;
        let at = any::<usize>;
        let operation = prop_oneof![
            4 => name().prop_map(PushFront),
            8 => name().prop_map(PushBack),
            1 => Just(PopFront),
            1 => Just(PopBack),
            8 => (at(), name()).prop_map(|(at, element)| Insert(at, element)),
            2 => (at(), name()).prop_map(|(at, element)| Set(at, element)),
            2 => at().prop_map(Remove),
            1 => (name(), 0..4usize, any::<bool>()).prop_map(|(element, count, backward)| RemoveEqual(element, count, backward)),
            1 => (0..8usize, 20..150usize).prop_map(|(start, end)| Keep(start, end)),
        ];
        common::check(80, &(thresholds(), prop::collection::vec(operation, 1..150)), |(t, program)| {
            let (mut list, mut model) = (List::<M>::new(), VecDeque::new());
            for operation in program {
                step(&mut list, &mut model, operation, &t)?;
                let elements: Vec<Vec<u8>> = list.iter().map(|element| element.bytes().into_owned()).collect();
                prop_assert_eq!(&elements, model.make_contiguous());
                let mut backward: Vec<Vec<u8>> =
                    list.iter().rev().map(|element| element.bytes().into_owned()).collect();
                backward.reverse();
                prop_assert_eq!(&backward, &elements);
                prop_assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
                let sizes: Vec<(usize, usize)> = list
                    .listpacks()
                    .map(|listpack: &Listpack<M>| (listpack.len(), listpack.as_bytes().len()))
                    .collect();
                prop_assert!(sizes.iter().all(|&(count, bytes)| count == 1 || bytes <= t.list_listpack_bytes_max));
            }
            Ok(())
        });
    }
    over_each_memory!(check);
}

fn step<M: Memory>(
    list: &mut List<M>,
    model: &mut VecDeque<Vec<u8>>,
    operation: OnList,
    t: &Thresholds,
) -> Result<(), TestCaseError> {
    use OnList::*;
    match operation {
        PushFront(element) => {
            list.push_front(&element[..], t);
            model.push_front(element);
        }
        PushBack(element) => {
            list.push_back(&element[..], t);
            model.push_back(element);
        }
        PopFront => prop_assert_eq!(list.pop_front(t).map(|element| element.to_vec()), model.pop_front()),
        PopBack => prop_assert_eq!(list.pop_back(t).map(|element| element.to_vec()), model.pop_back()),
        Insert(at, element) => {
            // One beyond the end too, which does nothing.
            let at = at % (model.len() + 2);
            prop_assert_eq!(list.insert(at, &element[..], t), at <= model.len());
            if at <= model.len() {
                model.insert(at, element);
            }
        }
        Set(at, element) => {
            let at = at % (model.len() + 1);
            let from_end = at as isize - model.len() as isize;
            let index = if at.is_multiple_of(2) || from_end == 0 { at as isize } else { from_end };
            prop_assert_eq!(list.set(index, &element[..], t), at < model.len());
            if let Some(place) = model.get_mut(at) {
                *place = element;
            }
        }
        Remove(at) => {
            let at = at % (model.len() + 1);
            prop_assert_eq!(list.remove(at, t), model.remove(at).is_some());
        }
        RemoveEqual(element, count, backward) => {
            let mut places: Vec<usize> = (0..model.len()).filter(|&index| model[index] == element).collect();
            if backward {
                places.reverse();
            }
            places.truncate(count);
            prop_assert_eq!(list.remove_equal(&element[..], count, backward, t), places.len());
            places.sort_unstable();
            places.into_iter().rev().for_each(|index| drop(model.remove(index)));
        }
        Keep(start, end) => {
            list.keep(start..end, t);
            model.truncate(end);
            model.drain(..start.min(model.len()));
        }
    }
    Ok(())
}
