//! Decides which instance answers for which partition. Pure: what is known goes in, a plan comes out.
//!
//! One replica for each partition: the one that works on it, else a standby, else what is not ready, and what does not answer
//! heartbeats last of all (it may only be busy). Of two that say they work on it, the one whose changelog has come further: an
//! owner that lost its task without knowing stays behind.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Table;
use crate::broker::Offset;
use crate::cluster::Members;
use crate::task::{Phase, Role};

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// This instance.
    Here,
    /// The instance at this address.
    There(Arc<str>),
}

/// What a read needs of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its store.
    Store,
    /// Its index, too.
    Index,
}

impl Need {
    /// Whether a task in this phase has what is needed, caught up.
    pub fn is_met(self, phase: &Phase) -> bool {
        match phase {
            Phase::Running => true,
            Phase::Indexing { .. } => self == Need::Store,
            Phase::Opening | Phase::Restoring { .. } | Phase::Releasing | Phase::Stopped(_) => false,
        }
    }
}

/// A replica of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub host: Host,
    /// What its answers are.
    pub role: Role,
    /// Whether the task is in a phase to answer.
    pub ready: bool,
    /// Whether the instance answers, and is not shutting down.
    pub alive: bool,
    /// Changelog position of its store.
    pub changelog: Offset,
}

impl Candidate {
    /// The smallest is asked first.
    fn rank(&self) -> impl Ord + use<> {
        let standby = self.role == Role::Standby;
        (!self.alive, !self.ready, standby, Reverse(self.changelog), self.host.clone())
    }
}

/// The replicas of a partition that this instance knows: its own task as of now, others as of their last heartbeat.
pub fn candidates(table: &Table, members: &Members, partition: u32, need: Need) -> Vec<Candidate> {
    let others = members.hosts(&table.def.name, partition).map(|(member, task)| Candidate {
        host: Host::There(member.url.clone()),
        role: task.answers_as,
        ready: need.is_met(&task.phase),
        alive: member.alive && !member.said.stopping,
        changelog: task.changelog,
    });
    let own = table.task(partition).map(|task| Candidate {
        host: Host::Here,
        role: task.answers_as(),
        ready: task.store().is_some() && need.is_met(&task.phase()),
        alive: true,
        changelog: task.look(|p| p.changelog),
    });
    others.chain(own).collect()
}

/// The replica that is asked first.
pub fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(Candidate::rank)
}

/// A request to one instance: the partitions that it is to answer for. What is ready there and what is not goes apart, so that the
/// one does not wait for, or fail with, the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    /// Who is asked.
    pub host: Host,
    /// Whether its tasks are in a phase to answer.
    pub ready: bool,
}

/// Who is asked for which partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Partitions of each request, ascending.
    pub leaves: BTreeMap<Leaf, Vec<u32>>,
    /// Partitions that nobody has who was not asked yet.
    pub nowhere: Vec<u32>,
}

/// Plans requests for `partitions`, passing over who was tried for a partition already.
pub fn plan(
    partitions: &[u32],
    candidates: impl Fn(u32) -> Vec<Candidate>,
    tried: &BTreeMap<u32, BTreeSet<Host>>,
) -> Plan {
    let mut plan = Plan::default();
    for partition in partitions {
        let tried = tried.get(partition);
        let open = candidates(*partition).into_iter().filter(|c| tried.is_none_or(|t| !t.contains(&c.host)));
        match open.min_by_key(Candidate::rank) {
            Some(Candidate { host, ready, .. }) => {
                plan.leaves.entry(Leaf { host, ready }).or_default().push(*partition)
            }
            None => plan.nowhere.push(*partition),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> Host {
        if host.is_empty() { Host::Here } else { Host::There(host.into()) }
    }

    fn replica(host: &str, role: Role, changelog: Offset) -> Candidate {
        Candidate { host: at(host), role, ready: true, alive: true, changelog }
    }

    /// The order in which replicas are asked.
    fn order(of: &[Candidate]) -> Vec<Host> {
        let mut tried = BTreeMap::from([(0, BTreeSet::new())]);
        let mut order = Vec::new();
        loop {
            let plan = plan(&[0], |_| of.to_vec(), &tried);
            let Some(leaf) = plan.leaves.into_keys().next() else { return order };
            tried.get_mut(&0).unwrap().insert(leaf.host.clone());
            order.push(leaf.host);
        }
    }

    #[test]
    fn the_owner_is_asked_before_standbys_and_they_before_what_is_not_ready_or_dead() {
        let active = replica("a", Role::Active, 5);
        let standby = replica("b", Role::Standby, 5);
        let behind = replica("c", Role::Standby, 4);
        let restoring = Candidate { ready: false, ..replica("", Role::Active, 9) };
        let dead = Candidate { alive: false, ..replica("d", Role::Active, 9) };
        let all = [dead, restoring, behind, standby, active];
        assert_eq!(order(&all), [at("a"), at("b"), at("c"), at(""), at("d")]);
        // Whatever the order in which they are known.
        let back: Vec<Candidate> = all.iter().rev().cloned().collect();
        assert_eq!(order(&back), order(&all));
    }

    #[test]
    fn of_two_owners_the_one_that_has_come_further_is_asked_and_of_equals_this_instance() {
        assert_eq!(order(&[replica("", Role::Active, 3), replica("a", Role::Active, 4)]), [at("a"), at("")]);
        assert_eq!(order(&[replica("a", Role::Active, 4), replica("", Role::Active, 4)]), [at(""), at("a")]);
    }

    #[test]
    fn partitions_of_one_instance_go_in_one_request_and_unready_ones_in_another() {
        let candidates = |p: u32| match p {
            0 | 2 => vec![replica("a", Role::Active, 1)],
            1 => vec![Candidate { ready: false, ..replica("a", Role::Active, 1) }],
            3 => vec![replica("", Role::Active, 1)],
            _ => vec![],
        };
        let plan = plan(&[0, 1, 2, 3, 4], candidates, &BTreeMap::new());
        let leaf = |host: &str, ready| Leaf { host: at(host), ready };
        let leaves = [(leaf("", true), vec![3]), (leaf("a", true), vec![0, 2]), (leaf("a", false), vec![1])];
        assert_eq!(plan, Plan { leaves: leaves.into(), nowhere: vec![4] });
    }

    #[test]
    fn an_index_is_ready_later_than_its_store() {
        let indexing = Phase::Indexing { done: 1 };
        assert!(Need::Store.is_met(&indexing) && !Need::Index.is_met(&indexing));
        assert!(Need::Index.is_met(&Phase::Running) && !Need::Store.is_met(&Phase::Opening));
    }
}
