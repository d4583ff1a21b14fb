//! Tests of [`super`]: laws that any placement of this kind must keep, and the one that every build must share.

use std::collections::BTreeMap;

use super::*;

const LIVE: [&str; 5] = ["keld-0", "keld-1", "keld-2", "keld-3", "keld-4"];
const TASKS: u32 = 1_000;

fn placed(partition: u32, owner: Option<&str>, live: &[&'static str], count: usize) -> Vec<&'static str> {
    standbys("products", partition, owner, live.iter().copied(), count)
}

#[test]
fn the_owner_is_never_its_own_standby_and_nobody_is_one_twice() {
    for partition in 0..TASKS {
        let owner = LIVE[partition as usize % 5];
        for count in 0..7 {
            let mut found = placed(partition, Some(owner), &LIVE, count);
            assert_eq!(found.len(), count.min(4));
            assert!(!found.contains(&owner));
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), count.min(4), "one is there twice");
        }
    }
    assert!(placed(0, Some("keld-0"), &["keld-0"], 1).is_empty(), "alone");
}

#[test]
fn while_the_owner_is_unknown_there_is_one_more() {
    assert_eq!(placed(7, None, &LIVE, 0).len(), 0);
    let both = placed(7, None, &LIVE, 1);
    assert_eq!(both.len(), 2);
    for owner in &both {
        let known = placed(7, Some(owner), &LIVE, 1);
        assert!(both.contains(&known[0]), "whoever of them it is, the other has the copy");
    }
}

#[test]
fn the_order_in_which_instances_are_seen_does_not_matter() {
    let mut backwards = LIVE;
    backwards.reverse();
    assert!((0..TASKS).all(|p| placed(p, None, &LIVE, 2) == placed(p, None, &backwards, 2)));
}

#[test]
fn copies_are_spread() {
    let mut shares: BTreeMap<&str, u32> = BTreeMap::new();
    for partition in 0..TASKS {
        *shares.entry(placed(partition, Some(LIVE[partition as usize % 5]), &LIVE, 1)[0]).or_default() += 1;
    }
    // 200 each were even; five standard deviations are 63.
    assert!(shares.len() == 5 && shares.values().all(|n| (137..=263).contains(n)), "{shares:?}");
}

#[test]
fn who_comes_takes_only_what_it_ranks_first_for_and_nothing_else_moves() {
    let mut moved = 0;
    for partition in 0..TASKS {
        let owner = Some(LIVE[partition as usize % 4]);
        let (all, without) = (placed(partition, owner, &LIVE, 1), placed(partition, owner, &LIVE[..4], 1));
        assert!(all == without || all == ["keld-4"], "{partition}: {all:?}, {without:?}");
        moved += u32::from(all != without);
    }
    assert!((150..=350).contains(&moved), "a quarter of the copies were even: {moved}");
}

#[test]
fn a_copy_is_kept_until_the_owner_works_and_those_chosen_have_caught_up() {
    let chosen = placed(3, Some("keld-0"), &LIVE, 1)[0];
    let other = LIVE.into_iter().find(|i| *i != chosen && *i != "keld-0").unwrap();
    let task = |owner_runs, copies_elsewhere, copy_here| Seen {
        table: "products",
        partition: 3,
        owner: Some("keld-0"),
        owner_runs,
        copies_elsewhere,
        copy_here,
    };
    assert!(keeps(chosen, &LIVE, 1, task(true, 0, false)), "the one that is chosen begins one");
    assert!(!keeps(other, &LIVE, 1, task(true, 0, false)), "another does not");
    assert!(keeps(other, &LIVE, 1, task(true, 0, true)), "who has one waits for the one that is chosen");
    assert!(keeps(other, &LIVE, 1, task(false, 1, true)), "and for the owner");
    assert!(!keeps(other, &LIVE, 1, task(true, 1, true)), "and then lets go");
    assert!(!keeps(chosen, &LIVE, 0, task(true, 0, true)), "no standbys are wanted");
    assert!(keeps(chosen, &LIVE, 0, task(false, 0, true)), "but the owner must work first");
}

#[test]
fn whoever_owns_least_steps_back_and_everybody_agrees_who_that_is() {
    assert_eq!(who_steps_back([("b", 2), ("c", 0), ("a", 1)]), Some("c"));
    assert_eq!(who_steps_back([("b", 0), ("c", 1), ("a", 0)]), Some("a"));
    assert_eq!(who_steps_back([]), None);
}

/// By an implementation of FNV-1a and SplitMix64 in another language.
#[test]
fn builds_agree() {
    let first: Vec<&str> = (0..8).map(|p| placed(p, None, &LIVE, 1)[0]).collect();
    assert_eq!(first, GOLDEN);
}

const GOLDEN: [&str; 8] = ["keld-1", "keld-4", "keld-1", "keld-3", "keld-1", "keld-3", "keld-0", "keld-3"];
