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
        let generation = shared.ask(|reply| Request::Advance(group.clone(), reply))?;
        let token = GroupToken(Arc::new(LocalToken { group: group.clone(), generation }));
        *group.member.lock() = Some(member.advertise.clone());
        let events = VecDeque::from([MemberEvent::Assigned { partitions: partitions.clone(), token }]);
        let is_static = member.static_id.is_some();
        Ok(Self { shared, group, generation, partitions, is_static, events, lost: false })
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
        // Partitions are only ever lost here, never asked back.
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        if self.group.generation() == self.generation {
            *self.group.member.lock() = None;
        }
        if !self.is_static && self.group.generation() == self.generation {
            self.shared.ask(|reply| Request::Advance(self.group.clone(), reply))?;
        }
        Ok(())
    }
}
