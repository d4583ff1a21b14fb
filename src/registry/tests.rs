//! The registry's answers, good and bad, over real HTTP.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use serde_json::{Value, json};

use super::*;
use crate::config::{RegistrySettings, Secret};

#[path = "../../tests/common/registry.rs"]
mod server;
use server::TestRegistry;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn settings(url: String) -> RegistrySettings {
    RegistrySettings { url, username: None, password: Secret::default(), timeout: Duration::from_secs(5) }
}

fn start(settings: &RegistrySettings) -> (Arc<Registry>, Receiver<Option<String>>) {
    let (told, heard) = bounded(64);
    let registry = Registry::start(settings, Box::new(move |trouble| _ = told.send(trouble))).unwrap();
    (registry, heard)
}

/// Waits for an answer about `id`.
fn answer(registry: &Registry, id: u32) -> Lookup {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match registry.schema(id) {
            Lookup::Missing => {
                assert!(Instant::now() < deadline, "no answer about {id}");
                registry.want(id);
                std::thread::sleep(Duration::from_millis(2));
            }
            found => return found,
        }
    }
}

fn record(name: &str) -> Value {
    json!({"type": "record", "name": name, "fields": [{"name": "a", "type": "int"}]})
}

#[test]
fn a_schema_is_asked_for_once_and_known_from_then_on() {
    let server = TestRegistry::start();
    let id = server.register("things-value", &record("R"), json!([]));
    let (registry, heard) = start(&settings(server.url()));
    assert!(matches!(registry.schema(id), Lookup::Missing), "looking does not ask");
    assert_eq!(server.requests("GET"), 0);
    for _ in 0..3 {
        assert!(matches!(answer(&registry, id), Lookup::Known(_)));
        registry.want(id);
    }
    let other = server.register("things-value", &record("S"), json!([]));
    assert!(matches!(answer(&registry, other), Lookup::Known(_)));
    assert_eq!(server.requests(&format!("GET /schemas/ids/{id}")), 1);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok(None));
}

#[test]
fn an_id_that_the_registry_does_not_have_is_refused() {
    let server = TestRegistry::start();
    let (registry, _heard) = start(&settings(server.url()));
    let Lookup::Refused(why) = answer(&registry, 77) else { panic!("a schema that is not there") };
    assert!(why.contains("none of this id"), "{why}");
}

#[test]
fn a_failing_registry_is_asked_again_until_it_answers() {
    let server = TestRegistry::start();
    let id = server.register("s", &record("R"), json!([]));
    let failures =
        [(503, "busy"), (200, "no JSON"), (404, "<html>some other server</html>"), (500, r#"{"error_code":50001}"#)];
    for failure in failures {
        server.fail(Some(failure));
        let (registry, heard) = start(&settings(server.url()));
        registry.want(id);
        for _ in 0..2 {
            let trouble = heard.recv_timeout(PATIENCE).unwrap().expect("trouble is told");
            assert!(trouble.contains(&format!("schema {id}")) && trouble.contains(&server.url()), "{trouble}");
            assert!(matches!(registry.schema(id), Lookup::Missing), "{failure:?} is no answer");
        }
        server.fail(None);
        assert!(matches!(answer(&registry, id), Lookup::Known(_)));
        while heard.recv_timeout(PATIENCE).expect("the end of the trouble is told").is_some() {}
    }
}

#[test]
fn a_registry_that_is_not_there_is_waited_for() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (registry, heard) = start(&settings(format!("http://{gone}")));
    registry.want(1);
    assert!(heard.recv_timeout(PATIENCE).unwrap().is_some());
    assert!(matches!(registry.schema(1), Lookup::Missing));
}

#[test]
fn credentials_are_sent_and_never_shown() {
    let server = TestRegistry::start();
    // `printf 'keld:s3cret:x' | base64`
    server.demand("Basic a2VsZDpzM2NyZXQ6eA==");
    let id = server.register("s", &record("R"), json!([]));
    let right = RegistrySettings {
        username: Some("keld".into()),
        password: Secret::new("s3cret:x".into()),
        ..settings(server.url())
    };
    assert!(!format!("{right:?}").contains("s3cret"));
    let (registry, _heard) = start(&right);
    assert!(matches!(answer(&registry, id), Lookup::Known(_)));
    let wrong = RegistrySettings { password: Secret::new("s3cret".into()), ..right };
    let (registry, heard) = start(&wrong);
    registry.want(id);
    let trouble = heard.recv_timeout(PATIENCE).unwrap().expect("it is not let in");
    assert!(trouble.contains("401") && trouble.contains("schema_registry.password"), "{trouble}");
    assert!(!trouble.contains("s3cret") && !trouble.contains("Basic"), "{trouble}");
}

#[test]
fn schemas_that_refer_to_others_are_put_together() {
    let server = TestRegistry::start();
    server.register("money", &json!({"type": "enum", "name": "shop.Money", "symbols": ["EUR"]}), json!([]));
    let price = json!({"type": "record", "name": "shop.Price", "fields": [{"name": "currency", "type": "shop.Money"}]});
    server.register("a price", &price, json!([{"name": "shop.Money", "subject": "money", "version": 1}]));
    let item = json!({"type": "record", "name": "shop.Item", "fields": [
        {"name": "price", "type": "shop.Price"}, {"name": "old", "type": ["null", "shop.Price"]}]});
    let id = server.register("item", &item, json!([{"name": "shop.Price", "subject": "a price", "version": 1}]));
    let (registry, _heard) = start(&settings(server.url()));
    assert!(matches!(answer(&registry, id), Lookup::Known(_)));
    assert_eq!(server.requests("GET /subjects/a%20price/versions/1"), 1);
}

#[test]
fn what_is_no_avro_schema_is_refused_with_its_reason() {
    let server = TestRegistry::start();
    server
        .post("/subjects/p/versions", &json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}).to_string());
    server.post("/subjects/q/versions", &json!({"schema": "{\"type\":\"recrod\"}"}).to_string());
    let (registry, _heard) = start(&settings(server.url()));
    for (id, word) in [(1, "PROTOBUF"), (2, "cannot be read")] {
        let Lookup::Refused(why) = answer(&registry, id) else { panic!("{id} is of no use") };
        assert!(why.contains(word), "{why}");
    }
}
