//! A shop with four products and a deleted one, running.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::lab::{Instance, Lab, On};
use crate::common::workload::Delivery;

/// Largest body that the instance takes, bytes.
pub(crate) const MAX_BODY: usize = 64 << 10;
/// Largest `limit`, most keys.
pub(crate) const MAX_HITS: usize = 50;
pub(crate) const MAX_KEYS: usize = 10;

const CONFIG: &str = r#"
application = "shop"

[instance]
id = "shop-0"

[memory]
budget = "256MiB"

[api]
max_body = "64KiB"
max_hits = 50
max_keys = 10

[tables.products]
key = "sku"
window = { events = 32 }

[tables.products.sources.catalog]
topic = "catalog"
version = "v"
version_kind = "sequence"
event_id = "e"
rank = 20
delete = { field = "deleted", equals = true }

[tables.products.sources.stock]
topic = "stock"
version = "v"
version_kind = "sequence"
event_id = "e"
rank = 10

[tables.products.fields]
title = { type = "text", analysis = { language = "english" }, variants = { start = { edge_grams = [1, 8] } } }
brand = { type = "keyword", facet = true }
price = { type = "float", sort = true }
stock = { type = "integer" }
tags = { type = "keyword", merge = "set" }
sold = { type = "integer", merge = "sum", path = "sold_delta" }
"#;

/// The shop, running.
pub(crate) struct Face {
    pub(crate) lab: Lab,
    pub(crate) instance: Instance,
    pub(crate) client: Client,
}

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// The four products, by price: the dearest first.
pub(crate) fn products() -> [Value; 4] {
    [
        json!({"sku": "p1", "title": "walnut desk", "brand": "oak & co", "price": 120.5, "stock": 3, "tags": ["new", "wood"], "sold": 7}),
        json!({"sku": "p2", "title": "walnut chair", "brand": "acme", "price": 60.25, "stock": 0}),
        json!({"sku": "p3", "title": "steel lamp", "brand": "acme", "price": 20.75}),
        json!({"sku": "p 4/ü", "title": "paper lamp", "brand": "lumen", "price": 9.5, "stock": 40}),
    ]
}

/// Ten events of the catalogue, some of them repeated, late or bad, and one of the stock for each product that has some.
fn events() -> Vec<Delivery> {
    let event = |topic: &str, body: Value| Delivery {
        topic: topic.into(),
        key: body["sku"].as_str().unwrap().into(),
        body: body.to_string(),
    };
    vec![
        event(
            "catalog",
            json!({"sku": "p1", "v": 2, "e": 1, "title": "walnut desk", "brand": "oak & co", "price": 120.5, "sold_delta": 7, "tags": ["wood"]}),
        ),
        event(
            "catalog",
            json!({"sku": "p1", "v": 2, "e": 1, "title": "walnut desk", "brand": "oak & co", "price": 120.5, "sold_delta": 7, "tags": ["wood"]}),
        ),
        event("catalog", json!({"sku": "p1", "v": 1, "e": 2, "title": "desk"})),
        event("catalog", json!({"sku": "p1", "v": 1, "e": 3, "tags": ["new"]})),
        event(
            "catalog",
            json!({"sku": "p2", "v": 1, "e": 4, "title": "walnut chair", "brand": "acme", "price": 60.25}),
        ),
        event("catalog", json!({"sku": "p3", "v": 1, "e": 5, "title": "steel lamp", "brand": "acme", "price": 20.75})),
        event(
            "catalog",
            json!({"sku": "p 4/ü", "v": 1, "e": 6, "title": "paper lamp", "brand": "lumen", "price": 9.5}),
        ),
        event("catalog", json!({"sku": "p5", "v": 1, "e": 7, "title": "walnut shelf", "price": "cheap"})),
        event("catalog", json!({"sku": "p5", "v": 1, "e": 8, "title": "walnut shelf", "price": 1.5})),
        event("catalog", json!({"sku": "p5", "v": 2, "e": 9, "deleted": true})),
        event("stock", json!({"sku": "p1", "v": 1, "e": 1, "stock": 3})),
        event("stock", json!({"sku": "p2", "v": 1, "e": 2, "stock": 0})),
        event("stock", json!({"sku": "p 4/ü", "v": 1, "e": 3, "stock": 40})),
    ]
}

/// What became of these events.
pub(crate) fn accounting() -> Value {
    json!({
        "catalog": {"consumed": 10, "applied": 7, "duplicate": 1, "stale": 1, "quarantined": 1},
        "stock": {"consumed": 3, "applied": 3, "duplicate": 0, "stale": 0, "quarantined": 0},
    })
}

impl Face {
    pub(crate) fn start() -> Self {
        let lab = Lab::with_config(On::Local, CONFIG);
        lab.load(&events());
        Self::of(lab)
    }

    /// Starts it, shows everything.
    fn of(lab: Lab) -> Self {
        let ends = lab.ends(&*lab.broker());
        let mut instance = lab.start();
        instance.wait_caught_up(&ends);
        // The lag is looked at a few times a second.
        instance.wait_for("the lag to be told", |client| {
            let status = client.get("/v1/status");
            status["tasks"].as_array().unwrap().iter().all(|t| t["lag"] == 0).then_some(())
        });
        let client = instance.client();
        Self { lab, instance, client }
    }

    /// Stops it, does something, starts it.
    pub(crate) fn restart(self, meanwhile: impl FnOnce(&Lab)) -> Self {
        self.instance.stop();
        meanwhile(&self.lab);
        Self::of(self.lab)
    }

    /// Stops it, and starts it with these settings, too.
    pub(crate) fn restart_with(self, sets: &[&str]) -> Self {
        self.instance.stop();
        let mut lab = self.lab;
        lab.sets.extend(sets.iter().map(|set| (*set).to_owned()));
        Self::of(lab)
    }

    pub(crate) fn search(&self, query: &str) -> Value {
        self.client.get(&format!("/v1/tables/products/search?{query}"))
    }

    /// Any request, any answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.instance.address.as_deref().unwrap()))
            .body(body)
            .unwrap();
        let mut response =
            ureq::Agent::new_with_config(config).run(request).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let text = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        let headers = response.headers().iter().map(text).collect();
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string().unwrap();
        Answer { status, headers, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) }
    }
}

/// Keys of the hits, in order.
pub(crate) fn keys(answer: &Value) -> Vec<&str> {
    answer["hits"].as_array().unwrap().iter().map(|h| h["key"].as_str().unwrap()).collect()
}
