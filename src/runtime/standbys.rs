//! Which copies of others' tasks are kept here, and how a task passes between being owned, being followed and being closed.
//!
//! A task that goes stays open and is followed at once: until its new owner works, nobody else may be able to answer for it. What
//! is not needed any more is closed later, when the cluster has been steady for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::follower::Follow;
use super::opening::{persist_standby, wait_released};
use super::supervisor::{Open, Supervisor};
use super::worker::spawn;
use crate::Result;
use crate::broker::TopicPartition;
use crate::cluster::placement::{Seen, keeps, who_steps_back};
use crate::cluster::{Cluster, Hosted, Members};
use crate::config::{GroupProtocol, Settings};
use crate::task::{Phase, Role, TaskView};

/// How often who waits for a permit looks whether it is still wanted.
const PERMIT_LOOK: Duration = Duration::from_millis(50);
/// How long the group may take to name its members.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked what should be kept.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same until the copies of before the start are back.
const LOOK_SOON: Duration = Duration::from_millis(100);

/// The other instances, as the placement sees them.
pub(super) struct Neighbours {
    cluster: Arc<Cluster>,
    me: String,
    /// Copies of each task beside the owner's.
    count: usize,
    /// For so long the same instances must have been alive: a restart shall move nothing.
    steady: Duration,
    live: BTreeSet<String>,
    since: Instant,
    looked: Instant,
    /// Since when there are tasks that nobody owns.
    orphaned: Option<Instant>,
}

impl Neighbours {
    pub(super) fn new(cluster: Arc<Cluster>, settings: &Settings) -> Self {
        let (now, me) = (Instant::now(), settings.instance.id.clone());
        let (count, steady) = (settings.cluster.standbys, settings.broker.session_timeout);
        Self { cluster, me, count, steady, live: BTreeSet::new(), since: now, looked: now, orphaned: None }
    }

    /// The others, if it is time to look; and whether they have been the same for long enough.
    fn look(&mut self, every: Duration) -> Option<(Arc<Members>, bool)> {
        if self.looked.elapsed() < every {
            return None;
        }
        self.looked = Instant::now();
        let members = self.cluster.members();
        let alive = members.others().iter().filter(|m| m.alive && !m.said.stopping).map(|m| m.said.instance.clone());
        let live: BTreeSet<String> = alive.chain([self.me.clone()]).collect();
        if live != self.live {
            (self.live, self.since) = (live, Instant::now());
            self.orphaned = None;
        }
        Some((members, self.since.elapsed() >= self.steady))
    }

    /// Whether it is this instance's part to make the group share out anew tasks that nobody has owned for too long.
    fn steps_back(&mut self, members: &Members, orphans: usize, owned: usize) -> bool {
        if orphans == 0 {
            self.orphaned = None;
            return false;
        }
        if self.orphaned.get_or_insert_with(Instant::now).elapsed() < self.steady {
            return false;
        }
        self.orphaned = None;
        let active = |tasks: &[Hosted]| tasks.iter().filter(|t| t.role == Role::Active).count();
        let others = members.others().iter().filter(|m| m.alive && !m.said.stopping);
        let owned =
            others.map(|m| (m.said.instance.as_str(), active(&m.said.tasks))).chain([(self.me.as_str(), owned)]);
        who_steps_back(owned) == Some(self.me.as_str())
    }

    fn keeps(&self, members: &Members, table: &Arc<str>, partition: u32, copy_here: bool) -> bool {
        // Who sees nobody else may be cut off from them, and would begin to copy everything that they own.
        if self.live.len() < 2 && !copy_here {
            return false;
        }
        let hosts = || members.hosts(table, partition).filter(|(member, _)| member.alive);
        let owner = hosts().filter(|(_, task)| task.role == Role::Active).max_by_key(|(_, task)| task.changelog);
        let copies = hosts().filter(|(_, task)| task.role == Role::Standby && task.phase == Phase::Running);
        let seen = Seen {
            table,
            partition,
            owner: owner.map(|(member, _)| member.said.instance.as_str()),
            owner_runs: owner.is_some_and(|(_, task)| task.phase == Phase::Running),
            copies_elsewhere: copies.count(),
            copy_here,
        };
        let live: Vec<&str> = self.live.iter().map(String::as_str).collect();
        keeps(&self.me, &live, self.count, seen)
    }
}

impl Supervisor {
    /// Begins the copies that should be here and ends those that need not, when the cluster is steady. What is here from before a
    /// restart is taken up at once: others count on it.
    pub(super) fn place(&mut self) -> Result<()> {
        let cold = self.health.is_cold();
        let every = if cold { LOOK_SOON } else { LOOK_EVERY };
        let Some((members, steady)) = self.neighbours.look(every) else { return Ok(()) };
        let returning = cold && self.is_in_group() && self.neighbours.cluster.has_looked();
        if !steady && !returning {
            return Ok(());
        }
        let mut changes: Vec<(TopicPartition, bool)> = Vec::new();
        let (mut orphans, mut owned) = (0, 0);
        for (topic, table) in &self.tables {
            let opener = &table.context.opener;
            let (table, topic) = (&opener.table, Arc::from(topic.as_str()));
            let name: Arc<str> = table.def.name.as_str().into();
            let tasks = table.tasks();
            for partition in 0..table.partitions {
                let tp = TopicPartition { topic: Arc::clone(&topic), partition };
                let (here, followed) = (tasks.contains_key(&partition), self.standbys.contains_key(&tp));
                let elsewhere = || members.hosts(&name, partition).any(|(m, t)| m.alive && t.role == Role::Active);
                if here && !followed {
                    owned += 1;
                    continue;
                }
                orphans += usize::from(!elsewhere());
                let keep = self.neighbours.keeps(&members, &name, partition, followed);
                if keep != followed && (steady || (keep && opener.dir(partition).exists())) {
                    changes.push((tp, keep));
                }
            }
        }
        if steady
            && self.is_in_group()
            && self.neighbours.steps_back(&members, orphans, owned)
            && self.knows_everybody()
        {
            tracing::warn!(
                tasks = orphans,
                "nobody owns some tasks: leaving the group and joining it again, so that it gives them out"
            );
            self.membership.leave()?;
            self.returning = true;
        }
        for (tp, keep) in changes {
            if keep {
                self.follow(tp, None)?;
            } else if let Some(copy) = self.unfollow(&tp)? {
                self.close(&tp, copy)?;
            }
        }
        if returning && self.standbys.values().all(|view| has_arrived(view)) {
            self.health.set_cold(false);
        }
        Ok(())
    }

    /// Whether every member that the group names is an instance that answers here: only then nobody owns what none of them owns.
    /// Not for groups whose members the broker does not name; there the broker itself gives out what nobody has.
    fn knows_everybody(&self) -> bool {
        let (Some(table), GroupProtocol::Classic) = (self.tables.values().next(), self.settings.broker.protocol) else {
            return false;
        };
        let mut known = self.neighbours.cluster.alive();
        known.push(self.settings.instance.advertise.clone());
        match table.context.opener.broker.members(&self.settings.application, ASK_WITHIN) {
            Ok(named) => !named.is_empty() && named.iter().all(|url| known.contains(url)),
            Err(_) => false,
        }
    }

    /// Keeps a copy of a task from now on, of one that is open here in place.
    pub(super) fn follow(&mut self, tp: TopicPartition, from: Option<Open>) -> Result<()> {
        let previous = self.working.remove(&tp);
        let table = self.table(&tp)?;
        let opener = table.context.opener.clone();
        let view = match &from {
            Some(open) => open.view.successor(Role::Standby),
            None => TaskView::new(opener.table.def.name.as_str().into(), tp.partition, Role::Standby),
        };
        // What its owner here has finished is the newest that there is.
        let finished = *view.phase() == Phase::Releasing;
        view.set_phase(if finished { Phase::Running } else { Phase::Opening });
        opener.table.add_task(view.clone());
        let (orders, permits, token) = (table.follower.clone(), table.copy_permits.clone(), self.token.clone());
        let (name, ended) = (format!("open-standby-{}", opener.task_name(tp.partition)), table.context.ended.clone());
        let (shown, health) = (view.clone(), self.health.clone());
        let working = spawn(name, ended, move || {
            if let Some(previous) = previous {
                // An opening that was given up may still hold the store; its outcome was told.
                let _ = previous.join();
            }
            if let Some(open) = from {
                wait_released(&open.released, || health.is_stopping() && view.is_abandoned());
                view.set_store(open.view.store());
            }
            // One at a time: tasks that are owned come first. Whoever is taken away meanwhile waits no longer.
            while permits.0.send_timeout((), PERMIT_LOOK).is_err() {
                if view.is_abandoned() {
                    return Ok(());
                }
            }
            let standby = persist_standby(&opener, &view);
            let _ = permits.1.try_recv();
            // As for a task that is owned: it is handed over under the lock that giving it up takes.
            let _handing_over = token.lock();
            if let Some(standby) = standby.filter(|standby| standby.view.hand_over()) {
                // A follower that has ended tells why itself.
                let _ = orders.send(Follow::Add(Box::new(standby)));
            }
            Ok(())
        })?;
        self.working.insert(tp.clone(), working);
        self.standbys.insert(tp, shown);
        Ok(())
    }

    /// Follows a task no longer; it stays open.
    pub(super) fn unfollow(&mut self, tp: &TopicPartition) -> Result<Option<Open>> {
        let Some(view) = self.standbys.remove(tp) else { return Ok(None) };
        self.abandon(&view);
        let (done, released) = bounded(1);
        // A follower that has ended tells why itself.
        let _ = self.table(tp)?.follower.send(Follow::Release(tp.partition, done));
        Ok(Some(Open { view, released }))
    }
}

/// Whether a copy answers like any other, or will not without a person.
fn has_arrived(view: &TaskView) -> bool {
    matches!(*view.phase(), Phase::Running | Phase::Stopped(_))
}

/// Tasks by what they are here.
pub(super) type Standbys = BTreeMap<TopicPartition, Arc<TaskView>>;
