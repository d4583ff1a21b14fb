//! Membership of a group on the local broker: whoever joined last has every partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::Request;
use super::shared::{Group, Shared};
use crate::broker::{GroupToken, MemberConfig, MemberEvent, Membership, TopicPartition};
use crate::{Error, Result};

/// What a [`GroupToken`] of this broker holds.
pub(super) struct LocalToken {
    pub(super) group: Arc<Group>,
    pub(super) generation: u64,
}

/// The one member of a group. A later join of the same group takes everything away from it.
pub(super) struct LocalMember {
    shared: Arc<Shared>,
    group: Arc<Group>,
    generation: u64,
    partitions: Vec<TopicPartition>,
    is_static: bool,
    events: VecDeque<MemberEvent>,
    lost: bool,
    topics: Vec<TopicPartition>,
    advertise: String,
}

impl LocalMember {
    /// Joins; when it returns, nothing that an earlier member commits can succeed.
    pub(super) fn join(shared: Arc<Shared>, member: &MemberConfig) -> Result<Self> {
        if member.group.is_empty() {
            return Err(Error::bad_request("a consumer group needs a name"));
        }
        let mut partitions = Vec::new();
        for name in &member.topics {
            partitions.extend(shared.topics.topic(name)?.partitions.iter().map(|p| p.tp()));
        }
        let group = shared.group(&member.group);
        let is_static = member.static_id.is_some();
        let mut joined = Self {
            shared,
            group,
            generation: 0,
            partitions: Vec::new(),
            is_static,
            events: VecDeque::new(),
            lost: true,
            topics: partitions,
            advertise: member.advertise.clone(),
        };
        joined.take_all()?;
        Ok(joined)
    }

    /// Moves the group on; who had something in it has lost it.
    fn advance(&self) -> Result<u64> {
        self.shared.ask(|reply| Request::Advance(self.group.clone(), reply))
    }

    fn take_all(&mut self) -> Result<()> {
        self.generation = self.advance()?;
        self.lost = false;
        *self.group.member.lock() = Some(self.advertise.clone());
        self.partitions.clone_from(&self.topics);
        let token = GroupToken(Arc::new(LocalToken { group: self.group.clone(), generation: self.generation }));
        self.events.push_back(MemberEvent::Assigned { partitions: self.partitions.clone(), token: token.clone() });
        self.events.push_back(MemberEvent::Renewed { token });
        Ok(())
    }
}

impl Membership for LocalMember {
    fn poll(&mut self, timeout: Duration) -> Result<Option<MemberEvent>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let seen = self.group.moved.count();
            if !self.lost && self.group.generation() != self.generation {
                self.lost = true;
                let partitions = std::mem::take(&mut self.partitions);
                return Ok(Some(MemberEvent::Revoked { partitions, lost: true }));
            }
            if !self.group.moved.wait(seen, deadline) {
                return Ok(None);
            }
        }
    }

    fn release(&mut self, _partitions: &[TopicPartition]) -> Result<()> {
        // Nobody waits for it: another member takes what it wants.
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        if !self.lost {
            self.lost = true;
            let partitions = std::mem::take(&mut self.partitions);
            self.events.push_back(MemberEvent::Revoked { partitions, lost: false });
        }
        self.events.push_back(MemberEvent::Left);
        Ok(())
    }

    fn rejoin(&mut self) -> Result<()> {
        self.take_all()
    }

    fn close(self: Box<Self>) -> Result<()> {
        if self.group.generation() == self.generation {
            *self.group.member.lock() = None;
        }
        if !self.is_static && self.group.generation() == self.generation {
            self.advance()?;
        }
        Ok(())
    }
}
