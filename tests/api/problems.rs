//! What is refused: by status, reason, and with advice.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::face::{Answer, Face, MAX_BODY, MAX_HITS, MAX_KEYS};

/// A problem as RFC 9457 has it, with our reason and advice.
fn assert_problem(what: &str, answer: &Answer, status: u16, reason: &str) {
    let body = &answer.body;
    assert_eq!((answer.status, &body["reason"]), (status, &json!(reason)), "{what}: {body}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
    assert_eq!(body["type"], format!("urn:keld:problem:{reason}"), "{what}");
    assert_eq!(body["status"], status, "{what}");
    for member in ["title", "detail", "advice"] {
        assert!(body[member].as_str().is_some_and(|text| text.len() > 5), "{what}: {member}: {body}");
    }
}

#[test]
fn what_is_refused_says_why_and_what_to_do() {
    let face = Face::start();
    let records = "/v1/tables/products/records";
    let search = "/v1/tables/products/search";
    let topic = face.lab.topic("catalog");
    let events = format!("/v1/topics/{topic}/events");
    let too_many_keys = json!({"keys": vec!["k"; MAX_KEYS + 1]}).to_string();
    let too_large = vec![b' '; MAX_BODY + 1];
    let cases: Vec<(&str, String, &[u8], u16, &str)> = vec![
        ("GET", "/v1/tables/nobody".into(), b"", 404, "no_such_table"),
        ("GET", "/v1/tables/nobody/records/x".into(), b"", 404, "no_such_table"),
        ("GET", "/v1/tables/nobody/search".into(), b"", 404, "no_such_table"),
        ("GET", format!("{records}/nobody"), b"", 404, "no_such_record"),
        ("GET", format!("{records}/p5"), b"", 404, "no_such_record"),
        ("GET", "/v1/nothing".into(), b"", 404, "no_such_route"),
        ("GET", "/v2/tables".into(), b"", 404, "no_such_route"),
        ("POST", "/v1/topics/nobody/events".into(), b"{\"sku\":\"x\"}", 404, "no_such_topic"),
        ("DELETE", "/v1/tables".into(), b"", 405, "method_not_allowed"),
        ("PUT", format!("{records}/p1"), b"{}", 405, "method_not_allowed"),
        ("GET", events.clone(), b"", 405, "method_not_allowed"),
        ("POST", "/v1/status".into(), b"", 405, "method_not_allowed"),
        ("GET", format!("{search}?filter=brand:("), b"", 400, "bad_request"),
        ("GET", format!("{search}?filter=nofield:x"), b"", 400, "bad_request"),
        ("GET", format!("{search}?filter=price:cheap"), b"", 400, "bad_request"),
        ("GET", format!("{search}?sort=title"), b"", 400, "bad_request"),
        ("GET", format!("{search}?sort=nofield"), b"", 400, "bad_request"),
        ("GET", format!("{search}?limit=0"), b"", 400, "bad_request"),
        ("GET", format!("{search}?limit={}", MAX_HITS + 1), b"", 400, "bad_request"),
        ("GET", format!("{search}?count=perhaps"), b"", 400, "bad_request"),
        ("GET", format!("{search}?limits=3"), b"", 400, "bad_request"),
        ("GET", format!("{records}/p1?field=title"), b"", 400, "bad_request"),
        ("GET", "/v1/tables?x=1".into(), b"", 400, "bad_request"),
        ("GET", format!("{records}/p1?at_least=yesterday"), b"", 400, "bad_request"),
        ("GET", format!("{records}/p1?at_least=elsewhere:0:1"), b"", 400, "bad_request"),
        ("GET", format!("{records}/p1?at_least={topic}:9:1"), b"", 400, "bad_request"),
        ("GET", format!("{records}/p1?timeout=soon"), b"", 400, "bad_request"),
        ("GET", format!("{records}/p1?stale=perhaps"), b"", 400, "bad_request"),
        ("GET", format!("{records}/%FF"), b"", 400, "bad_request"),
        ("POST", search.into(), b"{\"q\": \"walnut\"", 400, "bad_request"),
        ("POST", search.into(), b"[1]", 400, "bad_request"),
        ("POST", search.into(), b"{\"q\": 7}", 400, "bad_request"),
        ("POST", search.into(), b"{\"query\": \"walnut\"}", 400, "bad_request"),
        ("POST", format!("{records}/get"), b"", 400, "bad_request"),
        ("POST", format!("{records}/get"), b"{\"keys\": []}", 400, "bad_request"),
        ("POST", format!("{records}/get"), too_many_keys.as_bytes(), 400, "bad_request"),
        ("POST", format!("{events}?wait=perhaps"), b"{\"sku\":\"x\"}", 400, "bad_request"),
        ("POST", format!("{events}?key=k"), b"{\"sku\":\"x\"}", 400, "bad_request"),
        ("POST", events.clone(), b"\n\n", 400, "bad_request"),
        ("POST", events.clone(), b"no JSON", 400, "bad_events"),
        ("POST", events, &too_large, 413, "too_large"),
        ("POST", search.into(), &too_large, 413, "too_large"),
    ];
    for (method, path, body, status, reason) in cases {
        let answer = face.ask(method, &path, body);
        assert_problem(&format!("{method} {path}"), &answer, status, reason);
        if status == 405 {
            assert!(answer.headers.contains_key("allow"), "{method} {path}: which methods are there?");
        }
    }
}

#[test]
fn a_wrong_parameter_is_named_with_what_was_expected() {
    let face = Face::start();
    let answer = face.ask("GET", "/v1/tables/products/search?limits=3", b"");
    assert_eq!(answer.body["parameter"], "limits");
    assert!(answer.body["expected"].as_str().unwrap().contains("limit"), "{}", answer.body);
    let answer = face.ask("GET", "/v1/tables/products/search?limit=51", b"");
    assert_eq!(
        (&answer.body["parameter"], &answer.body["expected"]),
        (&json!("limit"), &json!("a whole number from 1 to 50"))
    );
    let answer = face.ask("GET", "/v1/tables/products/search?filter=nofield:x", b"");
    assert!(answer.body["detail"].as_str().unwrap().contains("nofield"), "{}", answer.body);
    let answer = face.ask("GET", "/v1/tables/nobody", b"");
    assert_eq!(answer.body["known"], json!(["products"]));
}

#[test]
fn an_event_that_does_not_come_is_waited_for_and_then_named() {
    let face = Face::start();
    let demand = format!("{}:2:1000000", face.lab.topic("catalog"));
    for path in ["/v1/tables/products/records/p1", "/v1/tables/products/search"] {
        let since = Instant::now();
        let answer = face.ask("GET", &format!("{path}?at_least={demand}&timeout=300ms"), b"");
        assert_problem(path, &answer, 504, "freshness_timeout");
        assert!(since.elapsed() >= Duration::from_millis(300), "{path}: it did not wait");
        assert_eq!(answer.body["at_least"], demand);
        assert!(answer.body["reached"].is_i64(), "{path}: how far is it? {}", answer.body);
    }
}
