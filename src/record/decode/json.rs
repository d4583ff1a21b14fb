//! JSON straight from bytes into slots and dynamic members, without a tree in between.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};

use super::any::{Any, oversized_integer};
use super::identity::shorten;
use super::plan::Plan;
use crate::record::definition::Dynamic;
use crate::record::event::{Reason, Reject};
use crate::record::value::{Value, sort_last_wins};

/// What a consumed path was found to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Slot {
    /// The event does not have the path.
    #[default]
    Absent,
    /// A sentinel stands where the path would go on: says nothing, whatever the source's `absent`.
    Kept,
    /// The value at the path.
    Given(Value),
}

/// An event's members, sorted out.
#[derive(Debug)]
pub(super) struct Parsed {
    /// By slot.
    pub(super) slots: Vec<Slot>,
    /// Undeclared members to keep, by name.
    pub(super) dynamic: Vec<(String, Value)>,
    /// Path of the first undeclared member, where these are rejected.
    pub(super) undeclared: Option<String>,
}

/// How to parse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) plan: &'a Plan,
    pub(super) dynamic: Dynamic,
    pub(super) max_depth: usize,
    pub(super) sentinels: &'a [Value],
    /// How the names of members begin that are never dynamic.
    pub(super) hidden: Option<&'static str>,
}

/// Parses one JSON object.
pub(super) fn parse(payload: &[u8], rules: Rules<'_>) -> Result<Parsed, Reject> {
    let text = utf8(payload)?;
    let mut state = State::new(rules, None);
    let mut json = serde_json::Deserializer::from_str(text);
    let result = json.deserialize_map(Root(&mut state)).and_then(|()| json.end());
    if let Err(error) = result {
        let reject = state.reject.take().unwrap_or_else(|| from_serde(&error));
        let whole = reject.reason == Reason::Undecodable;
        return Err(Reject { path: if whole { String::new() } else { state.trail }, ..reject });
    }
    if state.suspect
        && let Some(number) = oversized_integer(text)
    {
        let detail = format!("the integer {} does not fit 64 bits", shorten(number));
        return Err(Reject { reason: Reason::OutOfRange, path: place_of(text, rules, number), detail });
    }
    Ok(state.parsed())
}

/// Sorts members that another encoding was read into.
pub(super) fn sort_out(members: Vec<(String, Value)>, rules: Rules<'_>) -> Parsed {
    let mut state = State::new(rules, None);
    let mut before = 0;
    for (name, value) in members {
        match rules.place(&name, before) {
            Name::Known(node) => {
                before = node;
                state.consume(node, value);
            }
            Name::Dynamic(name) => state.dynamic.push((name, Some(value))),
            Name::Undeclared(name) => _ = state.undeclared.get_or_insert(name),
            Name::Ignored => {}
        }
    }
    state.parsed()
}

/// The text of a payload.
pub(super) fn utf8(payload: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(payload).map_err(|e| undecodable(format!("invalid UTF-8 at byte {}", e.valid_up_to())))
}

/// Path of the first member that holds this number; empty if none does, for it stands in what is left out.
fn place_of(text: &str, rules: Rules<'_>, number: &str) -> String {
    let mut state = State::new(rules, number.parse().ok());
    let found = serde_json::Deserializer::from_str(text).deserialize_map(Root(&mut state)).is_err();
    if found { state.trail } else { String::new() }
}

/// Whether a value counts as absent.
pub(super) fn is_sentinel(sentinels: &[Value], value: &Value) -> bool {
    sentinels.iter().any(|sentinel| sentinel.canonical_cmp(value).is_eq())
}

pub(super) fn undecodable(detail: String) -> Reject {
    Reject { reason: Reason::Undecodable, path: String::new(), detail }
}

/// serde_json's own refusals, with line and column.
pub(super) fn from_serde(error: &serde_json::Error) -> Reject {
    let detail = error.to_string();
    let reason = if detail.starts_with("number out of range") {
        Reason::OutOfRange
    } else if detail.starts_with("recursion limit exceeded") {
        Reason::TooDeep
    } else {
        Reason::Undecodable
    };
    Reject { reason, path: String::new(), detail }
}

/// What has been gathered so far.
pub(super) struct State<'a> {
    pub(super) rules: Rules<'a>,
    slots: Vec<Slot>,
    /// `None` where a repeated member left nothing.
    dynamic: Vec<(String, Option<Value>)>,
    undeclared: Option<String>,
    /// A float was seen that may have been written as an integer beyond 64 bits.
    pub(super) suspect: bool,
    /// A number to stop at.
    pub(super) hunted: Option<f64>,
    /// The refusal behind the error that ended parsing.
    reject: Option<Reject>,
    /// Where parsing ended.
    trail: String,
}

impl<'a> State<'a> {
    fn new(rules: Rules<'a>, hunted: Option<f64>) -> Self {
        Self {
            rules,
            // Not `vec!`, which would clone each.
            slots: std::iter::repeat_with(Slot::default).take(rules.plan.slots).collect(),
            dynamic: Vec::new(),
            undeclared: None,
            suspect: false,
            hunted,
            reject: None,
            trail: String::new(),
        }
    }

    fn parsed(mut self) -> Parsed {
        if self.dynamic.is_empty() {
            return Parsed { slots: self.slots, dynamic: Vec::new(), undeclared: self.undeclared };
        }
        sort_last_wins(&mut self.dynamic);
        let kept = self.dynamic.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let dynamic = kept.filter(|(_, value)| !is_sentinel(self.rules.sentinels, value)).collect();
        Parsed { slots: self.slots, dynamic, undeclared: self.undeclared }
    }

    pub(super) fn refuse<E: de::Error>(&mut self, reason: Reason, detail: String) -> E {
        let error = E::custom(&detail);
        self.reject = Some(Reject { reason, path: String::new(), detail });
        error
    }

    /// Puts a member name in front of the path at which parsing ended.
    pub(super) fn locate(&mut self, name: &str) {
        let dot = if self.trail.is_empty() { "" } else { "." };
        self.trail.insert_str(0, dot);
        self.trail.insert_str(0, name);
    }

    /// A member on a consumed path: fills the slots; what is left of it is dynamic.
    fn consume(&mut self, node: usize, value: Value) {
        let plan = self.rules.plan;
        let here = &plan.nodes[node];
        if let (true, Some(slot)) = (here.children.is_empty(), here.slot) {
            self.slots[slot] = Slot::Given(value);
            return;
        }
        for slot in &here.below {
            self.slots[*slot] = Slot::Absent;
        }
        let rest = spread(self, node, value);
        let name = &*here.name;
        match (self.rules.dynamic, rest) {
            (Dynamic::Store | Dynamic::Index, None) => {
                // Of a repeated member the last one counts, and nothing is left of this one.
                self.dynamic.iter_mut().filter(|(held, _)| held == name).for_each(|(_, value)| *value = None);
            }
            (Dynamic::Store | Dynamic::Index, Some(rest)) if !plan.names.contains(name) => {
                self.dynamic.push((name.to_owned(), Some(rest)));
            }
            (Dynamic::Reject, Some(rest)) => {
                let path = match &rest {
                    Value::Object(members) => members.first().map(|(member, _)| format!("{name}.{member}")),
                    _ => None,
                };
                self.undeclared.get_or_insert(path.unwrap_or_else(|| name.to_owned()));
            }
            _ => {}
        }
    }
}

/// Moves the consumed parts of `value` into slots and returns what is left of it.
fn spread(state: &mut State<'_>, node: usize, value: Value) -> Option<Value> {
    let here = &state.rules.plan.nodes[node];
    if here.children.is_empty() {
        if let Some(slot) = here.slot {
            state.slots[slot] = Slot::Given(value);
        }
        return None;
    }
    let whole = here.slot.map(|slot| (slot, value.clone()));
    let rest = match value {
        Value::Object(members) => {
            let mut rest = Vec::new();
            for (name, value) in members {
                let left = match here.children.get(name.as_str()) {
                    Some(child) => spread(state, *child, value),
                    None => Some(value),
                };
                rest.extend(left.map(|left| (name, left)));
            }
            (!rest.is_empty()).then_some(Value::Object(rest))
        }
        other if is_sentinel(state.rules.sentinels, &other) => {
            for slot in &here.below {
                state.slots[*slot] = Slot::Kept;
            }
            None
        }
        other => Some(other),
    };
    match whole {
        Some((slot, value)) => {
            state.slots[slot] = Slot::Given(value);
            None
        }
        None => rest,
    }
}

/// The event itself.
struct Root<'s, 'a>(&'s mut State<'a>);

impl<'de> Visitor<'de> for Root<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let state = self.0;
        let mut before = 0;
        while let Some(member) = map.next_key_seed(Member { rules: state.rules, before })? {
            match member {
                Name::Known(node) => {
                    before = node;
                    match map.next_value_seed(Any { state, depth: 1 }) {
                        Ok(value) => state.consume(node, value),
                        Err(error) => {
                            state.locate(&state.rules.plan.nodes[node].name);
                            return Err(error);
                        }
                    }
                }
                Name::Dynamic(name) => match map.next_value_seed(Any { state, depth: 1 }) {
                    Ok(value) => state.dynamic.push((name, Some(value))),
                    Err(error) => {
                        state.locate(&name);
                        return Err(error);
                    }
                },
                Name::Undeclared(name) => {
                    map.next_value::<IgnoredAny>()?;
                    state.undeclared.get_or_insert(name);
                }
                Name::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// What a member of the event is, by its name.
enum Name {
    Known(usize),
    Dynamic(String),
    Undeclared(String),
    Ignored,
}

struct Member<'a> {
    rules: Rules<'a>,
    /// The consumed member before it; 0 if there was none.
    before: usize,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Name;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Member<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        Ok(self.rules.place(name, self.before))
    }
}

impl Rules<'_> {
    fn place(&self, name: &str, before: usize) -> Name {
        match self.plan.root(name, before) {
            Some(node) => Name::Known(node),
            None if self.hidden.is_some_and(|hidden| name.starts_with(hidden)) => Name::Ignored,
            None => match self.dynamic {
                Dynamic::Reject => Name::Undeclared(name.to_owned()),
                Dynamic::Ignore => Name::Ignored,
                Dynamic::Store | Dynamic::Index if self.plan.names.contains(name) => Name::Ignored,
                Dynamic::Store | Dynamic::Index => Name::Dynamic(name.to_owned()),
            },
        }
    }
}
