//! Reads `[tables.NAME.derived]`: fields that an expression computes from the record.

use super::parse::{choice, switch, text};
use super::section::Section;
use super::tables::{Item, TYPES};
use super::{analysis, rules, words};
use crate::record::definition::name_id;
use crate::record::derived::{Derived, Expression};
use crate::record::{FieldDef, FieldType, KeyFrom, Path, Strategy};

/// Reads every derived field, ordered by name, over a table with this key and these fields.
pub(super) fn derived(table: &Section<'_>, key: &KeyFrom, fields: &[Item<'_, FieldDef>]) -> Vec<Derived> {
    let named = table.named("derived").into_iter();
    named.filter_map(|(name, section)| one(name, section, key, fields)).collect()
}

/// `None` if it is not sound, which is noted.
fn one(name: &str, s: Section<'_>, key: &KeyFrom, fields: &[Item<'_, FieldDef>]) -> Option<Derived> {
    if let Some(what) = words::reserved_name(name).or_else(|| words::bad_name(name)) {
        s.wrong_itself(what);
    }
    if fields.iter().any(|item| item.def.name == name) {
        s.wrong_itself(format!("{name:?} is a declared field already (give this one another name)"));
    }
    if matches!(key, KeyFrom::Path(path) if path.to_string() == name) {
        s.wrong_itself(format!("records show their key as {name:?} (give this field another name)"));
    }
    let all: Vec<&str> = TYPES.iter().map(|(word, _)| *word).collect();
    let kind = s.need("type", &format!("one of: {}", all.join(", ")), choice("type", TYPES));
    let declared: Vec<&FieldDef> = fields.iter().map(|item| &item.def).collect();
    // The type of a field that was read wrong is not known, and what depends on it not judged.
    let judged = kind.filter(|_| fields.iter().all(|item| item.section.sound(&["type", "merge"])));
    let what = "the expression that computes it, such as \"price - cost\"";
    let expression = s.need("expr", what, |node| match judged {
        Some(kind) => Expression::compile(&text(node)?, kind, key, &declared).map(Some),
        None => text(node).map(|_| None),
    });
    let (analysis, variants) = analysis::of_field(&s, kind);
    let field = FieldDef {
        name: name.to_owned(),
        id: name_id(name),
        kind: kind.unwrap_or(FieldType::Json),
        merge: Strategy::Lww,
        path: Path(vec![name.to_owned()]),
        limit: 0,
        index: s.or("index", true, switch),
        facet: s.or("facet", false, switch),
        sort: s.or("sort", false, switch),
        analysis,
        variants,
    };
    let item = Item { section: s, def: field };
    rules::options_fit(&item);
    item.section.finish();
    Some(Derived { field: item.def, expression: expression?? })
}
