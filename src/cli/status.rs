//! `keld status`: the instances, and their tasks.

use std::process::ExitCode;

use serde_json::Value;

use super::client::Client;
use super::show::{Show, cell};
use super::style::{Ink, offer};
use super::{ABSENT, Output, StatusArgs};
use crate::Result;

/// Moves the cursor home and clears what is below.
const HOME: &str = "\x1b[H\x1b[J";

/// Runs the command.
///
/// # Errors
/// The instance cannot be reached.
pub fn run(args: &StatusArgs) -> Result<ExitCode> {
    let (client, show) = (Client::new(&args.server.url), Show::new(args.server.output));
    loop {
        let cluster = client.get("/v1/cluster")?;
        if args.watch.is_some() && show.output == Output::Table && show.style.colours() {
            offer(HOME)?;
        }
        let goes_on = write(&show, &cluster)?;
        match args.watch {
            Some(every) if goes_on => std::thread::sleep(every),
            _ => return Ok(if is_whole(&cluster) { ExitCode::SUCCESS } else { ExitCode::from(ABSENT) }),
        }
    }
}

/// Whether every partition is worked on.
fn is_whole(cluster: &Value) -> bool {
    let mut tables = cluster["tables"].as_object().into_iter().flatten();
    tables.all(|(_, table)| table["missing_partitions"].as_array().is_some_and(Vec::is_empty))
}

fn write(show: &Show, cluster: &Value) -> Result<bool> {
    match show.output {
        Output::Json => show.document(cluster),
        Output::Ndjson => {
            for (instance, task) in tasks(cluster) {
                let mut line = task.clone();
                line["instance"] = instance.into();
                if !show.document(&line)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Output::Table => table(show, cluster),
    }
}

/// Every task, with the name of its instance.
fn tasks(cluster: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let instances = cluster["instances"].as_object().into_iter().flatten();
    instances.flat_map(|(name, i)| i["tasks"].as_array().into_iter().flatten().map(move |task| (name.as_str(), task)))
}

fn table(show: &Show, cluster: &Value) -> Result<bool> {
    let row = |(name, i): (&String, &Value)| {
        let count = |role: &str| {
            let tasks = i["tasks"].as_array().into_iter().flatten();
            tasks.filter(|t| t["role"] == *role).count().to_string()
        };
        let state = if i["alive"] != true {
            "does not answer"
        } else if i["stopping"] == true {
            "stopping"
        } else {
            "alive"
        };
        vec![name.clone(), cell(&i["url"]), state.to_owned(), cell(&i["version"]), count("active"), count("standby")]
    };
    let instances = cluster["instances"].as_object().into_iter().flatten().map(row).collect();
    let head = ["instance", "url", "state", "version", "active", "standby"];
    let mut goes_on = show.table(&head, &[4, 5], instances)? && offer("\n")?;
    let mut all: Vec<(&str, &Value)> = tasks(cluster).collect();
    let order = |(instance, t): &(&str, &Value)| {
        (cell(&t["table"]), t["partition"].as_u64(), cell(&t["role"]), (*instance).to_owned())
    };
    all.sort_by_key(order);
    let row = |(instance, t): (&str, &Value)| {
        let place = format!("{}/{}", cell(&t["table"]), t["partition"]);
        let (lag, late) = (cell(&t["lag"]), format!("{} ms", t["lag_ms"]));
        vec![place, instance.to_owned(), cell(&t["role"]), phase(&t["phase"]), cell(&t["changelog"]), lag, late]
    };
    let head = ["task", "instance", "role", "phase", "changelog", "lag", "late"];
    goes_on &= show.table(&head, &[4, 5, 6], all.into_iter().map(row).collect())?;
    for (name, table) in cluster["tables"].as_object().into_iter().flatten() {
        for (what, ink) in [("missing_partitions", Ink::Red), ("without_standby", Ink::Yellow)] {
            let partitions = cell(&table[what]);
            let alone = cluster["instances"].as_object().is_some_and(|all| all.len() < 2);
            if partitions.is_empty() || (alone && ink == Ink::Yellow) {
                continue;
            }
            let why = if ink == Ink::Red { "nobody works on partitions" } else { "no standby for partitions" };
            goes_on &= offer(&format!("{}\n", show.style.paint(ink, format!("{name}: {why} {partitions}"))))?;
        }
    }
    Ok(goes_on)
}

/// A phase with what it says of itself.
fn phase(phase: &Value) -> String {
    let mut text = cell(&phase["name"]);
    if let Some(percent) = phase["percent"].as_f64() {
        text += &format!(" {percent} %");
    }
    if let Some(eta) = phase["eta_s"].as_f64() {
        text += &format!(", {eta} s left");
    }
    if let Some(why) = phase["why"].as_str() {
        text += &format!(": {}", super::show::clean(why));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_phase_says_how_far_it_is() {
        let restoring = json!({"name": "restoring", "percent": 40.5, "eta_s": 3.0});
        assert_eq!(phase(&restoring), "restoring 40.5 %, 3 s left");
        assert_eq!(phase(&json!({"name": "stopped", "why": "full"})), "stopped: full");
    }

    #[test]
    fn a_cluster_is_whole_if_nothing_is_missing() {
        let cluster = |missing: Value| json!({"tables": {"t": {"missing_partitions": missing}}});
        assert!(is_whole(&cluster(json!([]))) && !is_whole(&cluster(json!([2]))));
    }
}
