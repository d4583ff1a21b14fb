//! One picture of the cluster.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Heartbeat, Hosted};

/// Another instance, as of its last answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its address.
    pub url: Arc<str>,
    /// Whether it answers. One that does not may still be there: it is asked last.
    pub alive: bool,
    /// Heartbeats in a row that it did not answer.
    pub missed: u32,
    /// Why it did not answer the last one.
    pub trouble: Option<Arc<str>>,
    /// What it said last.
    pub said: Arc<Heartbeat>,
}

/// The other instances of the application, as of a moment.
#[derive(Clone, Debug, Default)]
pub struct Members {
    others: Vec<Member>,
    /// By table and partition: index of the member, index of its task.
    hosts: HashMap<String, HashMap<u32, Vec<(usize, usize)>>>,
}

impl Members {
    /// A picture of these instances.
    pub fn new(others: Vec<Member>) -> Self {
        let mut hosts: HashMap<String, HashMap<u32, Vec<(usize, usize)>>> = HashMap::new();
        for (i, member) in others.iter().enumerate() {
            for (j, task) in member.said.tasks.iter().enumerate() {
                if !hosts.contains_key(&task.table) {
                    hosts.insert(task.table.clone(), HashMap::new());
                }
                if let Some(table) = hosts.get_mut(&task.table) {
                    table.entry(task.partition).or_default().push((i, j));
                }
            }
        }
        Self { others, hosts }
    }

    /// Every other instance, ordered by address.
    pub fn others(&self) -> &[Member] {
        &self.others
    }

    /// Whether there is any other instance.
    pub fn is_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// The other instances that have a task, and what they say of it.
    pub fn hosts(&self, table: &str, partition: u32) -> impl Iterator<Item = (&Member, &Hosted)> {
        let found = self.hosts.get(table).and_then(|t| t.get(&partition)).map_or(&[] as &[_], Vec::as_slice);
        found.iter().map(|(i, j)| (&self.others[*i], &self.others[*i].said.tasks[*j]))
    }

    /// Whether the instance at this address answers heartbeats.
    pub fn is_alive(&self, url: &str) -> bool {
        self.others.iter().any(|m| m.alive && &*m.url == url)
    }

    /// Name of the instance at this address, else the address.
    pub fn name<'a>(&'a self, url: &'a str) -> &'a str {
        self.others.iter().find(|m| &*m.url == url).map_or(url, |m| &m.said.instance)
    }
}
