use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use serde_json::Value;
use tower::ServiceExt;

use super::testing;
use super::{layers, router};
use crate::query::SearchRequest;

async fn ask(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

async fn json(response: Response<Body>) -> Value {
    serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
}

fn request(method: &str, uri: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(uri).body(body.into()).unwrap()
}

fn app() -> Router {
    router(testing::state(testing::settings()))
}

#[tokio::test]
async fn every_refusal_is_a_problem_that_says_why() {
    let app = app();
    let cases = [
        ("GET", "/nowhere", "", 404, "no_such_route"),
        ("GET", "/v1/nowhere/x", "", 404, "no_such_route"),
        ("DELETE", "/v1/tables", "", 405, "method_not_allowed"),
        ("POST", "/", "", 405, "method_not_allowed"),
        ("GET", "/v1/tables/x", "", 404, "no_such_table"),
        ("GET", "/v1/tables/x/search?q=1", "", 404, "no_such_table"),
        ("GET", "/v1/tables/x/records/k", "", 404, "no_such_table"),
        // The record whose key is `get`, beside `POST …/records/get`.
        ("GET", "/v1/tables/x/records/get", "", 404, "no_such_table"),
        ("DELETE", "/v1/tables/x/records/get", "", 405, "method_not_allowed"),
        ("GET", "/v1/tables?nonsense=1", "", 400, "bad_request"),
        ("GET", "/v1/tables/%FF/search", "", 400, "bad_request"),
        ("POST", "/v1/tables/x/search", "{", 400, "bad_request"),
        ("POST", "/v1/tables/x/records/get", "[]", 400, "bad_request"),
        ("POST", "/v1/topics/x/events", "{}", 404, "no_such_topic"),
        ("GET", "/health/ready?x=1", "", 400, "bad_request"),
    ];
    for (method, uri, body, status, reason) in cases {
        let response = ask(&app, request(method, uri, body)).await;
        assert_eq!(response.status().as_u16(), status, "{method} {uri}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {uri}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers().contains_key("allow"), status == 405, "{method} {uri}");
        let problem = json(response).await;
        assert_eq!((&problem["reason"], &problem["status"]), (&reason.into(), &status.into()), "{method} {uri}");
        assert!(!problem["advice"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_too_large_with_and_without_a_length() {
    let app = app();
    let large = vec![b' '; (64 << 10) + 1];
    // `oneshot` sets no length by itself.
    let response = ask(&app, request("POST", "/v1/tables/x/search", large)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(json(response).await["reason"], "too_large");
    let mut said = request("POST", "/v1/tables/x/search", "");
    said.headers_mut().insert("content-length", "99999999999".parse().unwrap());
    assert_eq!(ask(&app, said).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn uploads_can_be_switched_off() {
    let mut settings = testing::settings();
    settings.api.ingest = false;
    let response = ask(&router(testing::state(settings)), request("POST", "/v1/topics/x/events", "{}")).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn handlers_that_panic_or_linger_answer_problems() {
    let mut api = testing::settings().api;
    api.timeout = std::time::Duration::from_millis(20);
    let routes = Router::new()
        .route("/panic", get(|| async { panic!("as meant") as () }))
        .route("/linger", get(std::future::pending::<()>));
    let app = layers::wrap(routes, &api);
    let panicked = ask(&app, request("GET", "/panic", "")).await;
    assert_eq!(json(panicked).await["reason"], "internal");
    let late = ask(&app, request("GET", "/linger", "")).await;
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(json(late).await["reason"], "timeout");
}

#[tokio::test]
async fn more_requests_than_allowed_are_refused_but_health_answers() {
    let mut api = testing::settings().api;
    api.max_in_flight = 1;
    let gate = Arc::new(tokio::sync::Notify::new());
    let (entered, inside) = (Arc::new(tokio::sync::Notify::new()), Arc::clone(&gate));
    let signal = Arc::clone(&entered);
    let slow = move || async move {
        signal.notify_one();
        inside.notified().await;
    };
    let routes = Router::new().route("/slow", get(slow)).route("/health/live", get(|| async {}));
    let app = layers::wrap(routes, &api);
    let first = tokio::spawn({
        let app = app.clone();
        async move { ask(&app, request("GET", "/slow", "")).await.status() }
    });
    entered.notified().await;
    let second = ask(&app, request("GET", "/slow", "")).await;
    assert_eq!((second.status().as_u16(), &second.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(json(second).await["reason"], "too_many_requests");
    assert_eq!(ask(&app, request("GET", "/health/live", "")).await.status(), StatusCode::OK);
    gate.notify_one();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn answers_carry_a_request_id_and_security_headers_and_are_compressed() {
    let mut asked = request("GET", "/openapi.json", "");
    asked.headers_mut().insert("accept-encoding", "zstd".parse().unwrap());
    asked.headers_mut().insert("x-request-id", "mine-7".parse().unwrap());
    let response = ask(&app(), asked).await;
    let headers = response.headers();
    assert_eq!(
        (&headers["x-request-id"], &headers["content-encoding"]),
        (&"mine-7".parse().unwrap(), &"zstd".parse().unwrap())
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let app = app();
    let first = ask(&app, request("GET", "/health/live", "")).await;
    let second = ask(&app, request("GET", "/health/live", "")).await;
    assert_ne!(first.headers()["x-request-id"], second.headers()["x-request-id"]);
}

#[tokio::test]
async fn health_status_and_metrics_answer_without_tables() {
    let state = testing::state(testing::settings());
    let health = Arc::clone(&state.health);
    let app = router(state);
    assert_eq!(json(ask(&app, request("GET", "/health/ready", "")).await).await["status"], "ready");
    health.set_trouble(Some("no route to host".to_owned()));
    let status = json(ask(&app, request("GET", "/v1/status", "")).await).await;
    assert_eq!((&status["instance"], &status["broker"]["trouble"]), (&"keld-0".into(), &"no route to host".into()));
    assert_eq!(status["memory"]["plan"]["budget"], 256 << 20);
    assert!(status["memory"]["resident"].as_u64().unwrap() > 1 << 20);
    let metrics = ask(&app, request("GET", "/metrics", "")).await;
    let text = to_bytes(metrics.into_body(), 1 << 20).await.unwrap();
    let text = std::str::from_utf8(&text).unwrap();
    assert!(text.contains("keld_memory_bytes{part=\"budget\"} 268435456"), "{text}");
    assert!(text.contains("keld_broker_stat{part=\"log_bytes\"} 4096"), "{text}");
    health.stop();
    let stopping = ask(&app, request("GET", "/health/ready", "")).await;
    assert_eq!(stopping.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(stopping).await["reasons"][0], "the instance is shutting down");
    assert_eq!(ask(&app, request("GET", "/health/live", "")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_description_lists_every_path_and_refers_to_nothing_that_is_missing() {
    let api = json(ask(&app(), request("GET", "/openapi.json", "")).await).await;
    // Those under /es are compared with their routes where they are described.
    let all = api["paths"].as_object().unwrap().keys().map(String::as_str);
    let (es, paths): (BTreeSet<&str>, BTreeSet<&str>) = all.partition(|path| path.starts_with("/es"));
    assert!(es.contains("/es/{index}/_search"), "{es:?}");
    let expected = [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/v1/quarantine",
        "/v1/quarantine/replay",
        "/v1/quarantine/{id}",
        "/v1/cluster",
        "/v1/status",
        "/v1/tables",
        "/v1/tables/{table}",
        "/v1/tables/{table}/changes",
        "/v1/tables/{table}/records",
        "/v1/tables/{table}/records/get",
        "/v1/tables/{table}/records/{key}",
        "/v1/tables/{table}/search",
        "/v1/topics/{topic}/events",
    ];
    assert_eq!(paths, expected.into_iter().collect());
    let mut operations = 0;
    for methods in api["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            operations += 1;
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200") && responses.contains_key("429") && responses.contains_key("504"));
        }
    }
    assert!(operations > 60, "{operations}");
    let mut references = BTreeSet::new();
    collect_references(&api, &mut references);
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        assert!(api.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
    let reasons = api["components"]["schemas"]["Reason"]["enum"].as_array().unwrap();
    assert_eq!(reasons.len(), super::problem::Reason::ALL.len());
}

#[tokio::test]
async fn the_description_says_which_words_numbers_and_bodies_are_taken() {
    let api = json(ask(&app(), request("GET", "/openapi.json", "")).await).await;
    let parameter = |path: &str, name: &str| {
        let all = api["paths"][path]["get"]["parameters"].as_array().unwrap().clone();
        all.into_iter().find(|p| p["name"] == name).unwrap()["schema"].to_string()
    };
    let search = "/v1/tables/{table}/search";
    for (path, name, words) in [
        (search, "stale", r#""enum":["refuse","allow"]"#),
        (search, "count", r#""enum":["exact","none"]"#),
        (search, "partial", r#""enum":["allow","refuse"]"#),
        ("/v1/tables/{table}/records", "stale", r#""enum":["refuse","allow"]"#),
        ("/v1/tables/{table}/records/get", "stale", r#""enum":["refuse","allow"]"#),
        ("/v1/quarantine", "limit", r#""minimum":1"#),
        ("/v1/quarantine", "limit", r#""maximum":1000"#),
    ] {
        let schema = parameter(path, name);
        assert!(schema.contains(words), "{path}: {name}: {schema}");
    }
    // A search may say everything in its URL.
    assert_ne!(api["paths"][search]["post"]["requestBody"]["required"], true);
    assert_eq!(api["paths"]["/v1/tables/{table}/records/get"]["post"]["requestBody"]["required"], true);
    // A value of a field may be anything, not an object only.
    for (schema, member) in [("FacetValue", "value"), ("ExplainedDerivedField", "value"), ("Origin", "value")] {
        let value = &api["components"]["schemas"][schema]["properties"][member];
        assert!(value.is_object() && value["type"].is_null(), "{schema}.{member}: {value}");
    }
    // Members of JSON objects are called by texts, also where they are numbers of partitions.
    let positions = &api["components"]["schemas"]["Positions"];
    assert_eq!(positions["additionalProperties"]["type"], "object", "{positions}");
    assert_ne!(positions["propertyNames"]["type"], "integer", "{positions}");
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.insert(reference.clone());
            }
            members.values().for_each(|v| collect_references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| collect_references(v, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_console_is_served_whole_and_from_here_only() {
    let app = app();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/page");
    let mut folders = vec![root.clone()];
    let mut served = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            if file.is_dir() {
                folders.push(file);
                continue;
            }
            let below = file.strip_prefix(&root).unwrap().to_str().unwrap();
            let path = if below == "index.html" { "/".to_owned() } else { format!("/console/{below}") };
            let response = ask(&app, request("GET", &path, "")).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            let kind = match file.extension().unwrap().to_str().unwrap() {
                "html" => "text/html",
                "css" => "text/css",
                "svg" => "image/svg+xml",
                _ => "text/javascript",
            };
            assert!(response.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            let tag = response.headers()["etag"].clone();
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let text = std::str::from_utf8(&body).unwrap();
            let foreign =
                ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("];
            for foreign in foreign {
                let allowed =
                    foreign == "http://" && text.matches(foreign).count() == text.matches("http://www.w3.org/").count();
                assert!(!text.contains(foreign) || allowed, "{path} contains {foreign}");
            }
            let mut again = request("GET", &path, "");
            again.headers_mut().insert("if-none-match", tag);
            assert_eq!(ask(&app, again).await.status(), StatusCode::NOT_MODIFIED, "{path}");
            served += 1;
        }
    }
    assert!(served > 30, "{served} files");
}

#[tokio::test]
async fn other_instances_have_the_limits_that_clients_have() {
    let app = app();
    let freshness = serde_json::json!({"at_least": [], "timeout": {"secs": 1, "nanos": 0}, "allow_stale": true});
    let scan = serde_json::json!({
        "table": "x", "partitions": [0], "request": {"prefix": "", "after": null, "limit": 1_001, "fields": null},
        "freshness": freshness
    });
    let keys = vec!["a"; 1_001];
    let records = serde_json::json!({
        "table": "x", "partitions": [0], "keys": keys, "wanted": {"fields": null, "explain": false},
        "freshness": freshness
    });
    let search = |change: fn(&mut SearchRequest)| {
        let mut request = SearchRequest { limit: 1_000, max_buckets: 1_000, ..SearchRequest::default() };
        change(&mut request);
        serde_json::json!({"table": "x", "request": request, "freshness": freshness})
    };
    let within = search(|_| {});
    let cases = [
        ("scan", scan, "limit"),
        ("records", records, "keys"),
        ("search", search(|r| r.limit = 1_001), "limit"),
        ("search", search(|r| r.max_buckets = 1_001), "max_buckets"),
        ("statistics", search(|r| r.limit = 1_001), "limit"),
    ];
    for (path, body, parameter) in cases {
        let response = ask(&app, request("POST", &format!("/v1/peer/{path}"), body.to_string())).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(json(response).await["parameter"], parameter, "{path}");
    }
    let response = ask(&app, request("POST", "/v1/peer/search", within.to_string())).await;
    assert_eq!(json(response).await["reason"], "no_such_table");
}
