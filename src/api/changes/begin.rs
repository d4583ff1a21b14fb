//! Where a stream begins, and what it must know then.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::Asked;
use crate::api::context::{Context, Payload};
use crate::api::peer;
use crate::api::problem::Problem;
use crate::api::records::partitions_of;
use crate::api::search::{Waiting, elsewhere};
use crate::broker::{Offset, Watermarks};
use crate::changes::{Membership, Named, Position};
use crate::query::route::{Host, Need, best, candidates};
use crate::query::standing::{Matching, Standing, matching};
use crate::query::{SearchRequest, Table};

/// Path for what matches in partitions of another instance.
pub(crate) const MATCHING: &str = "/v1/peer/matching";
/// The broker forgets after a day that a key was deleted (`delete.retention.ms`): who has been away for longer could miss it.
const FORGOTTEN_AFTER_MS: i64 = 23 * 3_600_000;

/// A stream that can begin.
pub(super) struct Begun {
    pub(super) asked: Asked,
    pub(super) standing: Option<Arc<Standing>>,
    pub(super) membership: Option<Membership>,
    pub(super) at: Position,
    /// Why the changelog does not reach back to where it was to begin.
    pub(super) gap: Option<String>,
}

/// Finds out where everything stands. What is known of the records is not newer than the position from which changes are sent.
pub(super) async fn begin(ctx: &Context, table: &Arc<Table>, asked: Asked) -> Result<Begun, Problem> {
    let partitions = match &asked.keys {
        Some(keys) => partitions_of(table, &keys.iter().cloned().collect::<Vec<_>>()),
        None => (0..table.partitions).collect(),
    };
    let mut standing = None;
    let mut known = None;
    if asked.is_query() {
        standing = Some(Arc::new(read_query(ctx, table, &asked).await?));
        // Who begins with everything has seen nothing yet.
        if asked.from != Some(Named::Beginning) {
            known = Some(matching_anywhere(ctx, table, &asked, &partitions).await?);
        }
    }
    // After the search: it shows nothing that is not committed by now.
    let tail = ctx.tail(table)?;
    let of = partitions.clone();
    let marks = ctx.starting.run(move || Ok(tail.watermarks(of.into_iter())?)).await?;
    let now = |p: u32, m: &Watermarks| {
        let shown = match &known {
            Some(known) => known.at.get(&p).copied(),
            None => best(candidates(table, &ctx.state.cluster.members(), p, Need::Store)).map(|c| c.changelog),
        };
        shown.unwrap_or(m.stable).clamp(m.low, m.stable.max(m.low))
    };
    let next: BTreeMap<u32, Offset> = marks
        .iter()
        .map(|(p, m)| match &asked.from {
            Some(Named::Beginning) => (*p, m.low),
            Some(Named::At(position)) => (*p, position.next.get(p).copied().unwrap_or_else(|| now(*p, m))),
            None => (*p, now(*p, m)),
        })
        .collect();
    let as_of_ms = match &asked.from {
        // What is read from the beginning is as of now, too: a deletion that comes later may be forgotten a day later.
        None | Some(Named::Beginning) => Some(crate::clock::now_ms()),
        Some(Named::At(position)) => position.as_of_ms,
    };
    let mut at = Position::new(next, as_of_ms);
    let gap = gap(&at, &marks);
    if let Some(known) = &known {
        // The search may be behind a position that was seen: of what changed in between it knows nothing.
        let known = marks.iter().filter_map(|(p, m)| Some((*p, (*known.at.get(p)?).max(m.low))));
        at = at.read_from(&known.collect());
    }
    let membership = match &standing {
        Some(_) => {
            let resumed = |p: &u32| matches!(&asked.from, Some(Named::At(from)) if from.next.contains_key(p));
            // The search may show what was committed after that, or before the watermark was told.
            let shown = |p: &u32| known.as_ref().and_then(|known| known.at.get(p).copied()).unwrap_or(0);
            let unsure = marks.iter().filter(|(p, _)| resumed(p)).map(|(p, m)| (*p, m.stable.max(shown(p)))).collect();
            Some(Membership::new(Arc::clone(&ctx.room), known.unwrap_or_default(), unsure)?)
        }
        None => None,
    };
    Ok(Begun { asked, standing, membership, at, gap })
}

/// Why the changelog does not have everything behind a position.
fn gap(at: &Position, marks: &BTreeMap<u32, Watermarks>) -> Option<String> {
    if let Some(ms) = at.as_of_ms.filter(|ms| crate::clock::now_ms().saturating_sub(*ms) > FORGOTTEN_AFTER_MS) {
        let hours = crate::clock::now_ms().saturating_sub(ms) / 3_600_000;
        return Some(format!("the position is {hours} hours old, and deletions are told for a day only"));
    }
    let outside = |(p, next): (&u32, &Offset)| {
        let m = marks.get(p)?;
        let lost = *next < m.low || *next > m.high;
        lost.then(|| {
            format!("offset {next} of partition {p} is not in the changelog, which has {} to {}", m.low, m.high)
        })
    };
    at.next.iter().find_map(outside)
}

async fn read_query(ctx: &Context, table: &Arc<Table>, asked: &Asked) -> Result<Standing, Problem> {
    let (table, q, filter) = (Arc::clone(table), asked.q.clone(), asked.filter.clone());
    ctx.searches.run(move || Ok(Standing::new(&table.index.view(), q.as_deref(), &filter)?)).await
}

/// What another instance is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MatchingLeaf {
    table: String,
    request: SearchRequest,
    most: usize,
}

/// What matches in partitions, for another instance.
pub(crate) async fn matching_of_peer(
    State(ctx): State<Context>,
    Payload(body): Payload,
) -> Result<Json<Matching>, Problem> {
    let MatchingLeaf { table, request, most } = peer::read(&body)?;
    let table = ctx.table(&table)?;
    matching_here(&ctx, &table, request, most).await.map(Json)
}

async fn matching_here(
    ctx: &Context,
    table: &Arc<Table>,
    request: SearchRequest,
    most: usize,
) -> Result<Matching, Problem> {
    let asked = request.partitions.clone().unwrap_or_default();
    // Whoever stops waiting drops this future: at a time limit, or when the connection is gone.
    let _waiting = Waiting(request.stop.clone());
    let searched = Arc::clone(table);
    let found = ctx.searches.run(move || Ok(matching(&searched, &request, most)?)).await?;
    let missing: Vec<u32> = asked.into_iter().filter(|p| !found.at.contains_key(p)).collect();
    if missing.is_empty() { Ok(found) } else { Err(elsewhere(&missing)) }
}

/// The records of these partitions that match now, wherever they are.
async fn matching_anywhere(
    ctx: &Context,
    table: &Arc<Table>,
    asked: &Asked,
    partitions: &[u32],
) -> Result<Matching, Problem> {
    let most = ctx.room.left();
    let request = |partitions: &[u32]| SearchRequest {
        q: asked.q.clone(),
        filter: asked.filter.clone(),
        partitions: Some(partitions.iter().copied().collect()),
        ..SearchRequest::default()
    };
    if ctx.state.cluster.members().is_alone() {
        return matching_here(ctx, table, request(partitions), most).await;
    }
    let patience = ctx.state.settings.api.timeout / 2;
    let ask = |host: Host, partitions: Vec<u32>| {
        let leaf = MatchingLeaf { table: table.def.name.clone(), request: request(&partitions), most };
        let (ctx, table) = (ctx.clone(), Arc::clone(table));
        async move {
            match host {
                Host::Here => matching_here(&ctx, &table, leaf.request, most).await,
                Host::There(url) => peer::ask(&ctx, &url, MATCHING, &leaf, patience).await,
            }
        }
    };
    let answered = peer::send(ctx, table, partitions, Need::Index, MATCHING, ask).await?;
    if !answered.failed.is_empty() {
        return Err(peer::no_answer(&answered.failed));
    }
    let mut all = Matching::default();
    for part in answered.answers {
        all.keys.extend(part.answer.keys);
        all.at.extend(part.answer.at);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use crate::api::{ApiState, testing};

    #[test]
    fn a_position_that_the_changelog_does_not_reach_is_a_gap() {
        let marks = BTreeMap::from([(0, Watermarks { low: 5, high: 9, stable: 8 })]);
        let at = |offset, as_of_ms| Position::new(BTreeMap::from([(0, offset)]), as_of_ms);
        let now = crate::clock::now_ms();
        assert_eq!(gap(&at(5, None), &marks), None);
        assert_eq!(gap(&at(9, Some(now)), &marks), None);
        assert!(gap(&at(4, None), &marks).unwrap().contains("offset 4 of partition 0"));
        assert!(gap(&at(10, None), &marks).is_some());
        assert!(gap(&at(6, Some(now - 25 * 3_600_000)), &marks).unwrap().contains("25 hours"));
    }

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "what waits for it are threads of the pools")]
    async fn streams_that_begin_while_the_broker_is_away_take_no_place_of_reads_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Arc::<testing::NoBroker>::default();
        let table = testing::table(dir.path());
        let tables = Arc::new(BTreeMap::from([(table.def.name.clone(), Arc::clone(&table))]));
        let state = ApiState { broker: broker.clone(), tables, ..testing::state(testing::settings()) };
        let ctx = Context::new(state, serde_json::Value::Null);
        let held = broker.0.lock();
        let asked = || Asked {
            q: None,
            filter: vec![],
            keys: None,
            fields: None,
            from: None,
            heartbeat: Duration::from_secs(1),
        };
        // Polled once, each waits for the broker or for a place to ask it.
        let mut beginning: Vec<_> = (0..64).map(|_| Box::pin(begin(&ctx, &table, asked()))).collect();
        let waiting = beginning.iter_mut().filter_map(|begin| begin.as_mut().now_or_never().is_none().then_some(()));
        let waiting = waiting.count();
        assert!(waiting > 2, "{waiting} wait");
        assert_eq!(ctx.lookups.run(|| Ok(1)).await.unwrap(), 1);
        drop(held);
        let problem = beginning.swap_remove(0).await.err().unwrap();
        assert!(problem.detail().contains("there is no broker in this test"), "{}", problem.detail());
    }
}
