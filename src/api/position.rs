//! What an answer says about itself: who gave it, in which role, and which events it covers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::freshness::lag_ms;
use crate::broker::Offset;
use crate::task::{Phase, Role, TaskView};

/// Positions by partition, then topic. Each is `topic:partition:offset` of the last event that is covered, so that it can be
/// passed as `at_least`; topics of which nothing is covered yet are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
// The members of a JSON object have texts for names, whatever they stand for.
#[schema(value_type = BTreeMap<String, BTreeMap<String, String>>)]
#[schema(example = json!({"0": {"catalog": "catalog:0:4711", "prices": "prices:0:815"}}))]
pub(crate) struct Positions(pub(crate) BTreeMap<u32, BTreeMap<String, String>>);

impl Positions {
    /// Adds a partition, given the offsets of the next events by topic.
    pub(crate) fn add(&mut self, partition: u32, sources: &BTreeMap<Arc<str>, Offset>) {
        self.0.insert(partition, last_events(partition, sources));
    }
}

/// The last event covered by each topic, as `at_least` takes it.
pub(crate) fn last_events(partition: u32, sources: &BTreeMap<Arc<str>, Offset>) -> BTreeMap<String, String> {
    let covered = sources.iter().filter(|(_, next)| **next > 0);
    covered.map(|(topic, next)| (topic.to_string(), format!("{topic}:{partition}:{}", next - 1))).collect()
}

/// What every answer to a read carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Coverage {
    /// Instance that answered; where several did, the one that was asked.
    #[schema(example = "keld-0")]
    pub(crate) served_by: String,
    /// `active`, `standby`, or `mixed` where several partitions answered in different roles.
    #[schema(example = "active", value_type = String)]
    pub(crate) role: Cow<'static, str>,
    /// Whether every partition that answered was at work, its changelog read to the end. `false` with `stale=allow`, or
    /// while a task changes hands: then the answer may be older than one that was given before, and `lag` does not know by how much.
    #[serde(default)]
    pub(crate) caught_up: bool,
    /// What the answer covers at least: for reads by key what is applied, for searches what is visible.
    pub(crate) position: Positions,
    /// Unread events of the partitions that answered.
    pub(crate) lag: i64,
    /// How old what was applied last is while unread events wait, milliseconds; 0 if none wait. The largest of the partitions.
    pub(crate) lag_ms: i64,
}

impl Coverage {
    /// Coverage by the applied positions of some tasks, read now. Read it *before* the data: then the data covers it.
    pub(crate) fn applied(instance: &str, views: &[Arc<TaskView>]) -> Self {
        let mut coverage = Self::of(instance, views);
        for view in views {
            view.look(|p| coverage.position.add(view.partition, &p.applied));
        }
        // By key only the store is asked, which is complete before the index is.
        let complete = |view: &Arc<TaskView>| {
            matches!(*view.phase(), Phase::Running | Phase::Indexing { .. }) && !view.changes_hands()
        };
        coverage.caught_up = views.iter().all(complete);
        coverage
    }

    /// Of an answer that several instances gave together; `instance` put it together.
    pub(crate) fn together(instance: &str, parts: Vec<Self>) -> Self {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { return Self::of(instance, &[]) };
        for part in parts {
            if part.served_by != all.served_by {
                instance.clone_into(&mut all.served_by);
            }
            if part.role != all.role {
                all.role = MIXED.into();
            }
            all.caught_up &= part.caught_up;
            all.position.0.extend(part.position.0);
            all.lag += part.lag;
            all.lag_ms = all.lag_ms.max(part.lag_ms);
        }
        all
    }

    /// All but the positions.
    pub(crate) fn of(instance: &str, views: &[Arc<TaskView>]) -> Self {
        let now = crate::clock::now_ms();
        Self {
            served_by: instance.to_owned(),
            role: role_of(views).into(),
            caught_up: views.iter().all(|v| *v.phase() == Phase::Running && !v.changes_hands()),
            position: Positions::default(),
            lag: views.iter().map(|v| v.unread()).sum(),
            lag_ms: views.iter().map(|v| lag_ms(v, now)).max().unwrap_or(0),
        }
    }
}

/// Several tasks in different roles.
const MIXED: &str = "mixed";

/// A role as one word.
pub(crate) const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Active => "active",
        Role::Standby => "standby",
    }
}

fn role_of(views: &[Arc<TaskView>]) -> &'static str {
    let standby = views.iter().filter(|v| v.answers_as() == Role::Standby).count();
    match standby {
        0 => role_word(Role::Active),
        n if n == views.len() => role_word(Role::Standby),
        _ => MIXED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_name_the_last_event_that_is_covered() {
        let view = TaskView::new("t".into(), 2, Role::Active);
        view.advance(|p| p.applied = BTreeMap::from([("a".into(), 42), ("b".into(), 0), ("c".into(), 1)]));
        view.set_lag(BTreeMap::from([("a".into(), 3), ("b".into(), 4)]));
        let coverage = Coverage::applied("keld-7", &[view]);
        let json = serde_json::to_value(&coverage).unwrap();
        assert_eq!(json["position"], serde_json::json!({"2": {"a": "a:2:41", "c": "c:2:0"}}));
        assert_eq!((&json["served_by"], &json["role"], &json["lag"]), (&"keld-7".into(), &"active".into(), &7.into()));
    }

    #[test]
    fn coverages_of_several_instances_add_up() {
        let part = |instance: &str, partition, role, lag, behind| {
            let view = TaskView::new("t".into(), partition, role);
            view.advance(|p| p.applied = BTreeMap::from([("a".into(), 5)]));
            view.set_lag(BTreeMap::from([("a".into(), lag)]));
            Coverage { lag_ms: behind, ..Coverage::applied(instance, &[view]) }
        };
        let all = Coverage::together(
            "keld-0",
            vec![part("keld-1", 0, Role::Active, 2, 30), part("keld-2", 3, Role::Standby, 5, 10)],
        );
        assert_eq!((all.served_by.as_str(), &*all.role, all.lag, all.lag_ms), ("keld-0", "mixed", 7, 30));
        assert_eq!(all.position.0.keys().collect::<Vec<_>>(), [&0, &3]);
        let one = Coverage::together("keld-0", vec![part("keld-1", 0, Role::Standby, 0, 0)]);
        assert_eq!((one.served_by.as_str(), &*one.role), ("keld-1", "standby"));
    }

    #[test]
    fn a_task_that_changes_hands_answers_as_a_copy_that_may_be_behind() {
        let before = TaskView::new("t".into(), 0, Role::Active);
        before.set_phase(Phase::Running);
        let view = before.successor(Role::Active);
        let coverage = Coverage::applied("keld-0", &[Arc::clone(&view)]);
        assert_eq!((&*coverage.role, coverage.caught_up), ("standby", false));
        assert!(!Coverage::of("keld-0", &[Arc::clone(&view)]).caught_up);
        assert!(view.hand_over());
        let coverage = Coverage::applied("keld-0", &[view]);
        assert_eq!((&*coverage.role, coverage.caught_up), ("active", true));
    }

    #[test]
    fn who_has_not_caught_up_says_so() {
        let view = |phase| {
            let view = TaskView::new("t".into(), 0, Role::Active);
            view.set_phase(phase);
            view
        };
        let restoring = || Phase::Restoring { at: 1, end: 9, rate: 0.0 };
        // Alone, by key and for searches; beside one that runs.
        let cases = [
            (Phase::Running, true, true),
            (Phase::Indexing { done: 1 }, true, false),
            (restoring(), false, false),
            (Phase::Opening, false, false),
            (Phase::Stopped("why".into()), false, false),
        ];
        for (phase, by_key, by_search) in cases {
            let views = [view(Phase::Running), view(phase.clone())];
            assert_eq!(Coverage::applied("keld-0", &views).caught_up, by_key, "{phase:?}");
            assert_eq!(Coverage::of("keld-0", &views).caught_up, by_search, "{phase:?}");
        }
        let part = |phase| Coverage::applied("keld-0", &[view(phase)]);
        assert!(Coverage::together("keld-0", vec![part(Phase::Running), part(Phase::Running)]).caught_up);
        assert!(!Coverage::together("keld-0", vec![part(Phase::Running), part(restoring())]).caught_up);
    }

    #[test]
    fn roles_of_several_tasks_are_told_apart() {
        let view = |role| TaskView::new("t".into(), 0, role);
        assert_eq!(role_of(&[view(Role::Active), view(Role::Active)]), "active");
        assert_eq!(role_of(&[view(Role::Standby)]), "standby");
        assert_eq!(role_of(&[view(Role::Active), view(Role::Standby)]), "mixed");
    }
}
