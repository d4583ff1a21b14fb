use std::collections::BTreeSet;

use super::*;
use crate::cluster::Hosted;
use crate::task::{Phase, Role};

const OWN: &str = "http://own:1";
const A: &str = "http://a:1";
const B: &str = "http://b:1";

fn urls(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|u| (*u).to_owned()).collect()
}

fn state() -> State {
    State::new("shop", "keld-0", "i0", OWN, 3)
}

fn beat(instance: &str, incarnation: &str, partitions: &[u32]) -> Heartbeat {
    let hosted = |partition: &u32| Hosted {
        table: "t".to_owned(),
        partition: *partition,
        role: Role::Active,
        answers_as: Role::Active,
        phase: Phase::Running,
        applied: BTreeMap::new(),
        visible: BTreeMap::new(),
        changelog: 0,
        indexed: 0,
        lag: BTreeMap::new(),
        lag_ms: 0,
    };
    Heartbeat {
        application: "shop".to_owned(),
        instance: instance.to_owned(),
        incarnation: incarnation.to_owned(),
        version: "0".to_owned(),
        stopping: false,
        peers: Vec::new(),
        tasks: partitions.iter().map(hosted).collect(),
    }
}

fn alive(state: &State) -> Vec<(String, bool)> {
    state.members().others().iter().map(|m| (m.said.instance.clone(), m.alive)).collect()
}

#[test]
fn addresses_are_told_once_and_never_our_own() {
    let mut state = state();
    assert_eq!(state.name(&urls(&[OWN, A, B])), [A, B]);
    assert!(state.name(&urls(&[OWN, A, B])).is_empty());
    assert!(alive(&state).is_empty(), "nobody answered yet");
}

#[test]
fn all_are_asked_when_each_has_answered_or_missed_a_heartbeat() {
    let mut state = state();
    assert!(state.all_asked(), "there is nobody");
    state.name(&urls(&[A, B]));
    state.heard(A, beat("keld-1", "i1", &[0]));
    assert!(!state.all_asked(), "one was not");
    state.missed(B, 1, "gone");
    assert!(state.all_asked());
}

#[test]
fn three_misses_in_a_row_make_an_instance_dead_and_an_answer_makes_it_live_again() {
    let mut state = state();
    state.name(&urls(&[A]));
    assert_eq!(state.heard(A, beat("keld-1", "i1", &[0])), Heard::Joined);
    assert!(!state.missed(A, 1, "x") && !state.missed(A, 1, "x"));
    assert_eq!(state.heard(A, beat("keld-1", "i1", &[0])), Heard::Same);
    assert!(!state.missed(A, 1, "x") && !state.missed(A, 1, "x") && state.missed(A, 1, "x"));
    assert!(!state.missed(A, 1, "x"), "its death is told once");
    assert_eq!(alive(&state), [("keld-1".to_owned(), false)]);
    assert_eq!(state.heard(A, beat("keld-1", "i1", &[0])), Heard::Joined);
    assert_eq!(alive(&state), [("keld-1".to_owned(), true)]);
}

#[test]
fn an_answer_that_takes_the_time_of_three_counts_as_three() {
    let mut state = state();
    state.name(&urls(&[A]));
    state.heard(A, beat("keld-1", "i1", &[]));
    assert!(state.missed(A, 3, "no answer within 300 ms"));
    assert_eq!(state.members().others()[0].trouble.as_deref(), Some("no answer within 300 ms"));
}

#[test]
fn a_restart_is_told_although_nothing_was_missed() {
    let mut state = state();
    state.name(&urls(&[A]));
    state.heard(A, beat("keld-1", "i1", &[]));
    assert_eq!(state.heard(A, beat("keld-1", "i2", &[])), Heard::Joined);
}

#[test]
fn ourselves_namesakes_and_other_applications_are_no_members() {
    let mut state = state();
    state.name(&urls(&[A]));
    assert_eq!(state.heard(A, beat("keld-0", "i0", &[])), Heard::Itself);
    assert_eq!(state.heard(A, beat("keld-0", "i9", &[])), Heard::SameName);
    assert_eq!(state.heard(A, Heartbeat { application: "x".into(), ..beat("keld-1", "i1", &[]) }), Heard::Foreign);
    assert!(alive(&state).is_empty());
    assert_eq!(state.pace(A), Some(10), "and are asked seldom");
    assert_eq!(state.heard(A, beat("keld-1", "i1", &[])), Heard::Joined, "until somebody else is there");
    assert_eq!(state.pace(A), Some(1));
}

#[test]
fn what_nobody_names_is_forgotten_once_it_is_dead() {
    let mut state = state();
    state.name(&urls(&[A]));
    state.heard(A, beat("keld-1", "i1", &[]));
    state.name(&urls(&[]));
    assert_eq!(state.pace(A), Some(1), "it answers: the group may only be slow to tell");
    state.missed(A, 3, "x");
    state.name(&urls(&[A]));
    assert_eq!(alive(&state), [("keld-1".to_owned(), false)], "the group still names it");
    state.name(&urls(&[]));
    assert_eq!((state.pace(A), alive(&state)), (None, vec![]));
    assert_eq!(state.heard(A, beat("keld-1", "i1", &[])), Heard::Joined);
    assert!(alive(&state).is_empty(), "an answer that comes late revives nobody");
}

#[test]
fn what_is_forgotten_and_named_again_is_asked_by_one() {
    let mut state = state();
    assert_eq!(state.name(&urls(&[A])), [A]);
    state.missed(A, 3, "x");
    state.name(&urls(&[]));
    assert!(state.name(&urls(&[A])).is_empty(), "whoever asked it has not seen that it was forgotten");
    assert_eq!(state.pace(A), Some(1));
    state.missed(A, 3, "x");
    state.name(&urls(&[]));
    assert_eq!(state.pace(A), None);
    assert_eq!(state.name(&urls(&[A])), [A], "now it has");
}

#[test]
fn living_instances_name_others_and_dead_ones_do_not() {
    let mut state = state();
    state.name(&urls(&[A]));
    let naming = Heartbeat { peers: vec![B.to_owned(), OWN.to_owned()], ..beat("keld-1", "i1", &[]) };
    state.heard(A, naming);
    assert_eq!(state.name(&urls(&[A])), [B]);
    state.missed(A, 3, "x");
    state.missed(B, 3, "x");
    state.name(&urls(&[A]));
    assert_eq!(state.pace(B), None);
}

#[test]
fn an_instance_with_two_addresses_is_one_member() {
    let mut state = state();
    state.name(&urls(&[A, B]));
    state.heard(A, beat("keld-1", "i1", &[3]));
    state.heard(B, beat("keld-1", "i1", &[3]));
    assert_eq!(alive(&state).len(), 1);
    state.missed(A, 3, "x");
    assert_eq!(state.members().others()[0].url.as_ref(), B, "the one that answers");
}

#[test]
fn hosts_of_a_task_are_found_by_table_and_partition() {
    let mut state = state();
    state.name(&urls(&[A, B]));
    state.heard(A, beat("keld-1", "i1", &[0, 2]));
    state.heard(B, beat("keld-2", "i2", &[2]));
    let members = state.members();
    let hosts = |table: &str, p| members.hosts(table, p).map(|(m, _)| m.url.to_string()).collect::<Vec<_>>();
    assert_eq!(hosts("t", 0), [A]);
    assert_eq!(hosts("t", 2), [A, B]);
    assert!(hosts("t", 1).is_empty() && hosts("u", 0).is_empty());
}

#[test]
fn the_dead_are_asked_more_slowly_after_a_while() {
    let mut state = state();
    state.name(&urls(&[A]));
    state.missed(A, 99, "x");
    assert_eq!(state.pace(A), Some(1));
    state.missed(A, 1, "x");
    assert_eq!(state.pace(A), Some(10));
}
