//! Queries of Elasticsearch.

use serde_json::{Map, Value, json};

use super::Ask;

/// Deepest nesting that is made: one more than is allowed where bytes reach so far.
const DEEPEST: usize = 31;
const LEAVES: &[&str] = &[
    "match",
    "match_phrase",
    "match_phrase_prefix",
    "match_bool_prefix",
    "term",
    "terms",
    "range",
    "prefix",
    "wildcard",
    "regexp",
    "fuzzy",
];
const WITHOUT_FIELD: &[&str] = &[
    "match_all",
    "match_none",
    "exists",
    "ids",
    "multi_match",
    "query_string",
    "simple_query_string",
    "more_like_this",
];
const COMPOUND: &[&str] = &["bool", "constant_score", "dis_max", "boosting"];
/// Members of the leaves.
const MEMBERS: &[&str] = &[
    "query",
    "value",
    "boost",
    "operator",
    "minimum_should_match",
    "fuzziness",
    "zero_terms_query",
    "slop",
    "gte",
    "gt",
    "lte",
    "lt",
    "from",
    "to",
    "include_lower",
    "format",
    "time_zone",
    "case_insensitive",
    "wildcard",
    "lenient",
    "_name",
    "relation",
    "max_expansions",
    "unknown",
];
/// Members of what names its fields within.
const OTHERS: &[&str] = &[
    "query",
    "type",
    "boost",
    "default_operator",
    "default_field",
    "operator",
    "tie_breaker",
    "lenient",
    "fuzziness",
    "slop",
];

impl Ask<'_> {
    pub(super) fn query(&mut self, depth: usize) -> Value {
        if self.rarely(24) {
            return self.any(0);
        }
        let (kind, body) = match self.below(8) {
            0..=2 if depth < DEEPEST => {
                let kind = self.of(COMPOUND);
                (kind, self.compound(kind, depth))
            }
            3 => {
                let kind = self.of(WITHOUT_FIELD);
                (kind, self.without_field())
            }
            _ => {
                let kind = self.of(LEAVES);
                (kind, self.leaf(kind))
            }
        };
        json!({ kind: body })
    }

    fn compound(&mut self, kind: &str, depth: usize) -> Value {
        let mut body = Map::new();
        let names: &[&str] = match kind {
            "bool" => &["must", "should", "filter", "must_not"],
            "dis_max" => &["queries"],
            "constant_score" => &["filter"],
            _ => &["positive", "negative"],
        };
        for name in names {
            let of = match (kind, self.below(3)) {
                ("bool", 0) => continue,
                ("bool" | "dis_max", 1) => Value::Array(self.list(3, |ask| ask.query(depth + 1))),
                _ => self.query(depth + 1),
            };
            body.insert((*name).to_owned(), of);
        }
        if kind == "boosting" {
            body.insert("negative_boost".to_owned(), self.number());
        }
        self.members(&mut body, &["boost", "minimum_should_match", "tie_breaker", "_name"]);
        Value::Object(body)
    }

    fn without_field(&mut self) -> Value {
        let mut body = Map::new();
        body.insert("query".to_owned(), self.text().into());
        match self.below(4) {
            0 => body.insert("field".to_owned(), self.field()),
            1 => body.insert("values".to_owned(), Value::Array(self.list(4, Self::scalar))),
            2 => body.insert("fields".to_owned(), Value::Array(self.list(4, Self::field))),
            _ => None,
        };
        self.members(&mut body, OTHERS);
        Value::Object(body)
    }

    fn leaf(&mut self, kind: &str) -> Value {
        let field = self.of(super::FIELDS);
        let value = match (kind, self.below(3)) {
            ("terms", _) => Value::Array(self.list(6, Self::scalar)),
            (_, 0) => self.scalar(),
            _ => {
                let mut members = Map::new();
                let main = if kind.starts_with("match") { "query" } else { "value" };
                if kind != "range" {
                    members.insert(main.to_owned(), self.scalar());
                }
                self.members(&mut members, MEMBERS);
                Value::Object(members)
            }
        };
        let mut body = Map::new();
        body.insert(field.to_owned(), value);
        if self.rarely(12) {
            self.members(&mut body, &["boost", "_name", "other"]);
        }
        Value::Object(body)
    }
}
