//! Checks an expression before any record is seen: names, types, functions, size.

use cel::ParseErrors;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators as op};

use crate::record::definition::FieldType;

/// Deepest nesting of an expression, operators included: evaluation calls itself so often.
pub(super) const DEEPEST: u16 = 48;
/// Most operators, functions, names and literals of an expression.
const MOST_NODES: usize = 200;

/// The type of a part of an expression. Each may also be null, as a field is that a record lacks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Bool,
    /// Integers, and dates as milliseconds since the epoch.
    Int,
    Float,
    Text,
    List(Box<Type>),
    Null,
    /// JSON: known when a record is seen.
    Any,
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Type::Bool => f.write_str("boolean"),
            Type::Int => f.write_str("integer"),
            Type::Float => f.write_str("float"),
            Type::Text => f.write_str("text"),
            Type::List(of) => write!(f, "list of {of}"),
            Type::Null => f.write_str("null"),
            Type::Any => f.write_str("json"),
        }
    }
}

impl Type {
    /// Whether a value of this type may be where `other` is expected.
    fn fits(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::List(a), Type::List(b)) => a.fits(b),
            (Type::Any | Type::Null, _) | (_, Type::Any | Type::Null) => true,
            (a, b) => a == b,
        }
    }
    /// The type of either of two values; `None` if they do not fit each other.
    fn or(self, other: Type) -> Option<Type> {
        match (self, other) {
            (Type::Null, one) | (one, Type::Null) => Some(one),
            (a, b) if a == b => Some(a),
            (a, b) => a.fits(&b).then_some(Type::Any),
        }
    }
}

type Checked = Result<Type, String>;

struct Checker<'a> {
    places: &'a SourceInfo,
    known: &'a dyn Fn(&str) -> Option<Type>,
    all: &'a dyn Fn() -> Vec<String>,
    names: Vec<String>,
    nodes: usize,
}

/// Checks `tree` for a field of type `kind`; what it names, as often as it does. `known` gives the type of a field, `all`
/// lists them for messages.
pub(super) fn check(
    tree: &IdedExpr,
    places: &SourceInfo,
    kind: FieldType,
    known: &dyn Fn(&str) -> Option<Type>,
    all: &dyn Fn() -> Vec<String>,
) -> Result<Vec<String>, String> {
    let mut checker = Checker { places, known, all, names: Vec::new(), nodes: 0 };
    let found = checker.expr(tree, 0)?;
    let wanted = match kind {
        FieldType::Text | FieldType::Keyword => Type::Text,
        FieldType::Integer | FieldType::Date => Type::Int,
        FieldType::Float => Type::Float,
        FieldType::Boolean => Type::Bool,
        FieldType::Json => Type::Any,
    };
    let of = if let Type::List(item) = &found { item } else { &found };
    let widened = wanted == Type::Float && *of == Type::Int;
    if found != Type::Null && (of.fits(&wanted) || widened) {
        return Ok(checker.names);
    }
    Err(format!("gives {found}, and the field's type takes {wanted}"))
}

/// What is wrong with a text that is no expression.
pub(super) fn syntax(text: &str, errors: &ParseErrors) -> String {
    let Some(first) = errors.errors.first() else { return "is no expression".to_owned() };
    let what = first.msg.trim_start_matches("Syntax error: ");
    let column = usize::try_from(first.pos.1).unwrap_or(0).clamp(1, text.chars().count().max(1));
    let line = if text.trim_end().contains('\n') { format!("line {}, ", first.pos.0) } else { String::new() };
    format!("is no expression: {what} (at {line}character {column})")
}

impl Checker<'_> {
    fn expr(&mut self, e: &IdedExpr, depth: u16) -> Checked {
        self.nodes += 1;
        if self.nodes > MOST_NODES || depth >= DEEPEST {
            return Err(format!("is too large: at most {MOST_NODES} parts, nested {DEEPEST} deep"));
        }
        match &e.expr {
            Expr::Literal(literal) => self.literal(e, literal),
            Expr::Ident(name) => self.name(e, name),
            Expr::Select(select) => self.select(e, select, depth),
            Expr::Call(call) => self.call(e, call, depth),
            Expr::List(list) => {
                let mut of = Type::Null;
                for item in &list.elements {
                    let found = self.expr(item, depth + 1)?;
                    let known = of.clone();
                    of = of.or(found.clone()).ok_or_else(|| self.at(item, format!("{found} in a list of {known}")))?;
                }
                Ok(Type::List(Box::new(of)))
            }
            Expr::Comprehension(_) => {
                Err(self.at(e, "all, exists, exists_one, filter and map are loops, which derived fields do not have"))
            }
            Expr::Map(_) | Expr::Struct(_) => Err(self.at(e, "objects cannot be made here")),
            Expr::Unspecified => Err(self.at(e, "nothing stands here")),
        }
    }

    fn literal(&self, e: &IdedExpr, literal: &LiteralValue) -> Checked {
        match literal {
            LiteralValue::Boolean(_) => Ok(Type::Bool),
            LiteralValue::Double(_) => Ok(Type::Float),
            LiteralValue::Int(_) => Ok(Type::Int),
            LiteralValue::String(_) => Ok(Type::Text),
            LiteralValue::Null => Ok(Type::Null),
            LiteralValue::Bytes(_) | LiteralValue::UInt(_) => {
                Err(self.at(e, "fields hold no bytes and no unsigned numbers (write it without the letter)"))
            }
        }
    }

    fn name(&mut self, e: &IdedExpr, name: &str) -> Checked {
        let Some(found) = (self.known)(name) else {
            let all = (self.all)();
            let hint = if all.is_empty() { String::new() } else { format!(" (one of: {})", all.join(", ")) };
            return Err(self.at(e, format!("unknown field {name:?}{hint}")));
        };
        self.names.push(name.to_owned());
        Ok(found)
    }

    fn select(&mut self, e: &IdedExpr, select: &SelectExpr, depth: u16) -> Checked {
        let of = self.expr(&select.operand, depth + 1)?;
        match (of, select.test) {
            (Type::Any, true) => Ok(Type::Bool),
            (Type::Any, false) => Ok(Type::Any),
            (of, _) => Err(self.at(e, format!("{of} has no member {:?} (json has)", select.field))),
        }
    }

    fn call(&mut self, e: &IdedExpr, call: &CallExpr, depth: u16) -> Checked {
        let namespace = call.target.as_ref().and_then(|target| match &target.expr {
            Expr::Ident(name) if name == "math" => Some(name.as_str()),
            _ => None,
        });
        let mut args = Vec::new();
        if namespace.is_none()
            && let Some(target) = &call.target
        {
            args.push(self.expr(target, depth + 1)?);
        }
        for arg in &call.args {
            args.push(self.expr(arg, depth + 1)?);
        }
        let member = call.target.is_some() && namespace.is_none();
        let name = namespace.map_or_else(|| call.func_name.clone(), |space| format!("{space}.{}", call.func_name));
        match result(&name, member, &args) {
            Some(found) => Ok(found),
            None => Err(self.at(e, refusal(&name, member, &args))),
        }
    }

    /// A mistake, with its place.
    fn at(&self, e: &IdedExpr, what: impl std::fmt::Display) -> String {
        let source = &self.places.source;
        let place = self.places.offset_for(e.id).map(|(start, _)| start as usize);
        match place {
            Some(start) if start <= source.chars().count() => format!("{what} (at character {})", start + 1),
            _ => what.to_string(),
        }
    }
}

/// Functions that may be used, as messages list them.
const FUNCTIONS: &str = "size, int, double, string, contains, startsWith, endsWith, lowerAscii, upperAscii, trim, join, \
                         has, math.abs, math.ceil, math.floor, math.round, math.greatest, math.least";

/// What an operator or function gives for arguments of these types; `None` if it does not take them, or is not let in.
fn result(name: &str, member: bool, args: &[Type]) -> Option<Type> {
    if member {
        return method(name, args);
    }
    match (name, args) {
        (op::CONDITIONAL, [test, a, b]) if test.fits(&Type::Bool) => a.clone().or(b.clone()),
        (op::LOGICAL_AND | op::LOGICAL_OR, [a, b]) => {
            (a.fits(&Type::Bool) && b.fits(&Type::Bool)).then_some(Type::Bool)
        }
        (op::LOGICAL_NOT, [a]) => a.fits(&Type::Bool).then_some(Type::Bool),
        (op::EQUALS | op::NOT_EQUALS, [a, b]) => a.fits(b).then_some(Type::Bool),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [a, b]) => {
            (of(a, &[Type::Int, Type::Float, Type::Text]) && of(b, std::slice::from_ref(a))).then_some(Type::Bool)
        }
        (op::ADD, [a, b]) => same(a, b, &[Type::Int, Type::Float, Type::Text]),
        (op::SUBSTRACT | op::MULTIPLY | op::DIVIDE, [a, b]) => same(a, b, &[Type::Int, Type::Float]),
        (op::MODULO, [a, b]) => same(a, b, &[Type::Int]),
        (op::NEGATE, [a]) => of(a, &[Type::Int, Type::Float]).then(|| a.clone()),
        (op::IN, [item, Type::List(list)]) => item.fits(list).then_some(Type::Bool),
        (op::IN, [item, Type::Any]) => (*item != Type::Null).then_some(Type::Bool),
        (op::INDEX, [Type::List(item), at]) => of(at, &[Type::Int]).then(|| Type::clone(item)),
        (op::INDEX, [Type::Any, at]) => of(at, &[Type::Int, Type::Text]).then_some(Type::Any),
        ("size", [a]) => (matches!(a, Type::List(_)) || of(a, &[Type::Text])).then_some(Type::Int),
        ("int", [a]) => of(a, &[Type::Int, Type::Float, Type::Text]).then_some(Type::Int),
        ("double", [a]) => of(a, &[Type::Int, Type::Float, Type::Text]).then_some(Type::Float),
        ("string", [a]) => of(a, &[Type::Int, Type::Float, Type::Text, Type::Bool]).then_some(Type::Text),
        ("math.abs", [a]) => of(a, &[Type::Int, Type::Float]).then(|| a.clone()),
        ("math.ceil" | "math.floor" | "math.round", [a]) => of(a, &[Type::Float]).then_some(Type::Float),
        ("math.greatest" | "math.least", [a, b]) => same(a, b, &[Type::Int, Type::Float]),
        _ => None,
    }
}

fn method(name: &str, args: &[Type]) -> Option<Type> {
    let text = |a: &Type| of(a, &[Type::Text]);
    match (name, args) {
        ("contains" | "startsWith" | "endsWith", [a, b]) => (text(a) && text(b)).then_some(Type::Bool),
        ("lowerAscii" | "upperAscii" | "trim", [a]) => text(a).then_some(Type::Text),
        ("size", [a]) => (matches!(a, Type::List(_)) || text(a)).then_some(Type::Int),
        ("join", [Type::List(item)]) => text(item).then_some(Type::Text),
        ("join", [Type::List(item), separator]) => (text(item) && text(separator)).then_some(Type::Text),
        _ => None,
    }
}

/// Whether it is one of `kinds`, or JSON, which may be any of them.
fn of(found: &Type, kinds: &[Type]) -> bool {
    *found == Type::Any || kinds.contains(found) || kinds.contains(&Type::Any)
}

/// Both of one of these types.
fn same(a: &Type, b: &Type, kinds: &[Type]) -> Option<Type> {
    let fits = of(a, kinds) && of(b, kinds) && a.fits(b);
    fits.then(|| if *a == Type::Any { b.clone() } else { a.clone() })
}

fn refusal(name: &str, member: bool, args: &[Type]) -> String {
    let listed = |types: &[Type]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let operator: String = name.chars().filter(|c| !matches!(c, '_' | '@')).collect();
    let is_operator = name.contains('_') && !name.chars().any(|c| c.is_ascii_alphabetic()) || name == op::IN;
    let known = FUNCTIONS.split(", ").any(|f| f == name);
    match (is_operator, known) {
        (true, _) => {
            let mixed = args.contains(&Type::Int) && args.contains(&Type::Float);
            let hint = if mixed { " (write double(x) to make a float of an integer)" } else { "" };
            format!("{operator:?} does not work on {}{hint}", listed(args))
        }
        (false, true) if member && !args.is_empty() => {
            format!(
                "{name}() of {} does not take {}",
                args[0],
                if args.len() > 1 { listed(&args[1..]) } else { "nothing".to_owned() }
            )
        }
        (false, true) => format!("{name}() does not take {}", listed(args)),
        (false, false) => format!("unknown function {name:?} (one of: {FUNCTIONS})"),
    }
}
