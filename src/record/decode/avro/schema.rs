//! A writer's schema, compiled: every type has a number, and names are looked up once.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, UuidSchema};

/// Most fields, symbols and types of a schema; beyond it, it is refused.
const MAX_TYPES: usize = 100_000;

/// A writer's schema.
#[derive(Debug)]
pub struct WriterSchema {
    types: Vec<Type>,
    root: usize,
}

/// A type; others are named by their number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// Unscaled bytes; the size if it is fixed, and the digits behind the point.
    Decimal {
        fixed: Option<usize>,
        scale: usize,
    },
    /// Digits with their scale in the message.
    BigDecimal,
    /// Sixteen bytes; the size is not written if they are fixed.
    Uuid {
        fixed: bool,
    },
    Date,
    /// A number of 64 bits, of which so many make a millisecond.
    Timestamp(i64),
    Duration,
    Enum(Vec<String>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(String, usize)>),
    /// A name that is not known yet.
    Unresolved,
}

impl WriterSchema {
    /// Compiles a schema, given as JSON, with those that it refers to.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str, references: &[String]) -> Result<Self, String> {
        let parsed = Schema::parse_str_with_list(text, references);
        let (root, others) = parsed.map_err(|e| e.to_string())?;
        let mut compiler = Compiler::default();
        for schema in &others {
            compiler.add(schema, None)?;
        }
        let root = compiler.add(&root, None)?;
        compiler.finish(root)
    }

    pub(super) fn root(&self) -> &Type {
        self.get(self.root)
    }

    pub(super) fn get(&self, number: usize) -> &Type {
        self.types.get(number).unwrap_or(&Type::Null)
    }
}

#[derive(Default)]
struct Compiler {
    types: Vec<Type>,
    size: usize,
    /// Numbers of named types. A name that is used before it is defined gets its number then.
    names: HashMap<String, usize>,
}

impl Compiler {
    fn finish(self, root: usize) -> Result<WriterSchema, String> {
        let missing = self.names.iter().find(|(_, number)| self.types.get(**number) == Some(&Type::Unresolved));
        match missing {
            Some((name, _)) => Err(format!("the schema names {name:?}, which nobody defines")),
            None => Ok(WriterSchema { types: self.types, root }),
        }
    }

    fn push(&mut self, made: Type) -> Result<usize, String> {
        self.size += match &made {
            Type::Record(fields) => fields.len() + 1,
            Type::Enum(symbols) => symbols.len() + 1,
            _ => 1,
        };
        if self.size > MAX_TYPES {
            return Err(format!("the schema has more than {MAX_TYPES} types and fields"));
        }
        self.types.push(made);
        Ok(self.types.len() - 1)
    }

    /// The number of a named type, known or not.
    fn named(&mut self, name: String) -> Result<usize, String> {
        if let Some(number) = self.names.get(&name) {
            return Ok(*number);
        }
        let number = self.push(Type::Unresolved)?;
        self.names.insert(name, number);
        Ok(number)
    }

    fn define(&mut self, name: String, made: Type) -> Result<usize, String> {
        let number = self.named(name)?;
        self.types[number] = made;
        Ok(number)
    }

    fn add(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<usize, String> {
        let made = match schema {
            Schema::Null => Type::Null,
            Schema::Boolean => Type::Boolean,
            Schema::Int | Schema::TimeMillis => Type::Int,
            Schema::Long | Schema::TimeMicros => Type::Long,
            Schema::Float => Type::Float,
            Schema::Double => Type::Double,
            Schema::Bytes => Type::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Type::Text,
            Schema::Uuid(UuidSchema::Bytes) => Type::Uuid { fixed: false },
            Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                return self.define(fixed.name.fullname(namespace), Type::Uuid { fixed: true });
            }
            Schema::Date => Type::Date,
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Type::Timestamp(1),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Type::Timestamp(1_000),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Type::Timestamp(1_000_000),
            Schema::BigDecimal => Type::BigDecimal,
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Type::Decimal { fixed: None, scale: decimal.scale },
                InnerDecimalSchema::Fixed(fixed) => {
                    let made = Type::Decimal { fixed: Some(fixed.size), scale: decimal.scale };
                    return self.define(fixed.name.fullname(namespace), made);
                }
            },
            Schema::Duration(fixed) => return self.define(fixed.name.fullname(namespace), Type::Duration),
            Schema::Fixed(fixed) => return self.define(fixed.name.fullname(namespace), Type::Fixed(fixed.size)),
            Schema::Enum(symbols) => {
                let made = Type::Enum(symbols.symbols.clone());
                return self.define(symbols.name.fullname(namespace), made);
            }
            Schema::Array(array) => Type::Array(self.add(&array.items, namespace)?),
            Schema::Map(map) => Type::Map(self.add(&map.types, namespace)?),
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.add(branch, namespace));
                Type::Union(branches.collect::<Result<_, _>>()?)
            }
            Schema::Ref { name } => return self.named(name.fullname(namespace)),
            Schema::Record(record) => {
                let name = record.name.fully_qualified_name(namespace).into_owned();
                // The number comes first: fields may name the record itself.
                let number = self.named(name.fullname(None))?;
                let field = |field: &apache_avro::schema::RecordField| {
                    Ok::<_, String>((field.name.clone(), self.add(&field.schema, name.namespace())?))
                };
                let fields = record.fields.iter().map(field).collect::<Result<Vec<_>, _>>()?;
                self.size += fields.len();
                self.types[number] = Type::Record(fields);
                return Ok(number);
            }
        };
        self.push(made)
    }
}
