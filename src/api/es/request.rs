//! From the URL and the body of a search to what is searched and how it is shown. Pure but for the definition of the table.

use axum::http::Uri;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::params::Params;
use super::super::problem::Problem;
use super::aggs::{self, Adapted};
use super::body::{Body, wrong};
use super::render::{Highlight, Source, Wanted, commas};
use super::sort::Order;
use crate::config::ApiSettings;
use crate::index::Fields;
use crate::query::clause::Clause;
use crate::query::dsl::Translator;
use crate::query::{Count, SearchRequest, order};

/// Most hits where a search does not say.
const DEFAULT_SIZE: usize = 10;
/// Parts of a search that would change what is found, and are not understood: to pass over them would be to lie.
const REFUSED: &[&str] = &[
    "min_score",
    "collapse",
    "knn",
    "rescore",
    "slice",
    "suggest",
    "retriever",
    "rank",
    "script_fields",
    "runtime_mappings",
];
/// Parts that change nothing here.
const MEANINGLESS: &[&str] = &[
    "timeout",
    "terminate_after",
    "track_scores",
    "profile",
    "stats",
    "ext",
    "stored_fields",
    "batched_reduce_size",
    "include_named_queries_score",
];

/// What the URL says of a search.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Url {
    /// As it was.
    pub(super) text: String,
    from: Option<usize>,
    size: Option<usize>,
    sort: Option<String>,
    q: Option<Value>,
    source: Option<Source>,
    docvalue_fields: Vec<String>,
    track_total_hits: Option<Value>,
    version: bool,
    seq_no: bool,
    explain: bool,
    /// Whether names of aggregations have their kind in front.
    pub(super) typed_keys: bool,
    /// Whether totals are plain numbers.
    pub(super) plain_totals: bool,
    /// Whether tables that are not there hold nothing.
    pub(super) lenient: bool,
    /// Whether an answer without some partitions will do.
    pub(super) partial: bool,
    /// Whether the search is the first page of a scroll.
    pub(super) scroll: bool,
}

impl Url {
    /// Reads a URL; what it does not know is passed over.
    pub(super) fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut params = Params::from_uri(uri)?;
        let switch = |params: &mut Params, name| match params.text(name)?.as_deref() {
            None => Ok(None),
            Some("" | "true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(wrong(&format!("{name}: found {other:?}, expected true or false"))),
        };
        let number = |params: &mut Params, name| match params.text(name)? {
            None => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|_| wrong(&format!("{name}: found {text:?}, expected a number")))
            }
        };
        let q = match params.text("q")? {
            None => None,
            Some(text) => {
                let mut body = json!({"query": text});
                for (name, member) in
                    [("df", "default_field"), ("default_operator", "default_operator"), ("lenient", "lenient")]
                {
                    if let Some(value) = params.text(name)? {
                        body[member] = value.into();
                    }
                }
                Some(json!({"query_string": body}))
            }
        };
        let mut source = params.text("_source")?.as_deref().map(Source::of_url);
        for name in ["_source_includes", "_source_excludes"] {
            if let Some(text) = params.text(name)? {
                let source = source.get_or_insert_with(Source::default);
                let into = if name == "_source_includes" { &mut source.includes } else { &mut source.excludes };
                into.extend(commas(&text));
            }
        }
        Ok(Self {
            text: uri.to_string(),
            from: number(&mut params, "from")?,
            size: number(&mut params, "size")?,
            sort: params.text("sort")?,
            q,
            source,
            docvalue_fields: params.text("docvalue_fields")?.as_deref().map(commas).unwrap_or_default(),
            track_total_hits: params
                .text("track_total_hits")?
                .map(|text| serde_json::from_str(&text).unwrap_or(Value::Null)),
            version: switch(&mut params, "version")?.unwrap_or(false),
            seq_no: switch(&mut params, "seq_no_primary_term")?.unwrap_or(false),
            explain: switch(&mut params, "explain")?.unwrap_or(false),
            typed_keys: switch(&mut params, "typed_keys")?.unwrap_or(false),
            plain_totals: switch(&mut params, "rest_total_hits_as_int")?.unwrap_or(false),
            lenient: switch(&mut params, "ignore_unavailable")?.unwrap_or(false),
            partial: switch(&mut params, "allow_partial_search_results")?.unwrap_or(true),
            scroll: params.text("scroll")?.is_some(),
        })
    }

    /// What the URL says of the shape of one record.
    pub(super) fn source(&self) -> Source {
        self.source.clone().unwrap_or_default()
    }
}

/// Takes the query of a body, or that of the URL.
pub(super) fn query(body: &mut Body, url: &Url, translator: &mut Translator<'_>) -> Result<Option<Clause>, Problem> {
    let given: Option<Value> = body.take("query")?;
    // As elsewhere, the URL goes before the body.
    let query = url.q.as_ref().or(given.as_ref());
    Ok(query.map(|query| translator.query(query)).transpose()?)
}

/// A search, and how its answer is shown.
#[derive(Debug)]
pub(super) struct Search {
    /// What is searched.
    pub(super) request: SearchRequest,
    /// Hits that are left out at the beginning.
    pub(super) from: usize,
    /// What narrows the hits, but not the aggregations.
    pub(super) post_filter: Option<Clause>,
    pub(super) order: Order,
    pub(super) source: Source,
    pub(super) fields: Vec<Wanted>,
    pub(super) highlight: Option<Highlight>,
    pub(super) aggs: Option<Adapted>,
    pub(super) versions: bool,
    pub(super) seq_no: bool,
    /// What was passed over.
    pub(super) warnings: Vec<String>,
}

/// How a search pages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Paging {
    /// By `from` or `search_after`.
    Plain,
    /// In a point in time: the key of a hit stands behind its sort values.
    PointInTime,
    /// By scroll ids: in the order of keys, if in no other.
    Scroll,
}

impl Search {
    /// Reads a search at a moment.
    pub(super) fn read(
        mut body: Body,
        url: &Url,
        fields: &Fields,
        paging: Paging,
        now_ms: i64,
        api: &ApiSettings,
    ) -> Result<Self, Problem> {
        let mut translator = Translator::new(fields, now_ms);
        let clause = query(&mut body, url, &mut translator)?;
        let post_filter: Option<Value> = body.take("post_filter")?;
        let post_filter = post_filter.map(|query| translator.query(&query)).transpose()?;
        let aggs: Option<Value> = match body.take("aggs")? {
            Some(aggs) => Some(aggs),
            None => body.take("aggregations")?,
        };
        let aggs = aggs.map(|asked| aggs::adapt(&asked, fields, now_ms, &mut translator)).transpose()?.flatten();
        let mut warnings = translator.warnings;
        refuse(&mut body)?;
        let order = read_order(&mut body, url, fields, paging)?;
        let (from, limit) = window(&mut body, url, paging, api)?;
        let source = body.take("_source")?.or_else(|| url.source.clone()).unwrap_or_default();
        let source = Source::checked(source)?;
        let mut wanted: Vec<Value> = body.take("fields")?.unwrap_or_default();
        wanted.extend(body.take::<Vec<Value>>("docvalue_fields")?.unwrap_or_default());
        wanted.extend(url.docvalue_fields.iter().map(|name| name.as_str().into()));
        let wanted = Wanted::read(&wanted)?;
        let highlight: Option<Value> = body.take("highlight")?;
        let highlight = highlight.map(|asked| Highlight::read(&asked, fields, &mut warnings)).transpose()?;
        let versions = body.take("version")?.unwrap_or(url.version);
        let mut request = SearchRequest {
            clause,
            sort: order.keys(),
            limit,
            fields: if wanted.is_empty() { source.members() } else { None },
            highlight: highlight.as_ref().map(|h| h.fields.clone()).unwrap_or_default(),
            highlight_length: highlight.as_ref().and_then(|h| h.length),
            versions,
            explain: body.take("explain")?.unwrap_or(url.explain),
            count: counted(&mut body, url)?,
            aggs: aggs.as_ref().map(|aggs| aggs.request.clone()),
            max_buckets: api.max_buckets,
            ..SearchRequest::default()
        };
        if let Some(after) = body.take::<Vec<Value>>("search_after")? {
            if from > 0 {
                return Err(wrong("`from` parameter must be set to 0 when `search_after` is used"));
            }
            // Without a sort hits are ordered by score.
            let ordering = order_of(fields, &request)?;
            request.after = Some(order.place(&after, &ordering, now_ms)?);
        }
        let seq_no = body.take("seq_no_primary_term")?.unwrap_or(url.seq_no);
        for name in MEANINGLESS {
            body.raw(name);
        }
        warnings.extend(body.rest().map(|(name, _)| format!("{name:?} is not understood and was passed over")));
        Ok(Self {
            request,
            from,
            post_filter,
            order,
            source,
            fields: wanted,
            highlight,
            aggs,
            versions,
            seq_no,
            warnings,
        })
    }
}

fn order_of(fields: &Fields, request: &SearchRequest) -> Result<crate::index::Ordering, Problem> {
    Ok(order(fields, request)?)
}

fn refuse(body: &mut Body) -> Result<(), Problem> {
    for name in REFUSED {
        let Some(raw) = body.raw(name) else { continue };
        if !matches!(raw.get().trim(), "{}" | "[]") {
            return Err(wrong(&format!("{name}: it is not understood here, and would change what is found")));
        }
    }
    Ok(())
}

fn read_order(body: &mut Body, url: &Url, fields: &Fields, paging: Paging) -> Result<Order, Problem> {
    let given: Option<Box<RawValue>> = body.raw("sort");
    let order = match (&url.sort, given) {
        (Some(text), None) => Order::read_url(text, fields)?,
        (_, given) => Order::read(given.as_deref(), fields)?,
    };
    Ok(match paging {
        Paging::Scroll if !order.is_given() => Order::by_key(),
        Paging::PointInTime => order.with_tie_break(),
        _ => order,
    })
}

/// How many hits are left out, and how many are asked for with them.
fn window(body: &mut Body, url: &Url, paging: Paging, api: &ApiSettings) -> Result<(usize, usize), Problem> {
    let from = body.take::<usize>("from")?.or(url.from).unwrap_or(0);
    let size = body.take::<usize>("size")?.or(url.size).unwrap_or_else(|| DEFAULT_SIZE.min(api.max_hits));
    let most = api.max_hits;
    let limit = from.saturating_add(size);
    if limit > most {
        return Err(wrong(&format!(
            "Result window is too large, from + size must be less than or equal to: [{most}] but was [{limit}] \
             (api.max_hits): page with search_after or scroll"
        )));
    }
    if paging == Paging::Scroll && (from > 0 || size == 0) {
        return Err(wrong("a scroll begins at the first hit and has pages of one hit at least"));
    }
    Ok((from, limit))
}

/// Matches are counted exactly unless nobody wants to know.
fn counted(body: &mut Body, url: &Url) -> Result<Count, Problem> {
    let asked = body.take::<Value>("track_total_hits")?.or_else(|| url.track_total_hits.clone());
    match asked {
        None | Some(Value::Bool(true)) => Ok(Count::Exact),
        Some(Value::Bool(false)) => Ok(Count::None),
        Some(number) if number.is_i64() => Ok(Count::Exact),
        Some(other) => Err(wrong(&format!("track_total_hits: found {other}, expected true, false or a number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing;
    use super::*;
    use crate::query::clause::Edge;

    fn read(url: &str, body: &str, paging: Paging) -> Result<Search, Problem> {
        let fields = Fields::new(std::sync::Arc::new(crate::index::testing::def())).unwrap();
        let url = Url::read(&format!("/es/t/_search?{url}").parse().unwrap())?;
        Search::read(Body::read(body.as_bytes())?, &url, &fields, paging, 0, &testing::settings().api)
    }

    #[test]
    fn a_search_is_read_from_url_and_body() {
        let search = read("", "", Paging::Plain).unwrap();
        assert_eq!((search.request.limit, search.from, search.request.count), (10, 0, Count::Exact));
        assert!(search.request.clause.is_none() && search.warnings.is_empty());
        let body = r#"{"from": 5, "size": 7, "query": {"range": {"price": {"gt": 1}}}, "track_total_hits": false,
                       "_source": ["brand"], "sort": [{"price": "desc"}], "nonsense": 1, "timeout": "1s"}"#;
        let search = read("version=true&seq_no_primary_term", body, Paging::Plain).unwrap();
        let range = Clause::Range {
            field: "price".into(),
            lower: Some(Edge { value: "1".into(), inclusive: false }),
            upper: None,
        };
        assert_eq!(search.request.clause, Some(range));
        assert_eq!((search.from, search.request.limit, search.request.count), (5, 12, Count::None));
        assert_eq!(search.request.fields.as_deref(), Some(&["brand".to_owned()][..]));
        assert!(search.versions && search.seq_no);
        assert_eq!(search.warnings.len(), 1, "{:?}", search.warnings);
        let url = read("q=red&df=title&size=3&sort=price:desc&_source=false", "", Paging::Plain).unwrap();
        assert_eq!((url.request.limit, url.request.sort.len(), url.source.off), (3, 1, true));
        assert!(matches!(url.request.clause, Some(Clause::Text(_))));
    }

    #[test]
    fn what_would_change_the_hits_is_refused_if_it_is_not_understood() {
        for name in REFUSED {
            let problem = read("", &format!(r#"{{"{name}": {{"x": 1}}}}"#), Paging::Plain).unwrap_err();
            assert!(problem.body().detail.contains(name));
        }
        assert!(
            read("", r#"{"script_fields": {}, "runtime_mappings": {}}"#, Paging::Plain).unwrap().warnings.is_empty()
        );
        for bad in [
            r#"{"size": 1001}"#,
            r#"{"size": -1}"#,
            r#"{"search_after": [1]}"#,
            &format!(r#"{{"_source": ["a"{}]}}"#, r#", "a""#.repeat(1_024)),
            &format!(r#"{{"fields": ["a"{}]}}"#, r#", "a""#.repeat(1_024)),
            &format!(r#"{{"highlight": {{"fields": [{{"a": {{}}}}{}]}}}}"#, r#", {"a": {}}"#.repeat(1_024)),
            r#"{"from": 1, "sort": "price", "search_after": [1]}"#,
        ] {
            assert!(read("", bad, Paging::Plain).is_err(), "{bad}");
        }
    }

    #[test]
    fn scrolls_go_by_key_and_points_in_time_end_with_it() {
        let scroll = read("", "", Paging::Scroll).unwrap();
        assert_eq!(scroll.request.sort[0].field, "_key");
        assert!(read("", r#"{"from": 1}"#, Paging::Scroll).is_err());
        let pit = read("", r#"{"sort": "price", "search_after": [1.5, "k"]}"#, Paging::PointInTime).unwrap();
        assert_eq!(pit.request.after.unwrap().key, b"k");
    }
}
