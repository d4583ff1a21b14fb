//! What of a record a hit shows: `_source` filtered, `fields` by pattern, highlights in the tags asked for. Pure.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::super::problem::Problem;
use super::body::wrong;
use crate::index::Fields;
use crate::query::MOST_HIGHLIGHTED;
use crate::query::dsl::dates::{Dates, Format};
use crate::query::dsl::matches;
use crate::record::FieldType;

/// Most names and patterns that are held against every path of every hit.
const MOST_NAMES: usize = 1_024;
/// Longest piece of a text that is shown where somebody asks for all of it, characters.
const LONGEST_PIECE: usize = 100_000;
/// Longest tag around a word, bytes: it stands around every word found of every hit.
const LONGEST_TAG: usize = 100;

/// What of the record is shown as `_source`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Source {
    /// Nothing of it.
    pub(super) off: bool,
    /// Patterns of paths; empty: everything.
    pub(super) includes: Vec<String>,
    /// Patterns of paths that are left out.
    pub(super) excludes: Vec<String>,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Names {
            One(String),
            Many(Vec<String>),
        }
        impl Names {
            fn all(self) -> Vec<String> {
                match self {
                    Self::One(name) => vec![name],
                    Self::Many(names) => names,
                }
            }
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Flag(bool),
            Names(Names),
            Both {
                #[serde(alias = "include")]
                includes: Option<Names>,
                #[serde(alias = "exclude")]
                excludes: Option<Names>,
            },
        }
        let all = |names: Option<Names>| names.map(Names::all).unwrap_or_default();
        Ok(match Any::deserialize(deserializer)? {
            Any::Flag(on) => Self { off: !on, ..Self::default() },
            Any::Names(names) => Self { includes: names.all(), ..Self::default() },
            Any::Both { includes, excludes } => Self { off: false, includes: all(includes), excludes: all(excludes) },
        })
    }
}

impl Source {
    /// As a URL says it: `true`, `false` or names separated by commas.
    pub(super) fn of_url(text: &str) -> Self {
        match text {
            "true" => Self::default(),
            "false" => Self { off: true, ..Self::default() },
            names => Self { includes: commas(names), ..Self::default() },
        }
    }

    /// The members of a record that are enough for it, where that is known beforehand.
    pub(super) fn members(&self) -> Option<Vec<String>> {
        if self.off {
            return Some(Vec::new());
        }
        let plain = self.excludes.is_empty() && !self.includes.iter().any(|name| name.contains(['*', '.']));
        (plain && !self.includes.is_empty()).then(|| self.includes.clone())
    }

    /// The same, if there are not too many names in it.
    pub(super) fn checked(self) -> Result<Self, Problem> {
        few("_source", self.includes.len() + self.excludes.len())?;
        Ok(self)
    }

    /// Whether a record is shown as it is.
    pub(super) fn is_whole(&self) -> bool {
        self.includes.is_empty() && self.excludes.is_empty()
    }

    /// As `filter_path` of a URL says it: names separated by commas, those with `-` in front left out.
    pub(super) fn of_paths(text: &str) -> Self {
        let (excludes, includes): (Vec<String>, Vec<String>) =
            commas(text).into_iter().partition(|p| p.starts_with('-'));
        let excludes = excludes.iter().map(|path| path.trim_start_matches('-').to_owned()).collect();
        Self { off: false, includes, excludes }
    }

    /// What is left of an answer.
    pub(super) fn of_answer(&self, answer: Value) -> Value {
        match answer {
            Value::Object(members) => Value::Object(self.of(members)),
            Value::Array(items) => items.into_iter().map(|item| self.of_answer(item)).collect(),
            value => value,
        }
    }

    /// What is left of a record.
    pub(super) fn of(&self, record: Map<String, Value>) -> Map<String, Value> {
        self.prune(record, "", false)
    }

    fn prune(&self, record: Map<String, Value>, above: &str, included: bool) -> Map<String, Value> {
        let keep = |(name, value): (String, Value)| {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            if self.excludes.iter().any(|pattern| matches(pattern, &path)) {
                return None;
            }
            let included = included || self.includes.is_empty() || self.includes.iter().any(|p| matches(p, &path));
            Some((name, self.pruned(value, &path, included)?))
        };
        record.into_iter().filter_map(keep).collect()
    }

    fn pruned(&self, value: Value, path: &str, included: bool) -> Option<Value> {
        match value {
            Value::Object(members) => {
                let left = self.prune(members, path, included);
                (included || !left.is_empty()).then_some(Value::Object(left))
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let left: Vec<Value> = items.into_iter().filter_map(|item| self.pruned(item, path, included)).collect();
                (included || !left.is_empty()).then_some(Value::Array(left))
            }
            value => included.then_some(value),
        }
    }
}

/// Refuses more names than are looked at.
fn few(what: &str, found: usize) -> Result<(), Problem> {
    if found <= MOST_NAMES {
        return Ok(());
    }
    Err(wrong(&format!("{what}: found {found} names, expected at most {MOST_NAMES}")))
}

/// `a, b` as a list.
pub(super) fn commas(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

/// One of `fields` or `docvalue_fields`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pattern: String,
    format: Option<Format>,
}

impl Wanted {
    /// Reads a list of names and of `{"field": …, "format": …}`.
    pub(super) fn read(list: &[Value]) -> Result<Vec<Self>, Problem> {
        few("fields", list.len())?;
        list.iter().map(Self::one).collect()
    }

    fn one(item: &Value) -> Result<Self, Problem> {
        let pattern = item.as_str().or_else(|| item.get("field")?.as_str());
        let pattern =
            pattern.ok_or_else(|| wrong(&format!("fields: found {item}, expected a name or {{\"field\": …}}")))?;
        let format = match item.get("format").and_then(Value::as_str) {
            // Names of how numbers are written mean nothing here.
            None | Some("use_field_mapping") => None,
            Some(text) => {
                Some(Format::parse(text).ok_or_else(|| wrong(&format!("fields: format {text:?} is not known")))?)
            }
        };
        Ok(Self { pattern: pattern.to_owned(), format })
    }
}

/// The values of a record by path, for what is wanted: lists, even of one.
pub(super) fn fields(record: &Map<String, Value>, wanted: &[Wanted], known: &Fields) -> BTreeMap<String, Vec<Value>> {
    let mut leaves = BTreeMap::new();
    record.iter().for_each(|(name, value)| flatten(name, value, &mut leaves));
    let mut all = BTreeMap::new();
    for (path, values) in &leaves {
        for Wanted { pattern, format } in wanted {
            let name = if matches(pattern, path) {
                path.clone()
            } else if pattern.strip_suffix(".keyword") == Some(path) {
                pattern.clone()
            } else {
                continue;
            };
            let is_date = known.resolve(path).is_some_and(|target| target.kind == FieldType::Date);
            let shown = |value: &Value| if is_date { date(value, format.as_ref()) } else { value.clone() };
            all.entry(name).or_insert_with(|| values.iter().map(shown).collect());
        }
    }
    all
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Vec<Value>>) {
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| flatten(path, item, into)),
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| flatten(&format!("{path}.{name}"), value, into));
        }
        value => into.entry(path.to_owned()).or_default().push(value.clone()),
    }
}

fn date(value: &Value, format: Option<&Format>) -> Value {
    let moment = value.as_str().and_then(|text| Dates::with(0, None).read(text).ok());
    moment.map_or_else(
        || value.clone(),
        |moment| format.unwrap_or(&Format::Iso).write(moment.start, &TimeZone::UTC).into(),
    )
}

/// How the words that were found are shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Highlight {
    /// Fields of texts.
    pub(super) fields: Vec<String>,
    /// Longest piece, characters.
    pub(super) length: Option<usize>,
    before: String,
    after: String,
    /// Whether pieces are escaped for HTML.
    html: bool,
}

impl Highlight {
    /// Reads `highlight` of a body; also what of it is passed over.
    pub(super) fn read(asked: &Value, known: &Fields, warnings: &mut Vec<String>) -> Result<Self, Problem> {
        let list = asked.get("fields").ok_or_else(|| wrong("highlight: expected \"fields\""))?;
        let named: Vec<(&String, &Value)> = match list {
            Value::Object(members) => members.iter().collect(),
            Value::Array(items) => items.iter().filter_map(Value::as_object).flatten().collect(),
            _ => return Err(wrong("highlight.fields: expected an object such as {\"title\": {}}")),
        };
        few("highlight.fields", named.len())?;
        let texts: Vec<String> =
            known.of_words().into_iter().filter(|t| t.kind == FieldType::Text).map(|t| t.path).collect();
        let mut fields: Vec<String> = Vec::new();
        for text in texts {
            if named.iter().any(|(pattern, _)| matches(pattern, &text)) {
                fields.push(text);
            }
        }
        if fields.len() > MOST_HIGHLIGHTED {
            warnings.push(format!("highlight: only the first {MOST_HIGHLIGHTED} of {} fields are shown", fields.len()));
            fields.truncate(MOST_HIGHLIGHTED);
        }
        let options: Vec<&Value> = named.iter().map(|(_, options)| *options).chain([asked]).collect();
        let option = |name: &str| options.iter().find_map(|options| options.get(name));
        let number = |name: &str| option(name).and_then(Value::as_u64);
        let length = match (number("number_of_fragments"), number("fragment_size")) {
            (Some(0), _) => Some(LONGEST_PIECE),
            (_, size) => size.map(|size| usize::try_from(size).unwrap_or(LONGEST_PIECE).clamp(1, LONGEST_PIECE)),
        };
        let tag = |name: &str, default: &str| {
            let tag = option(name).and_then(|tags| tags.as_str().or_else(|| tags.get(0)?.as_str()));
            tag.unwrap_or(default).to_owned()
        };
        let known = [
            "fields",
            "pre_tags",
            "post_tags",
            "fragment_size",
            "number_of_fragments",
            "encoder",
            "type",
            "order",
            "require_field_match",
            "no_match_size",
            "tags_schema",
            "boundary_scanner",
            "max_analyzed_offset",
        ];
        let unknown = asked.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str()));
        warnings.extend(unknown.map(|(name, _)| format!("highlight: {name:?} is not understood and was passed over")));
        let (before, after) = (tag("pre_tags", "<em>"), tag("post_tags", "</em>"));
        if before.len().max(after.len()) > LONGEST_TAG {
            return Err(wrong(&format!("highlight: expected tags of at most {LONGEST_TAG} bytes")));
        }
        Ok(Self { fields, length, before, after, html: option("encoder").and_then(Value::as_str) == Some("html") })
    }

    /// A piece in the tags asked for; it comes escaped, its words between `<em>` and `</em>`.
    pub(super) fn piece(&self, piece: &str) -> String {
        let mut shown = String::with_capacity(piece.len());
        let mut rest = piece;
        while let Some(at) = rest.find("<em>") {
            let (text, word) = (&rest[..at], &rest[at + 4..]);
            let (word, behind) = word.split_once("</em>").unwrap_or((word, ""));
            for part in [&self.text(text), &self.before, &self.text(word), &self.after] {
                shown.push_str(part);
            }
            rest = behind;
        }
        shown.push_str(&self.text(rest));
        shown
    }

    fn text(&self, escaped: &str) -> String {
        if self.html || !escaped.contains('&') {
            return escaped.to_owned();
        }
        let mut text = escaped.to_owned();
        for (entity, letter) in
            [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&amp;", "&")]
        {
            text = text.replace(entity, letter);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn left(source: Value, record: Value) -> Value {
        let source: Source = serde_json::from_value(source).unwrap();
        let Value::Object(record) = record else { panic!("an object") };
        Value::Object(source.of(record))
    }

    #[test]
    fn source_is_filtered_by_patterns_of_paths() {
        let record = || json!({"a": 1, "b": {"c": 2, "d": [{"e": 3, "f": 4}]}, "ab": [5, 6]});
        assert_eq!(left(json!(true), record()), record());
        assert_eq!(left(json!("a*"), record()), json!({"a": 1, "ab": [5, 6]}));
        assert_eq!(left(json!(["b.c", "nothing"]), record()), json!({"b": {"c": 2}}));
        assert_eq!(
            left(json!({"includes": "b", "excludes": ["*.e"]}), record()),
            json!({"b": {"c": 2, "d": [{"f": 4}]}})
        );
        assert_eq!(left(json!({"excludes": ["b"]}), record()), json!({"a": 1, "ab": [5, 6]}));
        let answer = || json!({"took": 1, "hits": {"total": 2, "hits": [{"_id": "a", "_source": {"b": 3}}]}});
        let paths = |text: &str| Source::of_paths(text).of_answer(answer());
        assert_eq!(paths("took,hits.hits._id"), json!({"took": 1, "hits": {"hits": [{"_id": "a"}]}}));
        assert_eq!(paths("-hits.hits"), json!({"took": 1, "hits": {"total": 2}}));
        assert_eq!(paths("**._source"), json!({"hits": {"hits": [{"_source": {"b": 3}}]}}));
        let members = |source: Value| serde_json::from_value::<Source>(source).unwrap().members();
        assert_eq!(members(json!(false)), Some(vec![]));
        assert_eq!(members(json!(["a"])), Some(vec!["a".to_owned()]));
        assert_eq!((members(json!(["a*"])), members(json!({"excludes": ["a"]}))), (None, None));
    }

    #[test]
    fn fields_are_lists_and_dates_have_their_format() {
        let known = Fields::new(std::sync::Arc::new(crate::index::testing::def())).unwrap();
        let record = json!({"at": "2026-01-01T00:00:00Z", "attrs": {"x": [1, {"y": 2}]}, "brand": "b", "live": null});
        let wanted =
            [json!({"field": "at", "format": "epoch_millis"}), json!("attrs.*"), json!("brand.keyword"), json!("live")];
        let found = fields(record.as_object().unwrap(), &Wanted::read(&wanted).unwrap(), &known);
        let expected = json!({"at": ["1767225600000"], "attrs.x": [1], "attrs.x.y": [2], "brand.keyword": ["b"]});
        assert_eq!(serde_json::to_value(found).unwrap(), expected);
        let iso = fields(record.as_object().unwrap(), &Wanted::read(&[json!("at")]).unwrap(), &known);
        assert_eq!(iso["at"], [json!("2026-01-01T00:00:00.000Z")]);
    }

    #[test]
    fn highlights_have_the_tags_and_the_letters_that_were_asked_for() {
        let known = Fields::new(std::sync::Arc::new(crate::index::testing::def())).unwrap();
        let asked = json!({"fields": {"*": {}}, "pre_tags": ["@H@"], "post_tags": ["@/H@"], "fragment_size": 2_147_483_647_u64});
        let highlight = Highlight::read(&asked, &known, &mut Vec::new()).unwrap();
        assert_eq!(
            (highlight.fields.clone(), highlight.length),
            (vec!["name".to_owned(), "title".to_owned()], Some(LONGEST_PIECE))
        );
        assert_eq!(highlight.piece("a &lt; <em>b&amp;c</em> d <em>e</em>"), "a < @H@b&c@/H@ d @H@e@/H@");
        let html =
            Highlight::read(&json!({"fields": {"title": {}}, "encoder": "html"}), &known, &mut Vec::new()).unwrap();
        assert_eq!(html.piece("a &lt; <em>b</em>"), "a &lt; <em>b</em>");
    }
}
