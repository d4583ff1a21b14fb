use Value::{Bool, Float, Int};

use super::*;
use crate::record::testing::{after, delete, shown, table, text, upsert};

fn def() -> TableDef {
    table(&[
        ("any", FieldType::Json, Strategy::Lww),
        ("at", FieldType::Date, Strategy::Lww),
        ("brand", FieldType::Keyword, Strategy::Lww),
        ("cost", FieldType::Float, Strategy::Lww),
        ("live", FieldType::Boolean, Strategy::Lww),
        ("price", FieldType::Float, Strategy::Lww),
        ("returned", FieldType::Integer, Strategy::Sum),
        ("sold", FieldType::Integer, Strategy::Sum),
        ("tags", FieldType::Keyword, Strategy::Set),
        ("title", FieldType::Text, Strategy::Lww),
    ])
}

fn compile(def: &TableDef, kind: FieldType, expr: &str) -> Result<Expression, String> {
    Expression::compile(expr, kind, &def.key, &def.fields.iter().collect::<Vec<_>>())
}

/// `def` with a derived field `d`.
fn with(kind: FieldType, expr: &str) -> TableDef {
    let mut def = def();
    let field = FieldDef { name: "d".into(), kind, ..def.fields[0].clone() };
    let expression = compile(&def, kind, expr).unwrap_or_else(|e| panic!("{expr}: {e}"));
    def.derived = vec![Derived { field, expression }];
    def
}

/// The derived value over a record of these values.
fn value(kind: FieldType, expr: &str, of: &[(&str, Value)]) -> Result<Option<Value>, String> {
    let def = with(kind, expr);
    let record = after(&def, &[upsert(&def, 0, 1, 1, of)]);
    values(&def, b"k-1", &record, |_| true).pop().unwrap().1
}

fn desk() -> Vec<(&'static str, Value)> {
    let tags = Value::Array(vec![text("wood"), text("new")]);
    let any = Value::object(vec![("size".into(), Value::object(vec![("w".into(), Int(120))])), ("n".into(), Int(3))]);
    vec![
        ("any", any),
        ("at", Int(86_400_000)),
        ("brand", text("Acme")),
        ("cost", Float(60.25)),
        ("live", Bool(true)),
        ("price", Float(100.5)),
        ("returned", Int(2)),
        ("sold", Int(9)),
        ("tags", tags),
        ("title", text("Walnut desk")),
    ]
}

#[test]
fn every_type_can_be_computed() {
    use FieldType::*;
    let some = |kind, expr: &str, expected: Value| {
        assert_eq!(value(kind, expr, &desk()), Ok(Some(expected)), "{expr}");
    };
    some(Float, "price - cost", Value::Float(40.25));
    some(Float, "math.round((price - cost) / price * 100.0)", Value::Float(40.0));
    some(Float, "sold - returned", Value::Float(7.0));
    some(Integer, "sold * 2 % 7 - returned", Int(2));
    some(Integer, "int(price)", Int(100));
    some(Integer, "size(tags) + title.size()", Int(13));
    some(Integer, "any.size.w + any['n']", Int(123));
    some(Text, "title + ' ' + brand", text("Walnut desk Acme"));
    some(Text, "title.lowerAscii() + '/' + sku + '/' + string(sold)", text("walnut desk/k-1/9"));
    some(Text, "tags.join(', ')", text("new, wood"));
    some(Keyword, "price > 100.0 ? 'dear' : 'cheap'", text("dear"));
    some(Keyword, "tags", Value::Array(vec![text("new"), text("wood")]));
    some(Boolean, "live && brand in ['Acme', 'Oak'] && 'wood' in tags && title.contains('desk')", Bool(true));
    some(Boolean, "has(any.size) && !has(any.colour)", Bool(true));
    some(Date, "at + 7 * 86400000", Int(8 * 86_400_000));
    some(Json, "any.size", Value::object(vec![("w".into(), Int(120))]));
}

#[test]
fn dates_are_shown_as_such_and_derived_fields_stand_behind_the_declared_ones() {
    let def = with(FieldType::Date, "at + 1000");
    let of = [("at", Int(0)), ("title", text("t")), ("d", text("foreign")), ("z", Int(1))];
    let record = after(&def, &[upsert(&def, 0, 1, 1, &of)]);
    let all = render::fields(&def, b"k", &record, None).unwrap();
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sku", "at", "title", "d", "z"]);
    assert_eq!(all[3].1, text("1970-01-01T00:00:01Z"));
    assert_eq!(render::fields(&def, b"k", &record, Some(&["d".to_owned()])).unwrap(), [all[3].clone()]);
}

#[test]
fn what_cannot_be_computed_is_left_out_and_says_why() {
    let mut of = desk();
    of.retain(|(name, _)| !["brand", "cost"].contains(name));
    let fails = |kind, expr: &str, why: &str| assert_eq!(value(kind, expr, &of), Err(why.to_owned()), "{expr}");
    fails(FieldType::Float, "price - cost", "the record has no cost");
    fails(FieldType::Text, "title + brand", "the record has no brand");
    fails(FieldType::Integer, "sold / (returned - 2)", "division by zero");
    fails(FieldType::Integer, "sold % (returned - 2)", "division by zero");
    fails(FieldType::Float, "price / 0.0", "the value is not finite (a division by zero, or too large)");
    fails(FieldType::Integer, "sold * 9223372036854775807", "the result leaves 64 bits");
    fails(FieldType::Integer, "int(title)", "int() does not take this value");
    fails(FieldType::Integer, "any.colour", "there is no member \"colour\"");
    fails(FieldType::Text, "tags[5]", "there is nothing at this index of the list");
    fails(FieldType::Text, "any.n", "the value is int, which is not the field's type");
    // A field may hold an array of its type.
    let lists = [("price", Value::Array(vec![Float(1.0), Float(2.0)])), ("title", text("t"))];
    assert!(value(FieldType::Float, "price * 2.0", &lists).is_err());
    let def = with(FieldType::Float, "price * 2.0");
    let record = after(&def, &[upsert(&def, 0, 1, 1, &lists)]);
    assert_eq!(shown(&def, &record), serde_json::json!({"price": [1.0, 2.0], "title": "t"}));
}

#[test]
fn null_can_be_asked_for_and_given() {
    let expr = "brand == null ? title : title + ' ' + brand";
    assert_eq!(value(FieldType::Text, expr, &[("title", text("desk"))]), Ok(Some(text("desk"))));
    assert_eq!(value(FieldType::Text, expr, &desk()), Ok(Some(text("Walnut desk Acme"))));
    assert_eq!(value(FieldType::Float, "price > 1.0 ? null : price", &desk()), Ok(None), "null is no error");
}

#[test]
fn a_derived_field_makes_no_record() {
    let def = with(FieldType::Integer, "1 + 1");
    let record = after(&def, &[upsert(&def, 0, 1, 1, &[("title", text("t"))]), delete(&def, 0, 2)]);
    assert_eq!(render::fields(&def, b"k", &record, None), None);
    let back = after(&def, &[upsert(&def, 0, 3, 3, &[("title", text("u"))])]);
    assert_eq!(shown(&def, &back), serde_json::json!({"title": "u", "d": 2}));
}

#[test]
fn mistakes_are_found_before_any_record() {
    use FieldType::*;
    let def = def();
    let refused = |kind, expr: &str, parts: &[&str]| {
        let found = compile(&def, kind, expr).expect_err(expr);
        assert!(parts.iter().all(|part| found.contains(part)), "{expr}: {found}");
    };
    refused(Float, "price - cots", &["unknown field \"cots\"", "cost", "(at character 9)"]);
    refused(Float, "price -", &["is no expression", "character"]);
    refused(Float, "price - title", &["\"-\" does not work on float and text", "character"]);
    refused(Float, "price * sold", &["float and integer", "double(x)"]);
    refused(Float, "title", &["gives text", "takes float"]);
    refused(Text, "price", &["gives float", "takes text"]);
    refused(Integer, "null", &["gives null"]);
    refused(Boolean, "brand == sold", &["\"==\" does not work on text and integer"]);
    refused(Boolean, "tags.exists(t, t == 'a')", &["loops"]);
    refused(Boolean, "title.matches('a.*')", &["unknown function \"matches\"", "startsWith"]);
    refused(Date, "now()", &["unknown function \"now\""]);
    refused(Date, "timestamp('2024-01-01T00:00:00Z')", &["unknown function \"timestamp\""]);
    refused(Float, "math.random()", &["unknown function \"math.random\""]);
    refused(Text, "size(title, brand)", &["size() does not take text and text"]);
    refused(Json, "{'a': 1}", &["objects cannot be made here"]);
    refused(Integer, "title.size", &["text has no member \"size\""]);
    refused(Integer, "1u", &["unsigned"]);
    refused(Text, "title.substring(1)", &["unknown function \"substring\""]);
    refused(Integer, &format!("1{}", " ".repeat(LONGEST)), &["may have 2000 bytes"]);
}

#[test]
fn size_and_depth_are_bounded() {
    let def = def();
    let deep = |n: usize| format!("{}sold{}", "(".repeat(n), ")".repeat(n));
    let chain = |n: usize| vec!["sold"; n].join("+");
    for (expr, good) in [(deep(10), true), (deep(900), false), (chain(40), true), (chain(300), false)] {
        assert_eq!(compile(&def, FieldType::Integer, &expr).is_ok(), good, "{expr}");
    }
    for expr in ["[".repeat(1_900), "sold?".repeat(300), "size(".repeat(300), "any.".repeat(400), "-(".repeat(900)] {
        assert!(compile(&def, FieldType::Integer, &expr).is_err(), "{expr}");
    }
    let large = [("title", text(&"x".repeat(MOST_INPUT / 2)))];
    let why = value(FieldType::Text, "title + title + title", &large).unwrap_err();
    assert!(why.starts_with("the fields it names hold"), "{why}");
    assert!(value(FieldType::Boolean, "title == 'y'", &large).is_ok());
}

#[test]
fn a_record_with_nothing_but_a_member_of_its_name_is_absent_everywhere() {
    let def = with(FieldType::Float, "price - cost");
    let record = after(&def, &[upsert(&def, 0, 1, 1, &[("d", Int(5))])]);
    assert!(record.is_visible(), "stored before the field was derived");
    assert_eq!(render::fields(&def, b"k", &record, None), None);
    assert!(!render::is_shown(&def, &record));
    let more = after(&def, &[upsert(&def, 0, 1, 1, &[("d", Int(5)), ("brand", text("Acme"))])]);
    assert!(render::is_shown(&def, &more));
    assert!(render::fields(&def, b"k", &more, None).is_some());
}
