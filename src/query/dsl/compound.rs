//! Queries made of queries.

use serde_json::Value;

use super::{Members, Translator, wrong};
use crate::Result;
use crate::query::clause::{Bool, Clause, Least};

/// Most queries of the kind `boosting` within one another: each stands twice for what it holds.
const MOST_BOOSTING: usize = 2;

impl Translator<'_> {
    pub(super) fn bool(&mut self, body: &Value, at: &str, depth: usize) -> Result<Clause> {
        let mut body = self.members(body, at)?;
        let all = Bool {
            must: self.several(&mut body, "must", depth)?,
            filter: self.several(&mut body, "filter", depth)?,
            should: self.several(&mut body, "should", depth)?,
            must_not: self.several(&mut body, "must_not", depth)?,
            least: body.least()?,
        };
        let boost = body.boost()?;
        self.finish(body);
        let is_empty = all.must.is_empty() && all.filter.is_empty() && all.should.is_empty() && all.must_not.is_empty();
        Ok(if is_empty { Clause::All } else { Clause::Bool(all) }.boosted(boost))
    }

    /// One query or a list of them.
    fn several(&mut self, body: &mut Members<'_>, name: &'static str, depth: usize) -> Result<Vec<Clause>> {
        let at = format!("{}.{name}", body.at);
        match body.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let each = items.iter().enumerate();
                each.map(|(i, query)| self.clause(query, &format!("{at}[{i}]"), depth + 1)).collect()
            }
            Some(one) => Ok(vec![self.clause(one, &at, depth + 1)?]),
        }
    }

    fn one(&mut self, body: &mut Members<'_>, name: &'static str, depth: usize) -> Result<Clause> {
        let at = format!("{}.{name}", body.at);
        let query = body.take(name).ok_or_else(|| wrong(&body.at, format_args!("expected {name:?}")))?;
        self.clause(query, &at, depth + 1)
    }

    pub(super) fn constant(&mut self, body: &Value, at: &str, depth: usize) -> Result<Clause> {
        let mut body = self.members(body, at)?;
        let of = Box::new(self.one(&mut body, "filter", depth)?);
        let score = body.boost()?;
        self.finish(body);
        Ok(Clause::Constant { of, score })
    }

    pub(super) fn best(&mut self, body: &Value, at: &str, depth: usize) -> Result<Clause> {
        let mut body = self.members(body, at)?;
        let of = self.several(&mut body, "queries", depth)?;
        let tie_breaker = body.number("tie_breaker")?.unwrap_or(0.0);
        let boost = body.boost()?;
        self.finish(body);
        Ok(Clause::Best { of, tie_breaker }.boosted(boost))
    }

    /// `positive` decides what is found; what `negative` holds of counts less.
    pub(super) fn boosting(&mut self, body: &Value, at: &str, depth: usize) -> Result<Clause> {
        if self.boosting >= MOST_BOOSTING {
            return Err(wrong(at, format_args!("expected at most {MOST_BOOSTING} of them within one another")));
        }
        self.boosting += 1;
        let mut body = self.members(body, at)?;
        let positive = self.one(&mut body, "positive", depth)?;
        let negative = self.one(&mut body, "negative", depth)?;
        self.boosting -= 1;
        let less = body.number("negative_boost")?.ok_or_else(|| wrong(at, "expected \"negative_boost\""))?;
        let boost = body.boost()?;
        self.finish(body);
        let with = Bool { must: vec![positive.clone()], filter: vec![negative.clone()], ..Bool::default() };
        let without = Bool { must: vec![positive], must_not: vec![negative], ..Bool::default() };
        let either = vec![Clause::Bool(without), Clause::Bool(with).boosted(less)];
        Ok(Clause::any_of(either).boosted(boost))
    }
}

impl Members<'_> {
    pub(super) fn least(&mut self) -> Result<Option<Least>> {
        let Some(text) = self.text("minimum_should_match")? else { return Ok(None) };
        Least::parse(&text).map(Some).map_err(|what| wrong(&self.at, format_args!("minimum_should_match: {what}")))
    }
}
