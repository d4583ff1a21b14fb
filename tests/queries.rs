//! What searches find is what naive evaluation over the expected records finds, and pages hold while records change.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "queries/generate.rs"]
mod generate;
#[path = "queries/naive.rs"]
mod naive;
#[path = "queries/native.rs"]
mod native;
#[path = "queries/paging.rs"]
mod paging;

use common::dice::Dice;
use common::lab::{Instance, Lab, On, loaded};
use common::workload::Workload;
use common::{full_scale, report, scaled};
use generate::{Kind, generate};
use naive::{CATALOG, Catalogue};

/// Queries over each workload, whole.
const QUERIES: usize = 2_000;

/// Fields of `config/flights.toml`.
const FLIGHTS: &[(&str, Kind)] = &[
    ("carrier", Kind::Keyword),
    ("carrier_name", Kind::Text),
    ("flight_no", Kind::Number),
    ("origin", Kind::Keyword),
    ("dest", Kind::Keyword),
    ("dest_name", Kind::Text),
    ("distance", Kind::Number),
    ("sched_dep", Kind::Date),
    ("status", Kind::Keyword),
    ("tailnum", Kind::Keyword),
    ("dep_time", Kind::Date),
    ("dep_delay", Kind::Number),
    ("diverted", Kind::Boolean),
    ("worst_delay", Kind::Number),
    ("model", Kind::Keyword),
    ("notice", Kind::Text),
    ("temp", Kind::Number),
    ("tags", Kind::Keyword),
];

fn run(table: &str, lab: &Lab, workload: &Workload, key: &str, fields: &[(&'static str, Kind)], seed: u64) {
    let ends = loaded(lab, workload);
    let mut instance: Instance = lab.start();
    instance.wait_caught_up(&ends);
    let client = instance.client();
    let catalogue = Catalogue::new(workload, key, fields);
    let mut dice = Dice(seed);
    let (mut found, mut empty) = (0, 0);
    for n in 0..scaled(QUERIES) {
        let query = generate(&mut dice, &catalogue);
        let matched = native::check(&client, table, &catalogue, &query, &format!("seed {seed}, query {n}"));
        found += usize::from(matched > 0);
        empty += usize::from(matched == 0);
    }
    report(&format!("{table}: {found} queries with matches and {empty} without, as naive evaluation has it"));
    assert!(found > empty, "queries that find nothing show nothing");
    instance.stop();
}

#[test]
fn queries_over_the_catalog_find_what_naive_evaluation_finds() {
    let workload = Workload::catalog(scaled(40_000), scaled(8_000), &[]);
    run("products", &Lab::new(On::Local, "catalog.toml"), &workload, "sku", CATALOG, 20_261_126);
}

#[test]
fn queries_over_the_flights_find_what_naive_evaluation_finds() {
    let workload = Workload::flights(Some(if full_scale() { 33_000 } else { 800 }), &[]);
    run("flights", &Lab::new(On::Local, "flights.toml"), &workload, "flight_id", FLIGHTS, 17);
}
