use std::collections::BTreeMap;

use super::*;
use crate::config::MemoryPlan;
use crate::store::{SharedMemory, Store};
use crate::task::Role;

fn params(query: &str) -> Params {
    Params::from_uri(&format!("/x?{query}").parse().unwrap()).unwrap()
}

fn view() -> Arc<TaskView> {
    TaskView::new("products".into(), 3, Role::Active)
}

fn demand(offset: Offset) -> AtLeast {
    AtLeast { topic: "catalog".to_owned(), partition: 3, offset }
}

#[test]
fn at_least_is_read_from_commas_and_repetition() {
    let query = "at_least=a.b-c:0:7,d:12:0&at_least=e:1:9223372036854775807&timeout=2s&stale=allow";
    let freshness = Freshness::take(&mut params(query), Duration::from_secs(10)).unwrap();
    let event = |topic: &str, partition, offset| AtLeast { topic: topic.to_owned(), partition, offset };
    assert_eq!(freshness.at_least, [event("a.b-c", 0, 7), event("d", 12, 0), event("e", 1, i64::MAX)]);
    assert_eq!((freshness.timeout, freshness.allow_stale), (Duration::from_secs(2), true));
    let none = Freshness::take(&mut params(""), Duration::from_secs(10)).unwrap();
    assert_eq!((none.at_least.len(), none.timeout, none.allow_stale), (0, Duration::from_secs(1), false));
}

#[test]
fn a_malformed_at_least_is_refused() {
    for bad in ["x", "a:1", "a:b:1", "a:1:-1", ":1:1", "a:-1:1", "a:1:1,", "a:1:99999999999999999999", "a:1:1:"] {
        let problem = Freshness::take(&mut params(&format!("at_least={bad}")), Duration::from_secs(10)).unwrap_err();
        assert_eq!(problem.body().more["parameter"], "at_least", "{bad}");
    }
}

#[test]
fn the_wait_ends_before_the_request_does() {
    let longest = Duration::from_secs(10);
    let freshness = Freshness::take(&mut params("timeout=1h"), longest).unwrap();
    assert_eq!(freshness.timeout, Duration::from_millis(9750));
    let short = Freshness::take(&mut params(""), Duration::from_millis(500)).unwrap();
    assert_eq!(short.timeout, Duration::from_millis(450));
}

#[tokio::test]
async fn waiting_ends_when_the_event_is_covered_not_one_before() {
    let view = view();
    view.advance(|p| p.applied = BTreeMap::from([("catalog".into(), 41)]));
    let find = || Some(Arc::clone(&view));
    let after = |ms| Instant::now() + Duration::from_millis(ms);
    wait_for(&find, &demand(40), Stage::Applied, after(30_000), Duration::ZERO).await.unwrap();

    let late = wait_for(&find, &demand(41), Stage::Applied, after(20), Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(late.body().reason, Reason::FreshnessTimeout);
    assert_eq!((&late.body().more["reached"], &late.body().more["at_least"]), (&41.into(), &"catalog:3:41".into()));

    let waiting = demand(41);
    let waiter = wait_for(&find, &waiting, Stage::Applied, after(30_000), Duration::ZERO);
    // `join!` polls in order: the waiter waits already when this runs.
    let mover = async {
        view.advance(|p| p.applied = BTreeMap::from([("catalog".into(), 42)]));
    };
    let (outcome, ()) = tokio::join!(waiter, mover);
    outcome.unwrap();
}

#[tokio::test]
async fn visible_and_applied_are_waited_for_apart() {
    let view = view();
    view.advance(|p| p.applied = BTreeMap::from([("catalog".into(), 10)]));
    let find = || Some(Arc::clone(&view));
    let deadline = Instant::now() + Duration::from_millis(20);
    let late = wait_for(&find, &demand(9), Stage::Visible, deadline, Duration::from_millis(20)).await.unwrap_err();
    assert!(late.body().detail.contains("visible to search"), "{}", late.body().detail);
}

#[tokio::test]
async fn a_task_that_moves_while_waited_for_is_found_again() {
    let (before, after) = (view(), view());
    after.advance(|p| p.applied = BTreeMap::from([("catalog".into(), 5)]));
    let current = arc_swap::ArcSwap::new(before);
    let find = || Some(current.load_full());
    let waiting = demand(4);
    let waiter = wait_for(&find, &waiting, Stage::Applied, Instant::now() + Duration::from_secs(30), Duration::ZERO);
    let swap = async {
        current.store(after);
    };
    let (outcome, ()) = tokio::join!(waiter, swap);
    outcome.unwrap();
    let gone = wait_for(&|| None, &demand(4), Stage::Applied, Instant::now(), Duration::ZERO).await.unwrap_err();
    assert_eq!(gone.body().reason, Reason::NoOwner);
}

#[test]
fn a_task_that_is_not_running_is_refused_with_its_progress() {
    let view = view();
    view.set_phase(Phase::Restoring { at: 250, end: 1000, rate: 100.0 });
    let problem = admit_phase(&view, Stage::Applied, false).unwrap_err();
    let body = problem.body();
    assert_eq!((body.reason, body.retry_after_s), (Reason::Restoring, Some(8)));
    assert_eq!((body.more["percent"].as_f64(), body.more["eta_s"].as_f64()), (Some(25.0), Some(7.5)));

    view.set_phase(Phase::Stopped("the disk is full".to_owned()));
    let stopped = admit_phase(&view, Stage::Applied, false).unwrap_err();
    assert_eq!(stopped.body().reason, Reason::Stopped);
    assert!(stopped.body().detail.contains("the disk is full"));

    view.set_phase(Phase::Running);
    admit_phase(&view, Stage::Applied, false).unwrap();
}

#[test]
fn stale_reads_are_still_refused_where_there_is_no_store() {
    let view = view();
    assert_eq!(admit_phase(&view, Stage::Applied, true).unwrap_err().body().reason, Reason::Restoring);
}

#[test]
fn reads_by_key_need_no_index_and_stale_ones_no_end_of_the_changelog() {
    let dir = tempfile::tempdir().unwrap();
    let memory = SharedMemory::new(&MemoryPlan::share(256 << 20, 1, 1), 1).unwrap();
    let view = view();
    view.set_store(Some(Arc::new(Store::open(dir.path(), &memory).unwrap())));
    let admitted = |stage, stale| admit_phase(&view, stage, stale).is_ok();
    view.set_phase(Phase::Indexing { done: 1 });
    assert_eq!((admitted(Stage::Applied, false), admitted(Stage::Visible, false)), (true, false));
    assert!(admitted(Stage::Visible, true));
    view.set_phase(Phase::Restoring { at: 1, end: 2, rate: 1.0 });
    assert_eq!((admitted(Stage::Applied, false), admitted(Stage::Applied, true)), (false, true));
}

#[test]
fn a_restore_of_an_empty_changelog_is_done() {
    let state = RestoreState::of(&Phase::Restoring { at: 0, end: 0, rate: 0.0 });
    assert_eq!(state, RestoreState { percent: Some(100.0), eta_s: None });
}

#[tokio::test]
async fn lag_is_judged_by_the_age_of_what_was_applied() {
    let view = view();
    let old = crate::clock::now_ms() - 60_000;
    view.advance(|p| p.last_event_ms = old);
    admit_lag(&view, Duration::from_secs(10)).await.unwrap();

    view.set_lag(BTreeMap::from([("catalog".into(), 5), ("prices".into(), 2)]));
    let stale = admit_lag(&view, Duration::from_secs(10)).await.unwrap_err();
    assert_eq!((stale.body().reason, stale.body().more["lag"].as_i64()), (Reason::TooStale, Some(7)));
    admit_lag(&view, Duration::from_secs(120)).await.unwrap();
}

#[tokio::test]
async fn an_event_after_a_pause_does_not_make_a_task_stale() {
    let view = view();
    view.advance(|p| p.last_event_ms = crate::clock::now_ms() - 3_600_000);
    view.set_lag(BTreeMap::from([("catalog".into(), 1)]));
    let applied = async {
        view.advance(|p| p.last_event_ms = crate::clock::now_ms());
    };
    let (outcome, ()) = tokio::join!(admit_lag(&view, Duration::from_secs(10)), applied);
    outcome.unwrap();
}

#[test]
fn another_instance_waits_no_longer_than_a_client_may() {
    let freshness = Freshness { at_least: vec![demand(1)], timeout: Duration::MAX, allow_stale: false };
    assert_eq!(freshness.clone().within(Duration::from_secs(10)).unwrap().timeout, Duration::from_secs(10));
    let many = Freshness { at_least: vec![demand(1); 257], ..freshness };
    assert_eq!(many.within(Duration::from_secs(10)).unwrap_err().body().more["parameter"], "at_least");
}
