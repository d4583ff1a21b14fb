//! `keld quarantine`: what a running instance refused, and another go for it. Talks HTTP, so it works from anywhere.

mod show;

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use self::show::Show;
use super::args::{QuarantineArgs, QuarantineCommand, QuarantineFilter, QuarantineListArgs, QuarantineReplayArgs};
use super::client::{self, Client};
use crate::{Error, Result, clock};

/// Entries asked for at a time.
const PAGE: usize = 500;
/// Ids replayed at a time.
const IDS: usize = 100;

/// Runs the command.
///
/// # Errors
/// The instance cannot be reached or refuses; some entries cannot be replayed.
pub fn run(args: &QuarantineArgs) -> Result<ExitCode> {
    let client = Client::new(&args.url);
    match &args.command {
        QuarantineCommand::List(list) => entries(&client, list)?,
        QuarantineCommand::Show { id } => {
            let path = format!("/v1/quarantine/{}", client::escape(id));
            Show::whole(&client.get(&path)?)?;
        }
        QuarantineCommand::Replay(again) => replay(&client, again)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn entries(client: &Client, args: &QuarantineListArgs) -> Result<()> {
    let filter = filter(&args.filter, clock::now_ms());
    let (mut shown, mut looked_at, mut cursor) = (0, 0, None);
    let mut show = Show::new();
    loop {
        let mut query: Vec<(String, String)> = filter.iter().map(|(k, v)| (k.clone(), text(v))).collect();
        query.push(("limit".to_owned(), PAGE.min(args.limit - shown).max(1).to_string()));
        query.extend(cursor.map(|c| ("cursor".to_owned(), c)));
        let page = client.get(&format!("/v1/quarantine?{}", client::query(&query)))?;
        looked_at += page["looked_at"].as_u64().unwrap_or(0);
        for entry in page["entries"].as_array().into_iter().flatten() {
            show.entry(entry)?;
            shown += 1;
        }
        cursor = page["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || shown >= args.limit {
            return show.end_of_list(shown, looked_at, cursor.is_some());
        }
    }
}

fn replay(client: &Client, args: &QuarantineReplayArgs) -> Result<()> {
    let filter = filter(&args.filter, clock::now_ms());
    if args.ids.is_empty() && filter.is_empty() {
        return Err(
            Error::bad_request("nothing says which entries").advise("name ids, or --table, --reason or --since")
        );
    }
    let mut show = Show::new();
    let mut done = Done::default();
    for ids in args.ids.chunks(IDS) {
        done.add(&call(client, &json!({ "ids": ids, "dry_run": args.dry_run }), &mut show)?);
    }
    let mut next = args.ids.is_empty().then_some(None);
    while let Some(cursor) = next {
        let mut body = Map::from_iter(filter.clone());
        body.insert("dry_run".to_owned(), args.dry_run.into());
        body.extend(cursor.map(|c: String| ("cursor".to_owned(), Value::from(c))));
        let answer = call(client, &Value::Object(body), &mut show)?;
        done.add(&answer);
        next = answer["cursor"].as_str().map(|c| Some(c.to_owned()));
    }
    show.end_of_replay(done.replayed, done.already, done.refused, args.dry_run)?;
    if done.refused > 0 {
        return Err(Error::refused(format!("{} entries cannot be replayed", done.refused)).advise("see above why"));
    }
    Ok(())
}

fn call(client: &Client, body: &Value, show: &mut Show) -> Result<Value> {
    let answer = client.post("/v1/quarantine/replay", body)?;
    answer["entries"].as_array().into_iter().flatten().try_for_each(|fate| show.fate(fate))?;
    Ok(answer)
}

/// What became of the entries of all calls.
#[derive(Default)]
struct Done {
    replayed: u64,
    already: u64,
    refused: u64,
}

impl Done {
    fn add(&mut self, answer: &Value) {
        let of = |name: &str| answer[name].as_u64().unwrap_or(0);
        self.replayed += of("replayed");
        self.already += of("already");
        self.refused += of("refused");
    }
}

fn filter(args: &QuarantineFilter, now_ms: i64) -> Vec<(String, Value)> {
    let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, now_ms));
    [
        ("table", args.table.clone()),
        ("reason", args.reason.clone()),
        ("from", time(&args.since)),
        ("to", time(&args.until)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
    .collect()
}

/// A span such as `2h` is that long ago; anything else is for the instance to judge.
fn moment(text: &str, now_ms: i64) -> String {
    let ago = humantime::parse_duration(text).ok().and_then(|ago| i64::try_from(ago.as_millis()).ok());
    ago.map_or_else(|| text.to_owned(), |ago| now_ms.saturating_sub(ago).to_string())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_that_long_ago_and_other_times_go_as_they_are() {
        assert_eq!(moment("2s", 10_000), "8000");
        assert_eq!(moment("2026-01-31T12:00:00Z", 10_000), "2026-01-31T12:00:00Z");
        assert_eq!(moment("1767225600000", 10_000), "1767225600000");
    }

    #[test]
    fn what_is_not_said_is_not_asked() {
        let args = QuarantineFilter { reason: Some("too_deep".into()), since: Some("1m".into()), ..Default::default() };
        let expected = [("reason".to_owned(), json!("too_deep")), ("from".to_owned(), json!("40000"))];
        assert_eq!(filter(&args, 100_000), expected);
    }
}
