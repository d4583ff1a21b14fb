//! Sends a request to the instances that have its partitions, and once more to another replica where that failed.
//!
//! Owns the order of attempts. Does not own how an instance is asked, or what becomes of the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use tokio::task::JoinSet;

use super::route::{Candidate, Host, Leaf, plan};

/// Attempts for each partition: the best replica, then another.
const ATTEMPTS: usize = 2;

/// What an instance answered for some partitions.
#[derive(Debug)]
pub struct Answered<T> {
    /// Who answered.
    pub host: Host,
    /// For which partitions, ascending.
    pub partitions: Vec<u32>,
    /// What.
    pub answer: T,
}

/// What became of a request.
#[derive(Debug)]
pub struct Scattered<T, E> {
    /// Answers, ordered by their first partition. No partition is in two of them.
    pub answers: Vec<Answered<T>>,
    /// Partitions without an answer, and why there is none; `None` where nobody has it.
    pub failed: BTreeMap<u32, Option<E>>,
    /// Partitions that were asked of another replica, since the first had failed.
    pub retried: usize,
}

/// Asks for `partitions`. An error that `is_final` says would come from any replica ends everything.
pub async fn scatter<T, E, F>(
    partitions: &[u32],
    candidates: impl Fn(u32) -> Vec<Candidate>,
    ask: impl Fn(Host, Vec<u32>) -> F,
    is_final: impl Fn(&E) -> bool,
) -> Result<Scattered<T, E>, E>
where
    T: Send + 'static,
    E: Clone + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut tried: BTreeMap<u32, BTreeSet<Host>> = BTreeMap::new();
    let mut failed: BTreeMap<u32, Option<E>> = BTreeMap::new();
    let mut answers = Vec::new();
    let mut open: Vec<u32> = partitions.to_vec();
    let mut retried = 0;
    for attempt in 0..ATTEMPTS {
        let plan = plan(&open, &candidates, &tried);
        if attempt > 0 {
            retried += plan.leaves.values().map(Vec::len).sum::<usize>();
        }
        for partition in plan.nowhere {
            failed.entry(partition).or_insert(None);
        }
        open.clear();
        for (host, partitions, outcome) in together(plan.leaves, &ask).await {
            match outcome {
                Ok(answer) => {
                    partitions.iter().for_each(|p| drop(failed.remove(p)));
                    answers.push(Answered { host, partitions, answer });
                }
                Err(Some(e)) if is_final(&e) => return Err(e),
                Err(e) => {
                    for partition in partitions {
                        tried.entry(partition).or_default().insert(host.clone());
                        failed.insert(partition, e.clone());
                        open.push(partition);
                    }
                }
            }
        }
        if open.is_empty() {
            break;
        }
        open.sort_unstable();
    }
    answers.sort_by(|a, b| a.partitions.cmp(&b.partitions));
    Ok(Scattered { answers, failed, retried })
}

/// Sends all requests at a time; a single one without a detour. `None`: the request ended in a panic.
async fn together<T, E, F>(
    leaves: BTreeMap<Leaf, Vec<u32>>,
    ask: &impl Fn(Host, Vec<u32>) -> F,
) -> Vec<(Host, Vec<u32>, Result<T, Option<E>>)>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    if leaves.len() == 1 {
        let Some((leaf, partitions)) = leaves.into_iter().next() else { return Vec::new() };
        let outcome = ask(leaf.host.clone(), partitions.clone()).await.map_err(Some);
        return vec![(leaf.host, partitions, outcome)];
    }
    let mut running = JoinSet::new();
    let mut places = BTreeMap::new();
    for (leaf, partitions) in leaves {
        let handle = running.spawn(ask(leaf.host.clone(), partitions.clone()));
        places.insert(handle.id(), (leaf.host, partitions));
    }
    let mut outcomes = Vec::with_capacity(places.len());
    while let Some(done) = running.join_next_with_id().await {
        let (id, outcome) = match done {
            Ok((id, outcome)) => (id, outcome.map_err(Some)),
            Err(e) => (e.id(), Err(None)),
        };
        if let Some((host, partitions)) = places.remove(&id) {
            outcomes.push((host, partitions, outcome));
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::task::Role;

    fn replica(host: &str, role: Role) -> Candidate {
        let host = if host.is_empty() { Host::Here } else { Host::There(host.into()) };
        Candidate { host, role, ready: true, alive: true, changelog: 0 }
    }

    /// Partition 0 here; 1 at `a`, with a standby at `b`; 2 at `a` only; 3 nowhere.
    fn known(partition: u32) -> Vec<Candidate> {
        match partition {
            0 => vec![replica("", Role::Active)],
            1 => vec![replica("a", Role::Active), replica("b", Role::Standby)],
            2 => vec![replica("a", Role::Active)],
            _ => vec![],
        }
    }

    /// Asks where `fails` says which hosts fail, with what.
    async fn run(fails: &'static [(&'static str, &'static str)]) -> (Result<Scattered<String, String>, String>, usize) {
        let asked = Arc::new(Mutex::new(0));
        let ask = |host: Host, partitions: Vec<u32>| {
            *asked.lock() += 1;
            async move {
                let name = if let Host::There(url) = host { url.to_string() } else { String::new() };
                match fails.iter().find(|(host, _)| *host == name) {
                    Some((_, why)) => Err((*why).to_owned()),
                    None => Ok(format!("{name}{partitions:?}")),
                }
            }
        };
        let outcome = scatter(&[0, 1, 2, 3], known, ask, |e| e == "final").await;
        let asked = *asked.lock();
        (outcome, asked)
    }

    fn answers(of: &Scattered<String, String>) -> Vec<&str> {
        of.answers.iter().map(|a| a.answer.as_str()).collect()
    }

    #[tokio::test]
    async fn every_partition_is_answered_once_and_those_nobody_has_are_named() {
        let (outcome, asked) = run(&[]).await;
        let outcome = outcome.unwrap();
        assert_eq!((answers(&outcome), asked), (vec!["[0]", "a[1, 2]"], 2));
        assert_eq!(outcome.failed, BTreeMap::from([(3, None)]));
    }

    #[tokio::test]
    async fn what_fails_is_asked_once_more_of_another_replica() {
        let (outcome, asked) = run(&[("a", "gone")]).await;
        let outcome = outcome.unwrap();
        assert_eq!((answers(&outcome), asked), (vec!["[0]", "b[1]"], 3));
        assert_eq!(outcome.failed, BTreeMap::from([(2, Some("gone".to_owned())), (3, None)]));
    }

    #[tokio::test]
    async fn two_replicas_that_fail_are_enough() {
        let (outcome, asked) = run(&[("a", "gone"), ("b", "gone, too")]).await;
        let outcome = outcome.unwrap();
        assert_eq!((answers(&outcome), asked), (vec!["[0]"], 3));
        assert_eq!(outcome.failed[&1].as_deref(), Some("gone, too"));
    }

    #[tokio::test]
    async fn an_error_that_every_replica_would_give_ends_it() {
        let (outcome, _) = run(&[("a", "final")]).await;
        assert_eq!(outcome.unwrap_err(), "final");
    }
}
