//! The forms in which answers come: lines, tags, compressed, and to pages of other origins.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::face::Face;

/// Status, headers and body, with these headers in the request.
fn ask(
    face: &Face,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true).build();
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", face.instance.address.as_deref().unwrap()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = ureq::Agent::new_with_config(config).run(request.body(body.to_owned()).unwrap()).unwrap();
    let headers = response.headers().iter().map(|(n, v)| (n.as_str().to_owned(), v.to_str().unwrap().to_owned()));
    let headers = headers.collect();
    (response.status().as_u16(), headers, response.body_mut().read_to_vec().unwrap())
}

fn lines(body: &[u8]) -> Vec<Value> {
    std::str::from_utf8(body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_record_that_the_client_has_is_not_sent_again() {
    let face = Face::start();
    let path = "/v1/tables/products/records/p1";
    let (status, headers, _) = ask(&face, "GET", path, &[], "");
    let tag = headers["etag"].clone();
    // Weak: the bytes are others where they are compressed, and the tag is the same.
    assert!(status == 200 && tag.starts_with("W/\"") && tag.len() == 36, "{tag}");
    let (status, packed, body) = ask(&face, "GET", path, &[("accept-encoding", "gzip")], "");
    assert_eq!((status, packed["content-encoding"].as_str(), &packed["etag"]), (200, "gzip", &tag));
    assert!(body.starts_with(&[0x1f, 0x8b]), "{body:?}");
    assert_eq!(headers["cache-control"], "no-cache");
    let (status, headers, body) = ask(&face, "GET", path, &[("if-none-match", &tag)], "");
    assert_eq!((status, headers["etag"].as_str(), body.len()), (304, tag.as_str(), 0));
    assert_eq!(ask(&face, "GET", path, &[("if-none-match", &format!("\"x\", {}", &tag[2..]))], "").0, 304);
    // Another representation is another tag, and so is another record.
    for other in [format!("{path}?fields=price"), format!("{path}?explain=true"), path.replace("p1", "p2")] {
        let (status, headers, _) = ask(&face, "GET", &other, &[("if-none-match", &tag)], "");
        assert_eq!((status, headers["etag"] == tag), (200, false), "{other}");
    }
    assert_eq!(ask(&face, "GET", &path.replace("p1", "nobody"), &[("if-none-match", "*")], "").0, 404);
    // A change of what is shown changes it; an event that is held already does not.
    let event = |v: u32, e: u32, price: f64| json!({"sku": "p1", "v": v, "e": e, "price": price}).to_string();
    let sent = |line: &str| {
        let answer = face.client.ingest(&face.lab.topic("catalog"), line);
        answer["at_least"].as_str().unwrap().to_owned()
    };
    let at = sent(&event(1, 77, 5.0));
    assert_eq!(ask(&face, "GET", &format!("{path}?at_least={at}&timeout=9s"), &[("if-none-match", &tag)], "").0, 304);
    let at = sent(&event(9, 78, 99.0));
    let (status, headers, _) =
        ask(&face, "GET", &format!("{path}?at_least={at}&timeout=9s"), &[("if-none-match", &tag)], "");
    assert_eq!((status, headers["etag"] == tag), (200, false));
    face.instance.stop();
}

#[test]
fn lists_come_a_line_each_to_who_asks_for_lines() {
    let face = Face::start();
    let form = [("accept", "application/x-ndjson"), ("content-type", "application/json")];
    let keys = json!({"keys": ["p2", "nobody", "p1"]}).to_string();
    let cases = [
        ("GET", "/v1/tables/products/search?sort=-price&limit=2", "", "hits"),
        ("POST", "/v1/tables/products/search", r#"{"q":"walnut","facets":["brand"]}"#, "hits"),
        ("GET", "/v1/tables/products/records?limit=3", "", "records"),
        ("POST", "/v1/tables/products/records/get", &keys, "records"),
    ];
    for (method, path, body, list) in cases {
        let (status, headers, text) = ask(&face, method, path, &form, body);
        assert_eq!((status, headers["content-type"].as_str()), (200, "application/x-ndjson"), "{path}");
        assert!(headers["vary"].contains("accept"), "{path}: {headers:?}");
        let mut found = lines(&text);
        let mut summary = found.pop().unwrap()["summary"].take();
        let (_, plain, text) = ask(&face, method, path, &[form[1]], body);
        assert_eq!(plain["content-type"], "application/json");
        let mut whole: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(json!(found), whole[list].take(), "{path}");
        whole.as_object_mut().unwrap().remove(list);
        for all in [&mut summary, &mut whole] {
            all.as_object_mut().unwrap().remove("took_ms");
        }
        assert_eq!(summary, whole, "{path}");
    }
    // What is refused is a problem in any form.
    let (status, headers, _) = ask(&face, "GET", "/v1/tables/products/search?limit=0", &form, "");
    assert_eq!((status, headers["content-type"].as_str()), (400, "application/problem+json"));
    face.instance.stop();
}

#[test]
fn answers_are_compressed_for_who_takes_it() {
    let face = Face::start();
    let path = "/v1/tables/products/search";
    let (_, plain, _) = ask(&face, "GET", path, &[("accept-encoding", "identity")], "");
    assert!(!plain.contains_key("content-encoding"));
    for (encoding, magic) in [("gzip", vec![0x1f_u8, 0x8b]), ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd])] {
        let (_, headers, body) = ask(&face, "GET", path, &[("accept-encoding", encoding)], "");
        assert_eq!(headers["content-encoding"], encoding);
        assert!(body.starts_with(&magic), "{encoding}");
    }
    face.instance.stop();
}

#[test]
fn pages_of_other_origins_read_answers_only_where_the_configuration_says_so() {
    let face = Face::start();
    let (status, headers, _) = ask(&face, "GET", "/v1/tables", &[("origin", "https://shop.internal")], "");
    assert_eq!((status, headers.get("access-control-allow-origin")), (200, None));
    let face = face.restart_with(&["api.cors=https://shop.internal,https://other.internal"]);
    let (_, headers, _) = ask(&face, "GET", "/v1/tables", &[("origin", "https://shop.internal")], "");
    assert_eq!(headers["access-control-allow-origin"], "https://shop.internal");
    assert!(headers["access-control-expose-headers"].contains("etag"), "{headers:?}");
    let (_, headers, _) = ask(&face, "GET", "/v1/tables", &[("origin", "https://evil.internal")], "");
    assert_eq!(headers.get("access-control-allow-origin"), None);
    let preflight = [
        ("origin", "https://shop.internal"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let (status, headers, _) = ask(&face, "OPTIONS", "/v1/tables/products/search", &preflight, "");
    assert_eq!(status, 200);
    assert!(headers["access-control-allow-methods"].contains("POST"), "{headers:?}");
    // Errors too: a page must be able to read why.
    let (status, headers, _) = ask(&face, "GET", "/v1/nothing", &[("origin", "https://shop.internal")], "");
    assert_eq!((status, headers["access-control-allow-origin"].as_str()), (404, "https://shop.internal"));
    face.instance.stop();
}
