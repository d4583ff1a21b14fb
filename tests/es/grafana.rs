//! The requests of Grafana's Elasticsearch data source, as it sends them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::lab::{Lab, On, loaded};
use crate::common::workload::Workload;

type Record = serde_json::Map<String, Value>;

/// Sends one search as Grafana does; its answer.
fn search(client: &Client, body: &str) -> Value {
    let header = r#"{"ignore_unavailable":true,"index":"flights","search_type":"query_then_fetch"}"#;
    let lines = format!("{header}\n{body}\n");
    let path = "/es/_msearch?max_concurrent_shard_requests=5";
    let (status, answer) = client.try_post(path, "application/x-ndjson", lines.as_bytes()).unwrap();
    assert_eq!((status, &answer["responses"][0]["status"]), (200, &json!(200)), "{body}: {answer}");
    answer["responses"][0].clone()
}

fn moment(record: &Record) -> Option<i64> {
    Some(record.get("sched_dep")?.as_str()?.parse::<Timestamp>().unwrap().as_millisecond())
}

#[test]
fn grafana_gets_its_metrics_its_logs_and_its_variables() {
    let workload = Workload::flights(Some(800), &[]);
    let lab = Lab::new(On::Local, "flights.toml");
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    let client = instance.client();
    let records: Vec<&Record> = workload.expected.values().collect();
    let times: Vec<i64> = records.iter().filter_map(|r| moment(r)).collect();
    let (from, to) = (*times.iter().min().unwrap() + 3_600_000, *times.iter().max().unwrap() - 3_600_000);
    let inside: Vec<&&Record> =
        records.iter().filter(|r| moment(r).is_some_and(|at| (from..=to).contains(&at))).collect();
    assert!(inside.len() > 100, "{} records within the times shown", inside.len());

    // The data source is tried out.
    assert_eq!(client.get("/es/_cluster/health?wait_for_status=yellow")["status"], "green");
    assert_eq!(client.get("/es")["version"]["build_flavor"], "default");
    let mapping = client.get("/es/flights/_mapping");
    assert_eq!(mapping["flights"]["mappings"]["properties"]["sched_dep"]["type"], "date");

    // A graph: by carrier, an hour a point, the largest and the smallest.
    let range = json!({"range": {"sched_dep": {"format": "epoch_millis", "gte": from, "lte": to}}});
    let typed = json!({"query_string": {"analyze_wildcard": true, "query": "status:*"}});
    let body = json!({
        "aggs": {"4": {"aggs": {"2": {
            "aggs": {"1": {"max": {"field": "distance"}}, "3": {"min": {"field": "distance"}}},
            "date_histogram": {"extended_bounds": {"max": to, "min": from}, "field": "sched_dep", "fixed_interval": "3600000ms",
                               "format": "epoch_millis", "min_doc_count": 0}
        }}, "terms": {"field": "carrier", "order": {"_key": "desc"}, "size": 500}}},
        "query": {"bool": {"filter": [range, typed]}}, "size": 0
    });
    let answer = search(&client, &body.to_string());
    let mut expected: BTreeMap<String, BTreeMap<i64, (u64, f64)>> = BTreeMap::new();
    for record in inside.iter().filter(|r| r.contains_key("status") && r.contains_key("carrier")) {
        let hours = expected.entry(record["carrier"].as_str().unwrap().to_owned()).or_default();
        let hour = hours.entry(moment(record).unwrap().div_euclid(3_600_000) * 3_600_000).or_default();
        hour.0 += 1;
        hour.1 = hour.1.max(record.get("distance").and_then(Value::as_f64).unwrap_or(0.0));
    }
    let carriers = answer["aggregations"]["4"]["buckets"].as_array().unwrap();
    let names: Vec<&str> = carriers.iter().map(|b| b["key"].as_str().unwrap()).collect();
    assert_eq!(names, expected.keys().rev().map(String::as_str).collect::<Vec<_>>());
    for carrier in carriers {
        let hours = &expected[carrier["key"].as_str().unwrap()];
        let points = carrier["2"]["buckets"].as_array().unwrap();
        let span = to.div_euclid(3_600_000) - from.div_euclid(3_600_000) + 1;
        assert_eq!(i64::try_from(points.len()).unwrap(), span, "one point for each hour that is shown");
        for point in points {
            let key = point["key"].as_i64().unwrap();
            assert_eq!(point["key_as_string"], key.to_string());
            let (count, longest) = hours.get(&key).copied().unwrap_or_default();
            assert_eq!(point["doc_count"], count, "{carrier}");
            if count > 0 {
                assert_eq!(point["1"]["value"].as_f64(), Some(longest));
            }
        }
    }

    // Logs: the newest first, with highlights; members in the order that Grafana's JSON has.
    let body = format!(
        r#"{{"docvalue_fields":["sched_dep"],"fields":[{{"field":"sched_dep","format":"strict_date_optional_time_nanos"}}],
        "highlight":{{"fields":{{"*":{{}}}},"fragment_size":2147483647,"post_tags":["@/HIGHLIGHT@"],"pre_tags":["@HIGHLIGHT@"]}},
        "query":{{"bool":{{"filter":[{range},{{"query_string":{{"analyze_wildcard":true,"query":"dest_name:*"}}}}]}}}},
        "script_fields":{{}},"size":50,
        "sort":{{"_doc":{{"order":"desc"}},"sched_dep":{{"order":"desc","unmapped_type":"boolean"}}}}}}"#
    );
    let body: String = body.lines().map(str::trim).collect();
    let answer = search(&client, &body);
    let mut wanted: Vec<(i64, &str)> = inside
        .iter()
        .filter(|r| r.contains_key("dest_name"))
        .map(|r| (moment(r).unwrap(), r["flight_id"].as_str().unwrap()))
        .collect();
    wanted.sort_by(|a, b| b.cmp(a));
    let hits = answer["hits"]["hits"].as_array().unwrap();
    let found: Vec<(i64, &str)> =
        hits.iter().map(|h| (h["sort"][0].as_i64().unwrap(), h["_id"].as_str().unwrap())).collect();
    assert_eq!(found, wanted[..50.min(wanted.len())]);
    for hit in hits {
        let shown = hit["fields"]["sched_dep"][0].as_str().unwrap().parse::<Timestamp>().unwrap();
        assert_eq!(shown.as_millisecond(), hit["sort"][0].as_i64().unwrap());
    }
    // The lines behind one of them.
    let after = format!(r#","search_after":{}}}"#, hits[9]["sort"]);
    let next = search(&client, &format!("{}{after}", body.strip_suffix('}').unwrap()));
    assert_eq!(next["hits"]["hits"][0]["_id"], wanted[10].1);

    // A variable.
    let body = r#"{"size":0,"query":{"bool":{"filter":[]}},"aggs":{"1":{"terms":{"field":"origin","size":500,"order":{"_key":"asc"}}}}}"#;
    let answer = search(&client, body);
    let mut origins: Vec<&str> = records.iter().filter_map(|r| r.get("origin")?.as_str()).collect();
    origins.sort_unstable();
    origins.dedup();
    let buckets = answer["aggregations"]["1"]["buckets"].as_array().unwrap();
    assert_eq!(buckets.iter().map(|b| b["key"].as_str().unwrap()).collect::<Vec<_>>(), origins);
    instance.stop();
}
