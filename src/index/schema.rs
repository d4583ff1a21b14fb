//! What the index holds of a table: field names, types and options, and how a name in a query finds its field.

use std::fmt;
use std::sync::Arc;

use tantivy::Term;
use tantivy::schema::{
    DateOptions, DateTimePrecision, FAST, Field, FieldType as TantivyType, IndexRecordOption, JsonObjectOptions,
    NumericOptions, Schema, SchemaBuilder, TextFieldIndexing, TextOptions,
};

use super::analysis::{Analyzers, PLAIN};
use super::mark::Mark;
use crate::record::{Dynamic, FieldDef, FieldType, KeyFrom, TableDef};
use crate::{Error, Result};

/// Field that holds the key.
pub const KEY: &str = "_key";
/// Field that holds the partition.
pub const PARTITION: &str = "_partition";
/// Field of the terms of everything that is matched whole: [`super::mark`].
const TERMS: &str = "_terms";
/// Sort name of the score.
pub const SCORE: &str = "_score";
/// JSON field that holds undeclared members where `dynamic = "index"`.
pub(super) const DYNAMIC: &str = "_dynamic";

/// Changes whenever documents are built differently, so that older indexes are built anew.
const LAYOUT: u32 = 3;

/// What a name in a query stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The field.
    pub field: Field,
    /// Name as the index knows it, with the path behind it for JSON.
    pub path: String,
    /// Path inside the field; empty but for JSON.
    pub inner: String,
    /// How its values are searched.
    pub kind: FieldType,
    /// Whether its values can be searched for.
    pub indexed: bool,
    /// Whether they are found by their column only: it has no terms.
    pub scanned: bool,
    /// Marks its terms among those that are matched whole; `None` if it has others, or none.
    pub mark: Option<Mark>,
    /// Whether it has a column.
    pub column: bool,
}

/// The fields of one table's index.
pub struct Fields {
    /// The table.
    pub def: Arc<TableDef>,
    pub(super) schema: Schema,
    pub(super) key: Field,
    pub(super) partition: Field,
    /// Of everything that is matched whole.
    pub(super) terms: Field,
    pub(super) dynamic: Option<Field>,
    /// What each of [`TableDef::shown_fields`] is: the declared fields, then the derived ones.
    pub(super) all: Vec<FieldDef>,
    /// By position in `all`.
    pub(super) found: Vec<Option<Field>>,
    /// By position in `all`, the other ways in which a text is indexed: their names and fields.
    pub(super) variants: Vec<Vec<(String, Field)>>,
    pub(super) analyzers: Analyzers,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields").field("table", &self.def.name).finish_non_exhaustive()
    }
}

impl Fields {
    /// The fields of `def`. Fails if a declared field has a name that the index needs for itself.
    pub fn new(def: Arc<TableDef>) -> Result<Self> {
        let mut builder = Schema::builder();
        let key = builder.add_text_field(KEY, TextOptions::default() | FAST);
        let partition = builder.add_u64_field(PARTITION, FAST);
        let terms = builder.add_text_field(TERMS, whole());
        let dynamic = (def.dynamic == Dynamic::Index).then(|| builder.add_json_field(DYNAMIC, json()));
        let all: Vec<FieldDef> = def.shown_fields().cloned().collect();
        let (mut found, mut variants) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
        let analyzers = Analyzers::default();
        for field in &all {
            if [KEY, PARTITION, TERMS, SCORE, DYNAMIC].contains(&field.name.as_str()) {
                return Err(Error::refused(format!("table {}: field {:?} has a reserved name", def.name, field.name))
                    .advise("give the field another name and take its value from there with path"));
            }
            let trouble = |e: Error| e.within(format_args!("table {}, field {:?}", def.name, field.name));
            let analyzer = analyzers.add(&field.analysis).map_err(trouble)?;
            found.push(add(&mut builder, field, &analyzer));
            let mut others = Vec::with_capacity(field.variants.len());
            for (name, analysis) in field.variants.iter().filter(|_| field.index) {
                let name = format!("{}.{name}", field.name);
                let options =
                    TextOptions::default().set_indexing_options(words(&analyzers.add(analysis).map_err(trouble)?));
                let field = builder.add_text_field(&name, options);
                others.push((name, field));
            }
            variants.push(others);
        }
        Ok(Self { schema: builder.build(), key, partition, terms, dynamic, all, found, variants, analyzers, def })
    }

    /// Identifies everything that decides how documents look; 16 hex digits.
    pub(super) fn fingerprint(&self) -> String {
        let schema = serde_json::to_string(&self.schema).unwrap_or_default();
        let derived: Vec<String> =
            self.def.derived.iter().map(|d| format!(" {}={:?}", d.field.name, d.expression.text())).collect();
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(format!("{LAYOUT} {schema}{}", derived.concat()).as_bytes()))
    }

    /// What a name in a query stands for; `None` if nothing is searched under it.
    pub fn resolve(&self, name: &str) -> Option<Target> {
        if name.contains('\0') {
            // The index ends paths by it: columns of such members are left out, and a term with it in its path makes the parser of
            // queries panic (Tantivy 0.27, `json_utils.rs:263`).
            return None;
        }
        if let Some(i) = self.all.iter().position(|f| f.name == name) {
            return self.field_target(i, String::new());
        }
        if let Some((_, field)) = self.variants.iter().flatten().find(|(held, _)| held == name) {
            return Some(Target { column: false, ..target(*field, name, FieldType::Text, None) });
        }
        if name == KEY || self.is_key_path(name) {
            return Some(self.key_target());
        }
        if name == PARTITION {
            return Some(target(self.partition, PARTITION, FieldType::Integer, Some(Mark::PARTITION)));
        }
        if let Some((field, inner)) = self.schema.find_field(name) {
            let i = self.found.iter().position(|f| *f == Some(field))?;
            return (self.all[i].kind == FieldType::Json).then(|| self.field_target(i, inner.to_owned()))?;
        }
        let inner = name.to_owned();
        self.dynamic.map(|field| Target {
            path: format!("{DYNAMIC}.{inner}"),
            inner,
            ..target(field, DYNAMIC, FieldType::Json, None)
        })
    }

    fn field_target(&self, i: usize, inner: String) -> Option<Target> {
        let def = &self.all[i];
        let field = self.found[i]?;
        let path = if inner.is_empty() { def.name.clone() } else { format!("{}.{inner}", def.name) };
        let entry = self.schema.get_field_entry(field);
        let mark = self.mark(i);
        let scanned = def.index && mark.is_none() && !entry.is_indexed();
        Some(Target { field, path, inner, kind: def.kind, indexed: def.index, scanned, mark, column: entry.is_fast() })
    }

    /// The mark of a field whose values are matched whole.
    pub(super) fn mark(&self, i: usize) -> Option<Mark> {
        let def = &self.all[i];
        let whole = matches!(def.kind, FieldType::Keyword | FieldType::Integer | FieldType::Boolean);
        (def.index && whole).then(|| Mark::of_field(i))
    }

    fn key_target(&self) -> Target {
        target(self.key, KEY, FieldType::Keyword, Some(Mark::KEY))
    }

    /// The term of a value that is matched whole.
    pub fn term(&self, mark: Mark, value: &str) -> Term {
        mark.term(self.terms, value)
    }

    /// The field and the regular expression that find the terms of a value by one; `None` where they are not texts.
    pub fn expression(&self, target: &Target, regex: &str) -> Option<(Field, String)> {
        match (target.kind, target.mark) {
            (FieldType::Text, _) => Some((target.field, regex.to_owned())),
            (FieldType::Keyword, Some(mark)) => Some((self.terms, mark.text(&format!("(?:{regex})")))),
            _ => None,
        }
    }

    /// What a name stands for in tools that call the key `_id`, and look for whole texts under `<name>.keyword`: the name here, what
    /// it stands for, and whether a text is meant as a whole.
    pub fn alias<'n>(&self, name: &'n str) -> Option<(&'n str, Target, bool)> {
        let base = name.strip_suffix(".keyword").and_then(|base| Some((base, self.resolve(base)?)));
        match (self.resolve(name), base) {
            (found, _) if name == "_id" && found.as_ref().is_none_or(|t| t.kind == FieldType::Json) => {
                Some((KEY, self.key_target(), false))
            }
            (Some(found), _) if found.kind != FieldType::Json => Some((name, found, false)),
            (_, Some((base, target))) => {
                let whole = target.kind == FieldType::Text;
                Some((base, target, whole))
            }
            (found, None) => found.map(|found| (name, found, false)),
        }
    }

    /// The term that all documents of a partition have.
    pub(super) fn partition_term(&self, partition: u32) -> Term {
        self.term(Mark::PARTITION, &partition.to_string())
    }

    fn is_key_path(&self, name: &str) -> bool {
        matches!(&self.def.key, KeyFrom::Path(path) if path.to_string() == name)
    }

    /// The fields that words without a field name are looked for in: every text and keyword field, and the key.
    pub fn of_words(&self) -> Vec<Target> {
        let all = (0..self.all.len()).filter_map(|i| self.field_target(i, String::new()));
        let words = all.filter(|t| t.indexed && matches!(t.kind, FieldType::Text | FieldType::Keyword));
        words.chain([self.key_target()]).collect()
    }

    /// Names that queries may use, for messages.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.all.iter().filter(|f| f.index).map(|f| f.name.clone()).collect();
        names.extend(self.variants.iter().flatten().map(|(name, _)| name.clone()));
        names.push(KEY.to_owned());
        if let KeyFrom::Path(path) = &self.def.key {
            names.push(path.to_string());
        }
        names.dedup();
        names
    }

    /// Name of the analyzer of a field of texts.
    pub(super) fn analyzer(&self, target: &Target) -> &str {
        let options = match self.schema.get_field_entry(target.field).field_type() {
            TantivyType::Str(options) if target.mark.is_none() => options.get_indexing_options(),
            _ => None,
        };
        match options {
            Some(options) => options.tokenizer(),
            None if target.kind == FieldType::Keyword => "raw",
            None => PLAIN,
        }
    }

    /// The fields that have facets.
    pub fn faceted(&self) -> impl Iterator<Item = &FieldDef> {
        self.all.iter().filter(|f| f.facet)
    }

    /// The field to sort by under this name, if it can be sorted by.
    pub fn sortable(&self, name: &str) -> Option<Target> {
        self.resolve(name).filter(|t| t.column && t.kind != FieldType::Json)
    }

    /// Names that can be sorted by, for messages.
    pub fn sortable_names(&self) -> Vec<String> {
        let all = self.all.iter().map(|f| f.name.as_str());
        all.chain([SCORE, KEY]).filter(|n| *n == SCORE || self.sortable(n).is_some()).map(str::to_owned).collect()
    }
}

fn target(field: Field, name: &str, kind: FieldType, mark: Option<Mark>) -> Target {
    let path = name.to_owned();
    Target { field, path, inner: String::new(), kind, indexed: true, scanned: false, mark, column: true }
}

/// Terms that are matched whole.
fn whole() -> TextOptions {
    TextOptions::default().set_indexing_options(
        TextFieldIndexing::default()
            .set_tokenizer("raw")
            .set_index_option(IndexRecordOption::Basic)
            .set_fieldnorms(false),
    )
}

fn words(analyzer: &str) -> TextFieldIndexing {
    TextFieldIndexing::default().set_tokenizer(analyzer).set_index_option(IndexRecordOption::WithFreqsAndPositions)
}

fn json() -> JsonObjectOptions {
    JsonObjectOptions::from(FAST).set_indexing_options(words(PLAIN)).set_expand_dots_enabled()
}

/// Numbers, dates and keywords always have a column, so that they can be sorted by even where they are not searched. Ranges are
/// found by the column anyway. Keywords, integers, of which many are ids, and booleans have terms as well, among those that are
/// matched whole; for dates and floats nearly as many terms as documents would cost every segment more than searches for one
/// value gain.
fn add(builder: &mut SchemaBuilder, field: &FieldDef, analyzer: &str) -> Option<Field> {
    let name = field.name.as_str();
    let column = NumericOptions::from(FAST);
    Some(match field.kind {
        FieldType::Text => {
            let column = field.sort || field.facet;
            if !field.index && !column {
                return None;
            }
            let options = if column { TextOptions::default() | FAST } else { TextOptions::default() };
            let options = if field.index { options.set_indexing_options(words(analyzer)) } else { options };
            builder.add_text_field(name, options)
        }
        FieldType::Keyword => builder.add_text_field(name, TextOptions::default() | FAST),
        FieldType::Integer => builder.add_i64_field(name, column),
        FieldType::Boolean => builder.add_bool_field(name, column),
        FieldType::Float => builder.add_f64_field(name, column),
        FieldType::Date => {
            builder.add_date_field(name, DateOptions::from(FAST).set_precision(DateTimePrecision::Milliseconds))
        }
        FieldType::Json if field.index => builder.add_json_field(name, json()),
        FieldType::Json => return None,
    })
}
