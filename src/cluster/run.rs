//! The edge of [`super::state`]: asks the group for addresses and every address for heartbeats, and publishes the picture.
//!
//! Runs on the runtime of the HTTP server. A task for each address, so that one that hangs delays no other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::state::{Heard, State};
use super::{Client, Heartbeat, Members};
use crate::broker::Broker;
use crate::config::Settings;
use crate::metrics::{Metrics, PeerLabel};

/// Path that answers heartbeats.
pub const HEARTBEAT: &str = "/v1/peer/heartbeat";
/// How often the group is asked for its members.
const DISCOVERY: Duration = Duration::from_secs(2);
/// Addresses that heartbeats named are taken up so often.
const TAKE_UP: Duration = Duration::from_millis(250);
/// Largest answer that is taken from another instance, bytes.
const LARGEST: usize = 256 << 20;

/// Who this instance is to others.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Application.
    pub application: String,
    /// Name of the instance.
    pub instance: String,
    /// Different at every start.
    pub incarnation: String,
    /// Its address.
    pub url: String,
}

/// This instance's knowledge of the others. Shared by everything that routes.
#[derive(Debug)]
pub struct Cluster {
    identity: Identity,
    members: ArcSwap<Members>,
    state: Mutex<State>,
    client: Client,
    every: Duration,
    misses: u32,
    /// Addresses from the configuration.
    peers: BTreeSet<String>,
    /// The group was asked for its members, with whatever success.
    group_asked: AtomicBool,
    /// What it told then is taken up.
    looked: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Cluster {
    /// Knows nobody until [`Cluster::start`].
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        let identity = Identity {
            application: settings.application.clone(),
            instance: settings.instance.id.clone(),
            incarnation: format!("{:x}-{:x}", crate::clock::now_ms(), std::process::id()),
            url: settings.instance.advertise.clone(),
        };
        let Identity { application, instance, incarnation, url } = &identity;
        let (every, misses) = (settings.cluster.heartbeat_interval, settings.cluster.misses);
        Arc::new(Self {
            state: Mutex::new(State::new(application, instance, incarnation, url, misses)),
            members: ArcSwap::default(),
            client: Client::new(LARGEST),
            peers: settings.cluster.peers.iter().cloned().collect(),
            every,
            misses,
            group_asked: AtomicBool::new(false),
            looked: AtomicBool::new(false),
            metrics,
            identity,
        })
    }

    /// Who this instance is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The other instances, as of now. Takes no lock.
    pub fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// The client for requests to other instances.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Addresses of the other instances that answer.
    pub fn alive(&self) -> Vec<String> {
        self.members.load().others().iter().filter(|m| m.alive).map(|m| m.url.to_string()).collect()
    }

    /// Whether the others have been looked for: the group was asked for them once, and each of them for a heartbeat.
    pub fn has_looked(&self) -> bool {
        self.looked.load(Ordering::Acquire) && self.state.lock().all_asked()
    }

    /// Begins to look for others, on this runtime, until it ends.
    pub fn start(self: &Arc<Self>, broker: Arc<dyn Broker>, runtime: &tokio::runtime::Handle) {
        let named = Arc::new(Mutex::new(BTreeSet::new()));
        runtime.spawn(Arc::clone(self).discover(broker, Arc::clone(&named)));
        runtime.spawn(Arc::clone(self).take_up(named));
    }

    /// Asks the group for its members again and again. While the broker does not answer, the last answer holds.
    async fn discover(self: Arc<Self>, broker: Arc<dyn Broker>, named: Arc<Mutex<BTreeSet<String>>>) {
        let mut ticks = interval(DISCOVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut troubled = false;
        loop {
            ticks.tick().await;
            let (broker, group) = (Arc::clone(&broker), self.identity.application.clone());
            // Blocking, like every call of the broker.
            match tokio::task::spawn_blocking(move || broker.members(&group, DISCOVERY)).await {
                Ok(Ok(members)) => {
                    troubled = false;
                    *named.lock() = members.into_iter().filter(|m| m.contains("://")).collect();
                }
                Ok(Err(e)) if !std::mem::replace(&mut troubled, true) => {
                    tracing::info!(error = %e, "the group does not tell its members now; those known stay");
                }
                Ok(Err(_)) => {}
                // The runtime ends.
                Err(_) => return,
            }
            self.group_asked.store(true, Ordering::Release);
        }
    }

    /// Begins to ask the addresses that are new.
    async fn take_up(self: Arc<Self>, named: Arc<Mutex<BTreeSet<String>>>) {
        let mut ticks = interval(TAKE_UP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = self.group_asked.load(Ordering::Acquire);
            let all: BTreeSet<String> = named.lock().iter().chain(&self.peers).cloned().collect();
            let new = self.state.lock().name(&all);
            self.publish();
            self.looked.fetch_or(asked, Ordering::AcqRel);
            for url in new {
                tokio::spawn(Arc::clone(&self).attend(url));
            }
        }
    }

    /// Asks one address for as long as it is known.
    async fn attend(self: Arc<Self>, url: String) {
        loop {
            let (asked, pace) = (Instant::now(), self.state.lock().pace(&url));
            let Some(pace) = pace else { return };
            let answer = self.client.get(&url, HEARTBEAT, self.every * self.misses).await;
            let said = answer.and_then(|answer| {
                let wrong = |e: String| format!("{url}: no heartbeat: {e}");
                if !answer.status.is_success() {
                    return Err(wrong(format!("status {}", answer.status)));
                }
                serde_json::from_slice::<Heartbeat>(&answer.body).map_err(|e| wrong(e.to_string()))
            });
            match said {
                Ok(said) => self.heard(&url, said),
                Err(why) => {
                    let spans = asked.elapsed().as_millis() / self.every.as_millis().max(1);
                    self.missed(&url, u32::try_from(spans).unwrap_or(u32::MAX), &why);
                }
            }
            self.publish();
            sleep_until(asked + self.every * pace).await;
        }
    }

    fn heard(&self, url: &str, said: Heartbeat) {
        let name = said.instance.clone();
        match self.state.lock().heard(url, said) {
            Heard::Same | Heard::Itself => {}
            Heard::Joined => tracing::info!(url, instance = name, "another instance answers"),
            Heard::Foreign => tracing::debug!(url, "an instance of another application is passed over"),
            Heard::SameName => tracing::warn!(
                url,
                instance = name,
                "another process has the name of this instance: give each its own instance.id"
            ),
        }
    }

    fn missed(&self, url: &str, heartbeats: u32, why: &str) {
        let label = PeerLabel { peer: url.to_owned() };
        self.metrics.cluster.heartbeats_missed.get_or_create(&label).inc_by(heartbeats.max(1).into());
        if self.state.lock().missed(url, heartbeats, why) {
            tracing::warn!(url, why, "an instance does not answer any more");
        }
    }

    fn publish(&self) {
        // Under the lock, so that no older picture takes the place of a newer one.
        let state = self.state.lock();
        self.members.store(Arc::new(state.members()));
    }
}
