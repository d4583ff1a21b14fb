//! A copy of somebody else's task: brought up to the changelog, then kept there, in store *and* index, so that whoever takes the
//! task over here reads only the tail.
//!
//! It reads what is committed, and writes nothing but its own files: no transaction, nobody fenced. `INV-STORE-1` and
//! `INV-INDEX-1` hold for it as for an owner: records go to the store first, and to the index from there.

use std::sync::Arc;
use std::time::Duration;

use super::open::{Opener, source_positions};
use super::plan::{self, RestorePlan};
use super::records;
use super::restore::{self, IndexFeed};
use super::view::{Phase, TaskView};
use crate::broker::{Message, Offset};
use crate::fault;
use crate::index::{Behind, IndexBatch, IndexChange};
use crate::record::POSITION_KEY;
use crate::store::{Position, Settled, Store, StoreBatch};
use crate::{Error, Result};

/// So long at most a copy that catches up shows nothing new to searches.
const PAUSE: Duration = Duration::from_secs(5);

/// A copy that is open and caught up with what was committed when it was.
#[derive(Clone, Debug)]
pub struct Standby {
    /// What readers see of it.
    pub view: Arc<TaskView>,
    /// Its store.
    pub store: Arc<Store>,
    /// Changelog position of the store.
    pub next: Offset,
    /// How far the entries of its family `expiry` are settled.
    settled: Settled,
}

impl Opener {
    /// Opens a copy of a task, or takes up the store that `view` has open, and reads what is committed of its changelog.
    pub fn open_standby(&self, view: &Arc<TaskView>) -> Result<Standby> {
        self.standby(view).map_err(|e| e.within(format_args!("standby {}", self.task_name(view.partition))))
    }

    fn standby(&self, view: &Arc<TaskView>) -> Result<Standby> {
        let store = match view.store() {
            Some(store) => store,
            None => self.open_store(view)?,
        };
        let (name, changelog) = (self.task_name(view.partition), self.changelog(view.partition));
        let log = self.broker.watermarks(&changelog.tp)?;
        let plan = plan::restore(&name, store.changelog()?, log)?;
        let committed = RestorePlan { to: plan.to.min(log.stable), ..plan };
        let restored = restore::restore(&changelog, committed, &store, view, &mut |_| {})?;
        self.keep_definition(&store)?;
        let position = store.position()?.unwrap_or_default();
        self.publish(view, &store, &position)?;
        let sources = source_positions(&self.table.def, &position);
        let next = store.changelog()?;
        let feed =
            IndexFeed { index: &self.table.index, store: &store, partition: view.partition, changelog: next, sources };
        let repaired = feed.repair(&changelog, self.table.index.covered(view.partition), log.low, view)?;
        view.advance(|p| {
            p.visible.clone_from(&p.applied);
            p.indexed = next;
        });
        tracing::info!(task = name, restored, reindexed = repaired.keys, "standby is open");
        Ok(Standby { view: view.clone(), store, next, settled: Settled::default() })
    }

    /// Applies what was read of the changelog to a copy.
    pub fn apply_to_standby(&self, standby: &mut Standby, read: Read, catching_up: bool) -> Result<()> {
        let Read { records, position, next } = read;
        let position = position.as_deref().map(Position::decode).transpose()?;
        let batch = records.iter().map(|(k, v)| (&**k, v.as_deref())).collect();
        let batch = StoreBatch { records: batch, position: position.as_ref(), changelog: next };
        standby.store.follow(&batch, &mut standby.settled)?;
        fault::point("standby.1_applied");
        standby.next = next;
        let sources = position.as_ref().map(|p| source_positions(&self.table.def, p)).unwrap_or_default();
        match &position {
            Some(position) => self.publish(&standby.view, &standby.store, position)?,
            None => standby.view.advance(|p| p.changelog = next),
        }
        let change = |(key, stored)| IndexChange { key, stored, existed: true };
        self.table.index.submit(IndexBatch {
            partition: standby.view.partition,
            changelog: next,
            sources,
            changes: records.into_iter().map(change).collect(),
            oldest_ms: None,
            behind: catching_up.then_some(Behind { unread: 0, left: PAUSE }),
            records: Some(records::of_store(&standby.store)),
        })?;
        fault::point("standby.2_index_handed");
        Ok(())
    }
}

/// What one poll brought of one changelog.
#[derive(Debug, Default)]
pub struct Read {
    records: Vec<(Arc<[u8]>, Option<Arc<[u8]>>)>,
    position: Option<Vec<u8>>,
    next: Offset,
}

impl Read {
    /// Takes a record in.
    pub fn take(&mut self, m: &Message<'_>) {
        self.next = m.offset + 1;
        match (m.key, m.payload) {
            (Some(POSITION_KEY), Some(position)) => self.position = Some(position.to_vec()),
            (Some(key), stored) => self.records.push((key.into(), stored.map(Arc::from))),
            (None, _) => {}
        }
    }
}

/// A copy that cannot go on says why, and stays as it is until a person has looked.
pub fn stop(view: &TaskView, e: &Error) {
    tracing::error!(task = format!("{}/{}", view.table, view.partition), error = %e, "a standby has stopped");
    view.set_phase(Phase::Stopped(e.to_string()));
}
