//! The parts of Keld that need neither RocksDB nor librdkafka, and what the fuzz targets share.

pub mod ask;
#[path = "../../src/clock.rs"]
pub mod clock;
#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/fault.rs"]
pub mod fault;
#[path = "../../src/index/mod.rs"]
pub mod index;
#[path = "../../src/metrics/mod.rs"]
pub mod metrics;
#[path = "../../src/priority.rs"]
pub mod priority;
#[path = "../../src/record/mod.rs"]
pub mod record;

mod indexed;
mod tables;

/// The languages of Keld's queries; the rest of its queries needs tasks.
#[expect(dead_code, reason = "the rest of Keld's queries uses what is not used here")]
#[path = "../../src/query"]
pub mod query {
    pub mod aggs;
    pub mod clause;
    mod dates;
    pub mod dsl;
    pub mod parse;
    mod terms;

    pub use clause::Clause;

    use crate::Result;
    use crate::index::syntax::Query;
    use crate::index::{Stop, View};

    /// The query of a clause.
    pub fn compile(view: &View, clause: &Clause, spent: &mut parse::Spent) -> Result<Box<dyn Query>> {
        clause::compile(view, clause, spent).map(|parsed| parsed.query)
    }

    /// How many documents all of these clauses hold for.
    pub fn count(view: &View, all: Vec<Clause>) -> Result<u64> {
        let all = Clause::Bool(clause::Bool { filter: all, ..clause::Bool::default() });
        let query = compile(view, &all, &mut parse::Spent::default())?;
        Ok(view.summarise(query.as_ref(), &[], None, &Stop::default())?.total)
    }

    /// What the documents that match contribute to the aggregations of `request`.
    pub fn aggregate(
        view: &View,
        query: Box<dyn Query>,
        request: &serde_json::Value,
        max_buckets: u32,
        spent: &mut parse::Spent,
    ) -> Result<aggs::AggPartial> {
        let (_, partial) = aggs::collect(view, query, &[], Some(request), max_buckets, &Stop::default(), spent)?;
        Ok(partial.unwrap_or_default())
    }
}

/// Of what Keld answers over HTTP, the aggregations of Elasticsearch: they are pure.
#[path = "../../src/api"]
pub mod api {
    pub mod problem {
        /// What is wrong with a request.
        #[derive(Debug)]
        pub struct Problem(pub String);

        impl From<crate::Error> for Problem {
            fn from(error: crate::Error) -> Self {
                assert_eq!(error.kind(), crate::Kind::BadRequest, "{error}");
                Self(error.message().to_owned())
            }
        }
    }

    pub mod es {
        use serde_json::Value;

        use crate::index::Fields;
        use crate::query::dsl::Translator;

        mod aggs;

        mod body {
            pub(super) fn wrong(what: &str) -> super::super::problem::Problem {
                super::super::problem::Problem(what.to_owned())
            }
        }

        /// Aggregations as they are asked for here, and how they are shown.
        pub struct Adapted(aggs::Adapted);

        impl Adapted {
            /// As they are asked for here.
            pub fn request(&self) -> &Value {
                &self.0.request
            }

            /// Makes of a result what clients expect.
            pub fn show(&self, result: Value, typed: bool) -> Value {
                self.0.shape(result, typed)
            }
        }

        /// Reads aggregations at a moment; what was expected, where they are not understood.
        pub fn adapt(fields: &Fields, asked: &Value, now_ms: i64) -> Result<Option<Adapted>, String> {
            let mut translator = Translator::new(fields, now_ms);
            match aggs::adapt(asked, fields, now_ms, &mut translator) {
                Ok(adapted) => Ok(adapted.map(Adapted)),
                Err(problem) => Err(problem.0),
            }
        }
    }
}

/// All that the index takes from the broker.
pub mod broker {
    /// A place in a log.
    pub type Offset = i64;
}

pub use error::{Error, Kind, Reaction, Result};
pub use indexed::view;
pub use tables::{All, decode, encoded, everything, raw};
