use serde_json::{Value, json};

use crate::common::client::Client;

/// Searches in the language of Elasticsearch have the same answer, whoever is asked.
pub(crate) fn answers_are_the_same(alone: &Client, clients: &[Client]) {
    let searches = [
        json!({"query": {"match": {"title": "oak desk"}}, "size": 40}),
        json!({"query": {"bool": {"must": {"multi_match": {"query": "walnut lamp", "fields": ["title^3", "description"]}},
               "filter": {"range": {"qty": {"gte": 3}}}, "should": {"term": {"brand": "acme"}}}}, "size": 30}),
        json!({"query": {"match_phrase": {"description": {"query": "red blue", "slop": 2}}}, "sort": [{"price": "desc"}, "_doc"]}),
        json!({"query": {"dis_max": {"queries": [{"prefix": {"title": "ga"}}, {"fuzzy": {"title": "shelv"}}], "tie_breaker": 0.3}}}),
        json!({"size": 0, "aggs": {"brands": {"terms": {"field": "brand"}, "aggs": {"price": {"stats": {"field": "price"}}}},
               "cheap": {"filter": {"range": {"price": {"lt": 3}}}, "aggs": {"qty": {"avg": {"field": "qty"}},
               "dear": {"top_hits": {"sort": [{"price": "desc"}], "_source": ["title"], "version": true}}}}}}),
        json!({"query": {"query_string": {"query": "oak OR (desk AND brand:bolt)"}}, "highlight": {"fields": {"*": {}}}}),
    ];
    let essence = |mut answer: Value| {
        answer["took"] = 0.into();
        answer
    };
    for search in &searches {
        let expected = essence(alone.post("/es/products/_search", search));
        assert!(expected["hits"]["total"]["value"].as_u64().unwrap() > 0, "{search} finds nothing");
        for client in clients {
            let got = essence(client.post("/es/products/_search", search));
            assert!(got == expected, "{search}\n{got:.2000}\n{expected:.2000}");
        }
    }
    // A scroll that goes on elsewhere.
    let mut page = clients[0].post("/es/products/_search?scroll=1m", &json!({"size": 700}));
    let mut found = 0;
    for client in clients.iter().cycle() {
        let hits = page["hits"]["hits"].as_array().unwrap().len();
        if hits == 0 {
            break;
        }
        found += hits;
        page = client.post("/es/_search/scroll", &json!({"scroll": "1m", "scroll_id": page["_scroll_id"]}));
    }
    assert_eq!(found as u64, page["hits"]["total"]["value"].as_u64().unwrap());
    for key in ["sku-00007", "sku-01234"] {
        let path = format!("/es/products/_doc/{key}");
        let expected = alone.get(&path);
        clients.iter().for_each(|client| assert_eq!(client.get(&path)["_source"], expected["_source"]));
    }
}
