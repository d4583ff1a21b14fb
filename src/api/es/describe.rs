//! The operations under `/es` in the description of the API: what each is for, what it takes and what it answers. The languages of
//! queries and aggregations are those of Elasticsearch, and not described again.

use serde_json::{Map, Value, json};

use super::super::problem::Reason;

/// What belongs to an operation beside its path.
struct Operation {
    path: &'static str,
    /// `get`, `post`, …
    method: &'static str,
    summary: &'static str,
    /// Names of its parameters in the URL, as in [`parameter`].
    takes: &'static [&'static str],
    /// Name of the schema of its body.
    body: Option<&'static str>,
    /// Name of the schema of its answer.
    answers: &'static str,
}

const fn get(
    path: &'static str,
    takes: &'static [&'static str],
    answers: &'static str,
    summary: &'static str,
) -> Operation {
    Operation { path, method: "get", summary, takes, body: None, answers }
}

const fn post(
    path: &'static str,
    takes: &'static [&'static str],
    body: &'static str,
    answers: &'static str,
    summary: &'static str,
) -> Operation {
    Operation { path, method: "post", summary, takes, body: Some(body), answers }
}

const fn delete(path: &'static str, body: Option<&'static str>, summary: &'static str) -> Operation {
    Operation { path, method: "delete", summary, takes: &[], body, answers: "EsObject" }
}

/// Parameters of a search.
const SEARCH: &[&str] = &[
    "q",
    "df",
    "default_operator",
    "lenient",
    "from",
    "size",
    "sort",
    "_source",
    "_source_includes",
    "_source_excludes",
    "docvalue_fields",
    "track_total_hits",
    "version",
    "seq_no_primary_term",
    "explain",
    "typed_keys",
    "rest_total_hits_as_int",
    "allow_partial_search_results",
    "ignore_unavailable",
    "scroll",
    "at_least",
    "timeout",
    "stale",
];
const SEVERAL: &[&str] = &["typed_keys", "rest_total_hits_as_int", "at_least", "timeout", "stale"];
const COUNT: &[&str] =
    &["q", "df", "default_operator", "lenient", "ignore_unavailable", "at_least", "timeout", "stale"];
const RECORD: &[&str] = &["_source", "_source_includes", "_source_excludes", "at_least", "timeout", "stale"];
const PAGE: &[&str] = &["rest_total_hits_as_int", "at_least", "timeout", "stale"];
const LENIENT: &[&str] = &["ignore_unavailable"];
const LIST: &[&str] = &["format", "h", "v", "ignore_unavailable", "at_least", "timeout", "stale"];
const HEALTH: &[&str] = &["wait_for_status", "ignore_unavailable"];

const OPERATIONS: &[Operation] = &[
    get("/es", &[], "EsObject", "Says which version of Elasticsearch this is like"),
    get("/es/_cluster/health", HEALTH, "EsObject", "Says how the tables are"),
    get("/es/_cluster/health/{index}", HEALTH, "EsObject", "Says how some tables are"),
    get("/es/_cat/indices", LIST, "EsList", "Lists the tables, as text or JSON"),
    get("/es/_cat/indices/{index}", LIST, "EsList", "Lists some tables, as text or JSON"),
    get("/es/_resolve/index/{index}", LENIENT, "EsObject", "Says which tables an expression names"),
    post("/es/_resolve/index/{index}", LENIENT, "EsAnything", "EsObject", "Says which tables an expression names"),
    get("/es/_search", SEARCH, "EsSearchAnswer", "Searches the only table"),
    post("/es/_search", SEARCH, "EsSearch", "EsSearchAnswer", "Searches the only table, or that of a point in time"),
    get("/es/{index}/_search", SEARCH, "EsSearchAnswer", "Searches a table"),
    post("/es/{index}/_search", SEARCH, "EsSearch", "EsSearchAnswer", "Searches a table"),
    post("/es/_msearch", SEVERAL, "EsSearches", "EsAnswers", "Makes several searches"),
    post("/es/{index}/_msearch", SEVERAL, "EsSearches", "EsAnswers", "Makes several searches, of a table by default"),
    get("/es/_msearch", SEVERAL, "EsAnswers", "As by POST; the body is left to clients that can send one"),
    get("/es/{index}/_msearch", SEVERAL, "EsAnswers", "As by POST; the body is left to clients that can send one"),
    get("/es/_count", COUNT, "EsCount", "Counts records of all tables"),
    post("/es/_count", COUNT, "EsQuery", "EsCount", "Counts records of all tables"),
    get("/es/{index}/_count", COUNT, "EsCount", "Counts records"),
    post("/es/{index}/_count", COUNT, "EsQuery", "EsCount", "Counts records"),
    get(
        "/es/_search/scroll",
        &["scroll_id", "rest_total_hits_as_int", "at_least", "timeout", "stale"],
        "EsSearchAnswer",
        "The next page of a scroll",
    ),
    post("/es/_search/scroll", PAGE, "EsScroll", "EsSearchAnswer", "The next page of a scroll"),
    delete("/es/_search/scroll", Some("EsAnything"), "Ends scrolls, of which nothing is kept anyway"),
    get("/es/_search/scroll/{id}", PAGE, "EsSearchAnswer", "The next page of a scroll"),
    post("/es/_search/scroll/{id}", PAGE, "EsAnything", "EsSearchAnswer", "The next page of a scroll"),
    delete("/es/_search/scroll/{id}", None, "Ends a scroll, of which nothing is kept anyway"),
    post(
        "/es/{index}/_pit",
        LENIENT,
        "EsAnything",
        "EsObject",
        "Opens a point in time: a name for the table, no snapshot",
    ),
    delete("/es/_pit", Some("EsAnything"), "Closes a point in time, of which nothing is kept anyway"),
    post(
        "/es/{index}/_search/point_in_time",
        LENIENT,
        "EsAnything",
        "EsObject",
        "Opens a point in time, as OpenSearch has it",
    ),
    delete("/es/_search/point_in_time", Some("EsPits"), "Closes points in time, as OpenSearch has it"),
    delete("/es/_search/point_in_time/_all", None, "Closes all points in time, as OpenSearch has it"),
    get("/es/{index}/_doc/{id}", RECORD, "EsDoc", "Reads a record; 404 says `found: false`. `HEAD`, too"),
    get("/es/{index}/_source/{id}", RECORD, "EsObject", "Reads a record alone. `HEAD`, too"),
    get("/es/_mget", RECORD, "EsDocs", "As by POST; the body is left to clients that can send one"),
    post("/es/_mget", RECORD, "EsIds", "EsDocs", "Reads several records"),
    get("/es/{index}/_mget", RECORD, "EsDocs", "As by POST; the body is left to clients that can send one"),
    post("/es/{index}/_mget", RECORD, "EsIds", "EsDocs", "Reads several records, of a table by default"),
    get("/es/_mapping", LENIENT, "EsObject", "The fields of all tables"),
    get("/es/{index}/_mapping", LENIENT, "EsObject", "The fields of tables"),
    get("/es/{index}/_mappings", LENIENT, "EsObject", "The fields of tables"),
    get("/es/_field_caps", &["fields", "ignore_unavailable"], "EsObject", "What the fields of all tables can do"),
    post(
        "/es/_field_caps",
        &["fields", "ignore_unavailable"],
        "EsFields",
        "EsObject",
        "What the fields of all tables can do",
    ),
    get("/es/{index}/_field_caps", &["fields", "ignore_unavailable"], "EsObject", "What the fields of tables can do"),
    post(
        "/es/{index}/_field_caps",
        &["fields", "ignore_unavailable"],
        "EsFields",
        "EsObject",
        "What the fields of tables can do",
    ),
    get("/es/{index}/_settings", LENIENT, "EsObject", "The settings of tables, as far as there are any"),
    get("/es/{index}", LENIENT, "EsObject", "Fields and settings of tables. `HEAD`, too"),
];

const ABOUT: &str = "The subset of Elasticsearch that is read by its clients and tools. Queries, sorts and aggregations are in its \
    languages; README.md says which parts of them are understood. Members of bodies and parameters that are not known are passed \
    over, those of bodies with a `Warning`. `filter_path` works everywhere. Writes answer 405 and name the topics to produce to.";

/// Adds the operations to a description.
pub(in crate::api) fn describe(api: &mut Value) {
    for operation in OPERATIONS {
        api["paths"][operation.path][operation.method] = described(operation);
    }
    for (name, schema) in schemas() {
        api["components"]["schemas"][name] = schema;
    }
    if let Some(tags) = api["tags"].as_array_mut() {
        tags.push(json!({"name": "elasticsearch", "description": ABOUT}));
    }
}

fn described(operation: &Operation) -> Value {
    let Operation { path, method, summary, takes, body, answers } = operation;
    let within = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let within = within.map(|name| {
        let description = if name == "index" { "A table; elsewhere also a list or pattern of them" } else { "Its id" };
        json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string"}})
    });
    let parameters: Vec<Value> = within.chain(takes.iter().map(|name| parameter(name))).collect();
    let id: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let mut all = json!({
        "tags": ["elasticsearch"], "summary": summary, "operationId": format!("{method}{id}"), "parameters": parameters,
        "responses": responses(answers)
    });
    if let Some(body) = body {
        let kind = if *body == "EsSearches" { "application/x-ndjson" } else { "application/json" };
        let required = !matches!(*body, "EsAnything" | "EsSearch" | "EsQuery" | "EsFields");
        all["requestBody"] = json!({"required": required, "content": {kind: {"schema": refers(body)}}});
    }
    all
}

fn refers(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// The answers of an operation by their status.
fn responses(answers: &str) -> Value {
    let json = |schema: Value| json!({"application/json": {"schema": schema}});
    let mut good = json(refers(answers));
    if answers == "EsList" {
        good["text/plain"] = json!({"schema": {"type": "string"}});
    }
    let mut all = Map::from_iter([("200".to_owned(), json!({"description": "as asked", "content": good}))]);
    for reason in Reason::ALL {
        let status = reason.status().as_u16().to_string();
        let missing = answers == "EsDoc" && status == "404";
        let schema = if missing { json!({"anyOf": [refers("EsDoc"), refers("EsError")]}) } else { refers("EsError") };
        let description = reason.status().canonical_reason().unwrap_or("an error");
        all.entry(status).or_insert_with(|| json!({"description": description, "content": json(schema)}));
    }
    // Of `wait_for_status`.
    all.insert(
        "408".to_owned(),
        json!({"description": "not so, and not waited for", "content": json(refers("EsObject"))}),
    );
    Value::Object(all)
}

/// A parameter in the URL.
fn parameter(name: &str) -> Value {
    let text = || json!({"type": "string"});
    // Without a value it is true.
    let switch = || json!({"type": "string", "enum": ["true", "false", ""]});
    let number = || json!({"type": "integer", "minimum": 0});
    let (schema, description) = match name {
        "q" => (text(), "A query in the grammar of `query_string`; goes before that of the body"),
        "df" => (text(), "The field of words without one"),
        "default_operator" => (text(), "`and`, or `or` (default): how words without an operator are joined"),
        "lenient" => (text(), "`true`: what of `q` does not fit a field is passed over"),
        "from" => (number(), "Hits that are left out at the beginning"),
        "size" => (number(), "Most hits (default 10; with `from` at most `api.max_hits`)"),
        "sort" => (text(), "Fields separated by commas, each with `:asc` or `:desc`"),
        "_source" => (text(), "`false`, or members of the record to show, separated by commas"),
        "_source_includes" => (text(), "Members of the record to show, separated by commas"),
        "_source_excludes" => (text(), "Members of the record not to show, separated by commas"),
        "docvalue_fields" => (text(), "Fields to show beside the record, separated by commas"),
        "track_total_hits" => (text(), "`false`: matches are not counted; else they are, exactly"),
        "version" => (switch(), "Whether hits have the version of their record"),
        "seq_no_primary_term" => (switch(), "Whether hits have a sequence number"),
        "explain" => (switch(), "Whether the first hits say why they have their score"),
        "typed_keys" => (switch(), "Whether names of aggregations have their kind in front"),
        "rest_total_hits_as_int" => (switch(), "Whether totals are numbers, as before version 7"),
        "allow_partial_search_results" => (switch(), "`false`: 503 where a partition does not answer"),
        "ignore_unavailable" => (switch(), "Whether tables that are not there hold nothing, instead of 404"),
        "scroll" => (text(), "Makes this the first page of a scroll; for how long does not matter"),
        "scroll_id" => (text(), "`_scroll_id` of the page before"),
        "fields" => (text(), "Names or patterns of fields, separated by commas (default `*`)"),
        "format" => (text(), "`json` for JSON"),
        "h" => (text(), "Columns, separated by commas"),
        "v" => (text(), "Whether columns have names"),
        "wait_for_status" => (text(), "`green` or `yellow`: 408 where it is not so; nothing is waited for"),
        "at_least" => (text(), "Wait until these events are covered: `topic:partition:offset[,…]`"),
        "timeout" => (text(), "How long to wait for `at_least`, such as `500ms` (default 1 s, at most `api.timeout`)"),
        _ => (
            json!({"type": "string", "enum": ["refuse", "allow"]}),
            "`refuse` (default): 503 when partitions are not running or too far behind; `allow`: what is there",
        ),
    };
    json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
}

/// Schemas of bodies and answers, by name.
fn schemas() -> [(&'static str, Value); 16] {
    let maybe = |kind: &str| json!({"type": [kind, "null"]});
    let list = |of: Value| json!({"type": "array", "items": of});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let count = json!({"type": "integer", "minimum": 0});
    let shards = object(
        &["total", "successful", "failed"],
        json!({"total": count, "successful": count, "skipped": count, "failed": count}),
    );
    let total = json!({"oneOf": [count, object(&["value", "relation"], json!({"value": count, "relation": {"type": "string"}}))]});
    let hit = object(
        &["_index", "_id", "_score"],
        json!({"_index": {"type": "string"}, "_id": {"type": "string"}, "_score": maybe("number"), "_source": {"type": "object"},
               "_version": {"type": "integer"}, "_seq_no": {"type": "integer"}, "_primary_term": {"type": "integer"},
               "fields": {"type": "object"}, "highlight": {"type": "object"}, "sort": list(json!({})), "_explanation": {}}),
    );
    let hits = object(&["max_score", "hits"], json!({"total": total, "max_score": maybe("number"), "hits": list(hit)}));
    let cause = json!({"type": "object", "required": ["type", "reason"],
                       "properties": {"type": {"type": "string"}, "reason": {"type": "string"}}});
    let error = json!({"allOf": [cause, object(&["root_cause"], json!({"root_cause": list(cause)}))]});
    [
        ("EsAnything", json!({"description": "What it is does not matter"})),
        ("EsObject", json!({"type": "object"})),
        ("EsList", list(json!({"type": "object"}))),
        ("EsError", object(&["error", "status"], json!({"error": error, "status": count}))),
        ("EsQuery", object(&[], json!({"query": maybe("object")}))),
        (
            "EsSearch",
            object(
                &[],
                json!({
                    "query": {"type": ["object", "null"], "examples": [{"match": {"title": "walnut desk"}}]},
                    "post_filter": maybe("object"),
                    "aggs": {"type": ["object", "null"], "examples": [{"brands": {"terms": {"field": "brand"}}}]},
                    "from": {"type": ["integer", "null"], "minimum": 0}, "size": {"type": ["integer", "null"], "minimum": 0},
                    "sort": {"examples": [[{"price": "desc"}, "_score"]]}, "search_after": maybe("array"), "_source": {},
                    "fields": maybe("array"), "docvalue_fields": maybe("array"), "highlight": maybe("object"),
                    "track_total_hits": {"type": ["boolean", "integer", "null"]}, "version": maybe("boolean"),
                    "seq_no_primary_term": maybe("boolean"), "explain": maybe("boolean"),
                    "pit": {"type": ["object", "null"], "required": ["id"], "properties": {"id": {"type": "string"}}}
                }),
            ),
        ),
        (
            "EsSearchAnswer",
            object(
                &["took", "timed_out", "_shards", "hits"],
                json!({"took": count, "timed_out": {"type": "boolean"}, "_shards": shards, "hits": hits,
                       "aggregations": {"type": "object"}, "_scroll_id": {"type": "string"}, "pit_id": {"type": "string"}}),
            ),
        ),
        (
            "EsSearches",
            json!({"type": "string", "description": "Two lines for each search: a header, and the search",
                   "examples": ["{\"index\": \"products\"}\n{\"query\": {\"match_all\": {}}}\n"]}),
        ),
        (
            "EsAnswers",
            object(&["took", "responses"], json!({"took": count, "responses": list(json!({"type": "object"}))})),
        ),
        ("EsCount", object(&["count", "_shards"], json!({"count": count, "_shards": shards}))),
        (
            "EsScroll",
            object(
                &["scroll_id"],
                json!({"scroll_id": {"type": "string"}, "scroll": {"description": "For how long does not matter"}}),
            ),
        ),
        (
            "EsPits",
            object(&["pit_id"], json!({"pit_id": {"oneOf": [{"type": "string"}, list(json!({"type": "string"}))]}})),
        ),
        (
            "EsDoc",
            object(
                &["_index", "_id", "found"],
                json!({"_index": {"type": "string"}, "_id": {"type": "string"}, "found": {"type": "boolean"},
                       "_version": {"type": "integer"}, "_seq_no": {"type": "integer"}, "_primary_term": {"type": "integer"},
                       "_source": {"type": "object"}}),
            ),
        ),
        ("EsDocs", object(&["docs"], json!({"docs": list(json!({"type": "object"}))}))),
        (
            "EsIds",
            object(
                &[],
                json!({
                    "ids": {"type": ["array", "null"], "items": {"type": ["string", "integer"]}, "examples": [["sku-1", "sku-2"]]},
                    "docs": {"type": ["array", "null"], "items": {
                        "type": "object", "required": ["_id"],
                        "properties": {"_id": {"type": ["string", "integer"]}, "_index": maybe("string"), "_source": {}}
                    }}
                }),
            ),
        ),
        (
            "EsFields",
            object(
                &[],
                json!({"fields": {"oneOf": [{"type": ["string", "null"]}, list(json!({"type": "string"}))]}, "index_filter": {}}),
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let source = include_str!("mod.rs");
        let routes = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let routes: BTreeSet<&str> = routes.filter(|path| *path != "/es/").collect();
        let described: BTreeSet<&str> = OPERATIONS.iter().map(|operation| operation.path).collect();
        assert_eq!(described, routes);
        assert!(routes.len() > 25, "{routes:?}");
        let mut ids = BTreeSet::new();
        assert!(OPERATIONS.iter().all(|o| ids.insert(described_id(o))), "ids of operations are unique");
    }

    fn described_id(operation: &Operation) -> String {
        described(operation)["operationId"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_an_operation_refers_to_is_there() {
        let schemas = schemas();
        let known: BTreeSet<&str> = schemas.iter().map(|(name, _)| *name).collect();
        for operation in OPERATIONS {
            assert!(known.contains(operation.answers), "{}", operation.path);
            assert!(operation.body.is_none_or(|body| known.contains(body)), "{}", operation.path);
        }
        let used: BTreeSet<&str> = OPERATIONS.iter().flat_map(|o| o.body.into_iter().chain([o.answers])).collect();
        let unused: Vec<&&str> = known.difference(&used).filter(|name| **name != "EsError").collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
