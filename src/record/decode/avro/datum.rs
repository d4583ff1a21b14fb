//! Reads a message by its writer's schema. Whatever the bytes are, it ends: with values, or with what is wrong where.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigInt;

use super::schema::{Type, WriterSchema};
use crate::record::decode::identity::shorten;
use crate::record::event::{Reason, Reject};
use crate::record::value::{Value, sort_last_wins};

/// Most bytes of a decimal: 600 digits.
const MAX_DECIMAL: usize = 256;
/// Values that a message may have whatever its size, for types that take no bytes.
const FREE_VALUES: usize = 10_000;
/// A day, milliseconds.
const DAY_MS: i64 = 86_400_000;

impl WriterSchema {
    /// The members of a message, which must be a record or a map. The message itself is at depth 1.
    pub(in crate::record::decode) fn members(
        &self,
        message: &[u8],
        max_depth: usize,
    ) -> Result<Vec<(String, Value)>, Reject> {
        let values = FREE_VALUES.saturating_add(message.len());
        let mut reader =
            Reader { schema: self, left: message, at: message.len(), values, max_depth, trail: Vec::new() };
        let read = match reader.value(self.root(), 0) {
            Ok(_) if !reader.left.is_empty() => {
                Err((Reason::Undecodable, format!("{} bytes are left behind the record", reader.left.len())))
            }
            Ok(Value::Object(members)) => Ok(members),
            Ok(other) => {
                Err((Reason::Undecodable, format!("expected a record, found {}", shorten(&other.canonical()))))
            }
            Err(what) => Err(what),
        };
        read.map_err(|(reason, detail)| {
            let detail = format!("{detail} (byte {} of the record)", reader.at - reader.left.len());
            Reject { reason, path: reader.trail.join("."), detail }
        })
    }
}

type Refusal = (Reason, String);

struct Reader<'a> {
    schema: &'a WriterSchema,
    left: &'a [u8],
    /// Bytes of the message.
    at: usize,
    /// Values that may still come.
    values: usize,
    max_depth: usize,
    /// Fields on the way to what is read now.
    trail: Vec<&'a str>,
}

fn broken<T>(detail: impl Into<String>) -> Result<T, Refusal> {
    Err((Reason::Undecodable, detail.into()))
}

impl<'a> Reader<'a> {
    fn value(&mut self, kind: &'a Type, depth: usize) -> Result<Value, Refusal> {
        self.values = self.values.checked_sub(1).ok_or((Reason::Undecodable, "more values than bytes".to_owned()))?;
        Ok(match kind {
            Type::Null => Value::Null,
            Type::Boolean => Value::Bool(self.boolean()?),
            Type::Int => Value::Int(self.int()?),
            Type::Long => Value::Int(self.long()?),
            Type::Float => float(f64::from(f32::from_le_bytes(self.array()?)))?,
            Type::Double => float(f64::from_le_bytes(self.array()?))?,
            Type::Text => Value::Str(self.text()?.into()),
            Type::Bytes => bytes(self.sized()?),
            Type::Fixed(size) => bytes(self.take(*size)?),
            Type::Uuid { fixed: true } => uuid(self.array()?),
            Type::Uuid { fixed: false } => match self.sized()?.try_into() {
                Ok(id) => uuid(id),
                Err(_) => return broken("a uuid has sixteen bytes"),
            },
            Type::Decimal { fixed: Some(size), scale } => decimal(self.take(*size)?, *scale)?,
            Type::Decimal { fixed: None, scale } => decimal(self.sized()?, *scale)?,
            Type::BigDecimal => self.big_decimal()?,
            Type::Date => Value::Int(self.int()? * DAY_MS),
            Type::Timestamp(per_ms) => Value::Int(self.long()?.div_euclid(*per_ms)),
            Type::Duration => self.duration()?,
            Type::Enum(symbols) => self.symbol(symbols)?,
            Type::Union(branches) => {
                let branch = self.branch(branches)?;
                self.value(self.schema.get(branch), depth)?
            }
            Type::Array(items) => self.items(*items, self.deeper(depth)?)?,
            Type::Map(values) => self.map(*values, self.deeper(depth)?)?,
            Type::Record(fields) => self.record(fields, self.deeper(depth)?)?,
            Type::Unresolved => return broken("the schema names a type that nobody defines"),
        })
    }

    fn deeper(&self, depth: usize) -> Result<usize, Refusal> {
        let most = self.max_depth;
        if depth < most { Ok(depth + 1) } else { Err((Reason::TooDeep, format!("nested deeper than {most} levels"))) }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Refusal> {
        let Some((taken, left)) = self.left.split_at_checked(n) else {
            return broken(format!("the message ends early: {n} bytes are wanted, {} are left", self.left.len()));
        };
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        self.take(N)?.try_into().or_else(|_| broken("the message ends early"))
    }

    fn boolean(&mut self) -> Result<bool, Refusal> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => broken(format!("{other} is no boolean")),
        }
    }

    /// A zigzag number of at most ten bytes.
    fn long(&mut self) -> Result<i64, Refusal> {
        let mut zigzag: u64 = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            zigzag |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
        }
        broken("a number has more than 64 bits")
    }

    fn int(&mut self) -> Result<i64, Refusal> {
        let found = self.long()?;
        if i32::try_from(found).is_ok() { Ok(found) } else { broken(format!("{found} does not fit 32 bits")) }
    }

    fn size(&mut self) -> Result<usize, Refusal> {
        let found = self.long()?;
        usize::try_from(found).or_else(|_| broken(format!("{found} is no length")))
    }

    fn sized(&mut self) -> Result<&'a [u8], Refusal> {
        let n = self.size()?;
        self.take(n)
    }

    fn text(&mut self) -> Result<&'a str, Refusal> {
        std::str::from_utf8(self.sized()?)
            .or_else(|e| broken(format!("invalid UTF-8 at byte {} of a text", e.valid_up_to())))
    }

    fn symbol(&mut self, symbols: &[String]) -> Result<Value, Refusal> {
        let at = self.size()?;
        match symbols.get(at) {
            Some(symbol) => Ok(Value::Str(symbol.as_str().into())),
            None => broken(format!("symbol {at} of {}", symbols.len())),
        }
    }

    fn branch(&mut self, branches: &[usize]) -> Result<usize, Refusal> {
        let at = self.size()?;
        branches.get(at).copied().map_or_else(|| broken(format!("branch {at} of a union of {}", branches.len())), Ok)
    }

    /// Elements of the next block of an array or map; 0 at the end. A negative count is followed by the block's size.
    fn block(&mut self) -> Result<u64, Refusal> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    fn items(&mut self, kind: usize, depth: usize) -> Result<Value, Refusal> {
        let kind = self.schema.get(kind);
        let mut items = Vec::new();
        loop {
            match self.block()? {
                0 => return Ok(Value::Array(items)),
                // Nothing is allocated by a count: every element must really be there.
                count => (0..count).try_for_each(|_| self.value(kind, depth).map(|item| items.push(item)))?,
            }
        }
    }

    fn map(&mut self, kind: usize, depth: usize) -> Result<Value, Refusal> {
        let kind = self.schema.get(kind);
        let mut members = Vec::new();
        loop {
            match self.block()? {
                0 => return Ok(Value::object(members)),
                count => (0..count).try_for_each(|_| {
                    let name = self.text()?.to_owned();
                    self.value(kind, depth).map(|value| members.push((name, value)))
                })?,
            }
        }
    }

    fn record(&mut self, fields: &'a [(String, usize)], depth: usize) -> Result<Value, Refusal> {
        let mut members = Vec::with_capacity(fields.len());
        for (name, kind) in fields {
            self.trail.push(name);
            members.push((name.clone(), self.value(self.schema.get(*kind), depth)?));
            self.trail.pop();
        }
        sort_last_wins(&mut members);
        Ok(Value::Object(members))
    }

    fn duration(&mut self) -> Result<Value, Refusal> {
        let mut part = || Ok::<_, Refusal>(Value::Int(u32::from_le_bytes(self.array()?).into()));
        let (months, days, millis) = (part()?, part()?, part()?);
        let named = |name: &str, value| (name.to_owned(), value);
        Ok(Value::Object(vec![named("days", days), named("millis", millis), named("months", months)]))
    }

    /// Bytes that hold the unscaled digits with their length, then the scale.
    fn big_decimal(&mut self) -> Result<Value, Refusal> {
        let inner = self.sized()?;
        let outer = std::mem::replace(&mut self.left, inner);
        let digits = self.sized()?;
        let scale = self.size()?;
        self.left = outer;
        if scale > 4 * MAX_DECIMAL {
            return Err((Reason::OutOfRange, format!("a decimal has {scale} digits behind the point")));
        }
        decimal(digits, scale)
    }
}

fn float(value: f64) -> Result<Value, Refusal> {
    if value.is_finite() {
        return Ok(Value::number(value));
    }
    Err((Reason::OutOfRange, format!("{value} is no number that can be kept")))
}

fn bytes(found: &[u8]) -> Value {
    Value::Str(STANDARD.encode(found).into())
}

fn uuid(id: [u8; 16]) -> Value {
    let hex = format!("{:032x}", u128::from_be_bytes(id));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Value::Str(parts.join("-").into())
}

/// All digits of a number in two's complement, with `scale` of them behind the point.
fn decimal(unscaled: &[u8], scale: usize) -> Result<Value, Refusal> {
    if unscaled.len() > MAX_DECIMAL || scale > 4 * MAX_DECIMAL {
        return Err((
            Reason::OutOfRange,
            format!("a decimal of {} bytes, at most {MAX_DECIMAL} are taken", unscaled.len()),
        ));
    }
    let digits = BigInt::from_signed_bytes_be(unscaled).to_string();
    if scale == 0 {
        return Ok(Value::Str(digits.into()));
    }
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    Ok(Value::Str(format!("{sign}{whole}.{rest}").into()))
}
