//! What the documents that match amount to: how many there are, facets, aggregations. Nothing is scored.

use tantivy::aggregation::agg_req::Aggregations;
use tantivy::aggregation::intermediate_agg_result::{
    IntermediateAggregationResult, IntermediateAggregationResults, IntermediateMetricResult,
};
use tantivy::aggregation::{AggContextParams, AggregationLimitsGuard, AggregationSegmentCollector};
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::query::Weight;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{DocId, Score, SegmentReader, TantivyError};

use super::facets::{Counter, FacetCounts};
use super::stop::Stop;
use crate::record::FieldType;
use crate::{Error, Result};

/// Most memory that aggregations may take in one segment, for each filter of the request, bytes.
const AGGREGATION_MEMORY: u64 = 128 << 20;

/// Aggregations of one search, as the library takes them, with limits.
#[derive(Clone)]
pub struct Aggregator {
    request: Aggregations,
    context: AggContextParams,
}

/// What a part of the documents contributes to aggregations; parts are merged before the result is made.
pub type Partial = IntermediateAggregationResults;

impl std::fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aggregator").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Aggregator {
    /// Reads a request of at most `max_buckets` buckets in the answer.
    pub fn new(request: serde_json::Value, max_buckets: u32) -> Result<Self> {
        let request = serde_json::from_value(request).map_err(|e| Error::bad_request(format!("aggs: {e}")))?;
        let limits = AggregationLimitsGuard::new(Some(AGGREGATION_MEMORY), Some(max_buckets));
        Ok(Self { request, context: AggContextParams::new(limits, TokenizerManager::default()) })
    }

    /// Adds what another part of the documents contributes.
    pub fn merge(into: &mut Partial, other: Partial) -> Result<()> {
        into.merge_fruits(other).map_err(failed)
    }

    /// The least and the largest value that the aggregation `stats` of this name has seen.
    pub fn extremes(partial: &Partial, name: &str) -> Option<(f64, f64)> {
        match partial.get(name)? {
            IntermediateAggregationResult::Metric(IntermediateMetricResult::Stats(stats)) => {
                let stats = stats.finalize();
                stats.min.zip(stats.max)
            }
            _ => None,
        }
    }

    /// The result, as Elasticsearch writes it.
    pub fn finish(self, partial: Partial) -> Result<serde_json::Value> {
        let result = partial.into_final_result(self.request, self.context.limits).map_err(failed)?;
        serde_json::to_value(result).map_err(|e| Error::internal("a result of aggregations does not encode").because(e))
    }
}

/// Whose fault it is that an aggregation fails.
fn failed(e: TantivyError) -> Error {
    match e {
        TantivyError::AggregationError(e) => Error::bad_request(format!("aggs: {e}"))
            .advise("ask for fewer buckets or coarser ones, or narrow the search with filters"),
        TantivyError::InvalidArgument(e) | TantivyError::SchemaError(e) | TantivyError::FieldNotFound(e) => {
            Error::bad_request(format!("aggs: {e}"))
        }
        e => Error::internal("the index cannot aggregate").because(e),
    }
}

/// Collects facets and aggregations.
pub(super) struct Summary<'a> {
    /// Columns and types of the facets.
    pub(super) facets: &'a [(String, FieldType)],
    pub(super) aggregator: Option<&'a Aggregator>,
    pub(super) stop: &'a Stop,
}

/// What the documents that match amount to.
#[derive(Debug, Default)]
pub struct Summed {
    /// How many there are.
    pub total: u64,
    /// Counts of each facet, in the order asked.
    pub facets: Vec<FacetCounts>,
    /// What they contribute to the aggregations.
    pub aggregations: Partial,
}

/// Collects within one segment.
pub(super) struct Part {
    total: u64,
    counters: Vec<Counter>,
    aggregations: Option<AggregationSegmentCollector>,
}

impl SegmentCollector for Part {
    type Fruit = tantivy::Result<Summed>;

    fn collect(&mut self, doc: DocId, _: Score) {
        self.collect_block(&[doc]);
    }

    fn collect_block(&mut self, docs: &[DocId]) {
        self.total += docs.len() as u64;
        for counter in &mut self.counters {
            docs.iter().for_each(|doc| counter.collect(*doc));
        }
        if let Some(aggregations) = &mut self.aggregations
            && !docs.is_empty()
        {
            aggregations.collect_block(docs);
        }
    }

    fn harvest(self) -> Self::Fruit {
        let count = |counter: Counter| {
            let mut counts = FacetCounts::new();
            counter.harvest(&mut counts)?;
            Ok(counts)
        };
        Ok(Summed {
            total: self.total,
            facets: self.counters.into_iter().map(count).collect::<tantivy::Result<_>>()?,
            aggregations: self.aggregations.map(SegmentCollector::harvest).transpose()?.unwrap_or_default(),
        })
    }
}

impl Collector for Summary<'_> {
    type Fruit = Result<Summed>;
    type Child = Part;

    fn for_segment(&self, ord: u32, segment: &SegmentReader) -> tantivy::Result<Part> {
        let open = |(name, kind): &(String, FieldType)| Counter::open(segment, name, *kind);
        let aggregate =
            |a: &Aggregator| AggregationSegmentCollector::from_agg_req_and_reader(&a.request, segment, ord, &a.context);
        Ok(Part {
            total: 0,
            counters: self.facets.iter().map(open).collect::<tantivy::Result<_>>()?,
            aggregations: self.aggregator.map(aggregate).transpose()?,
        })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn collect_segment(
        &self,
        weight: &dyn Weight,
        ord: u32,
        segment: &SegmentReader,
    ) -> tantivy::Result<tantivy::Result<Summed>> {
        let mut part = self.for_segment(ord, segment)?;
        if self.stop.is_raised() {
            return Ok(part.harvest());
        }
        let alive = segment.alive_bitset();
        let mut living = Vec::new();
        weight.for_each_no_score(segment, &mut |docs| {
            if self.stop.is_raised() {
                return;
            }
            match alive {
                None => part.collect_block(docs),
                Some(alive) => {
                    living.clear();
                    living.extend(docs.iter().copied().filter(|doc| alive.is_alive(*doc)));
                    part.collect_block(&living);
                }
            }
        })?;
        Ok(part.harvest())
    }

    fn merge_fruits(&self, parts: Vec<tantivy::Result<Summed>>) -> tantivy::Result<Result<Summed>> {
        let mut sum = Summed { facets: vec![FacetCounts::new(); self.facets.len()], ..Summed::default() };
        for part in parts {
            if let Err(e) = part.map_err(failed).and_then(|part| sum.add(part)) {
                return Ok(Err(e));
            }
        }
        Ok(Ok(sum))
    }
}

impl Summed {
    /// Adds what other documents amount to.
    pub fn add(&mut self, part: Self) -> Result<()> {
        self.total += part.total;
        for (into, counts) in self.facets.iter_mut().zip(part.facets) {
            counts.into_iter().for_each(|(value, n)| *into.entry(value).or_default() += n);
        }
        Aggregator::merge(&mut self.aggregations, part.aggregations)
    }
}

/// Turns an error of preparing aggregations into what it means.
pub(super) fn blame(e: TantivyError, otherwise: impl FnOnce(TantivyError) -> Error) -> Error {
    match e {
        TantivyError::AggregationError(_)
        | TantivyError::InvalidArgument(_)
        | TantivyError::SchemaError(_)
        | TantivyError::FieldNotFound(_) => failed(e),
        e => otherwise(e),
    }
}
