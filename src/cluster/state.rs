//! Decides which instances there are and which of them answer. Pure: no I/O, no clock.
//!
//! An instance is dead after some heartbeats in a row without an answer, and alive again with the next one. It is forgotten when
//! it is dead and nobody names it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Heartbeat, Member, Members};

/// A dead instance is asked at a tenth of the pace after so many missed heartbeats.
const GIVEN_UP: u32 = 100;
/// What the pace of a dead instance is divided by.
const SLOWER: u32 = 10;

/// What is known of an address.
#[derive(Clone, Debug, Default)]
struct Peer {
    said: Option<Arc<Heartbeat>>,
    missed: u32,
    trouble: Option<Arc<str>>,
    /// Why it is no member although it answers.
    foreign: Option<&'static str>,
}

/// What an answer turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is a member, as before.
    Same,
    /// It is a member, and was not before: it is new, came back, or started anew.
    Joined,
    /// It is this instance itself.
    Itself,
    /// It belongs to another application.
    Foreign,
    /// Another process has the name of this instance.
    SameName,
}

/// What is known of all addresses.
#[derive(Clone, Debug)]
pub struct State {
    application: String,
    instance: String,
    incarnation: String,
    own_url: String,
    /// Missed heartbeats after which an instance is dead.
    misses: u32,
    peers: BTreeMap<String, Peer>,
    /// Addresses that somebody asks again and again. One that is forgotten and named again in between goes on being asked by
    /// whoever does already.
    attended: BTreeSet<String>,
}

impl State {
    /// Nobody is known yet. `misses` heartbeats without an answer make an instance dead.
    pub fn new(application: &str, instance: &str, incarnation: &str, own_url: &str, misses: u32) -> Self {
        Self {
            application: application.to_owned(),
            instance: instance.to_owned(),
            incarnation: incarnation.to_owned(),
            own_url: own_url.to_owned(),
            misses: misses.max(1),
            peers: BTreeMap::new(),
            attended: BTreeSet::new(),
        }
    }

    /// Takes the addresses that configuration and group name now; returns those that somebody must
    /// begin to ask. Addresses that nobody names, the
    /// living instances included, and that do not answer, are forgotten.
    pub fn name(&mut self, named: &BTreeSet<String>) -> Vec<String> {
        let mut known: BTreeSet<String> = named.clone();
        for peer in self.peers.values().filter(|p| self.is_alive(p)) {
            known.extend(peer.said.iter().flat_map(|said| said.peers.iter().cloned()));
        }
        known.remove(&self.own_url);
        let misses = self.misses;
        self.peers.retain(|url, peer| known.contains(url) || (peer.missed < misses && peer.foreign.is_none()));
        let new: Vec<String> = known.into_iter().filter(|url| !self.peers.contains_key(url)).collect();
        self.peers.extend(new.iter().map(|url| (url.clone(), Peer::default())));
        new.into_iter().filter(|url| self.attended.insert(url.clone())).collect()
    }

    /// An address answered.
    pub fn heard(&mut self, url: &str, said: Heartbeat) -> Heard {
        let heard = self.judge(&said);
        let misses = self.misses;
        let Some(peer) = self.peers.get_mut(url) else { return heard };
        let before = peer.said.as_ref().filter(|_| peer.missed < misses && peer.foreign.is_none());
        let same = before.is_some_and(|before| before.incarnation == said.incarnation);
        peer.foreign = match heard {
            Heard::Itself => Some("it is this instance itself"),
            Heard::Foreign => Some("it belongs to another application"),
            Heard::SameName => Some("it has the name of this instance"),
            Heard::Same | Heard::Joined => None,
        };
        peer.said = Some(Arc::new(said));
        (peer.missed, peer.trouble) = (0, None);
        if heard == Heard::Joined && same { Heard::Same } else { heard }
    }

    fn judge(&self, said: &Heartbeat) -> Heard {
        if said.application != self.application {
            Heard::Foreign
        } else if said.instance == self.instance {
            if said.incarnation == self.incarnation { Heard::Itself } else { Heard::SameName }
        } else {
            Heard::Joined
        }
    }

    /// An address did not answer, for the time of so many heartbeats; whether it is dead with this one.
    pub fn missed(&mut self, url: &str, heartbeats: u32, why: &str) -> bool {
        let misses = self.misses;
        let Some(peer) = self.peers.get_mut(url) else { return false };
        let was_alive = peer.said.is_some() && peer.missed < misses;
        peer.missed = peer.missed.saturating_add(heartbeats.max(1));
        peer.trouble = Some(why.into());
        was_alive && peer.missed >= misses && peer.foreign.is_none()
    }

    /// How many intervals to wait before an address is asked again; `None`: it was forgotten, and whoever asked it must end.
    pub fn pace(&mut self, url: &str) -> Option<u32> {
        let Some(peer) = self.peers.get(url) else {
            self.attended.remove(url);
            return None;
        };
        Some(if peer.missed >= GIVEN_UP || peer.foreign.is_some() { SLOWER } else { 1 })
    }

    fn is_alive(&self, peer: &Peer) -> bool {
        peer.said.is_some() && peer.missed < self.misses && peer.foreign.is_none()
    }

    /// Whether every address that is known has answered, or failed to, at least once.
    pub fn all_asked(&self) -> bool {
        self.peers.values().all(|p| p.said.is_some() || p.missed > 0)
    }

    /// Addresses of the other instances that answer.
    pub fn alive(&self) -> Vec<String> {
        self.peers.iter().filter(|(_, p)| self.is_alive(p)).map(|(url, _)| url.clone()).collect()
    }

    /// The picture for everybody else. Of several addresses of one instance the first is taken that answers.
    pub fn members(&self) -> Members {
        let mut seen: BTreeMap<&str, Member> = BTreeMap::new();
        for (url, peer) in self.peers.iter().filter(|(_, p)| p.foreign.is_none()) {
            let Some(said) = &peer.said else { continue };
            let alive = self.is_alive(peer);
            if seen.get(said.instance.as_str()).is_some_and(|known| known.alive || !alive) {
                continue;
            }
            let member = Member {
                url: url.as_str().into(),
                alive,
                missed: peer.missed,
                trouble: peer.trouble.clone(),
                said: said.clone(),
            };
            seen.insert(&said.instance, member);
        }
        Members::new(seen.into_values().collect())
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
