//! `keld tail`: the changes of a table as they are committed. What breaks off goes on behind the last change.

use std::io::BufRead;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, escape, query, was_silent};
use super::show::{Show, cell, clean};
use super::style::{Ink, note, offer};
use super::{Output, TailArgs};
use crate::{Error, Kind, Result};

/// Pause before the first attempt to come back; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// What an instance takes for a span between two heartbeats.
const HEARTBEATS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
/// So many of them may be missing; but a busy machine may keep anybody waiting for a while.
const MISSES: u32 = 3;
const LEAST_SILENCE: Duration = Duration::from_secs(2);

/// Runs the command.
///
/// # Errors
/// The request is refused, or the changelog does not reach back to the position.
pub fn run(args: &TailArgs) -> Result<ExitCode> {
    let heartbeat = args.heartbeat.clamp(*HEARTBEATS.start(), *HEARTBEATS.end());
    let mut tail = Tail {
        heartbeat,
        client: Client::new(&args.server.url),
        show: Show::new(args.server.output),
        last: args.from.clone(),
        left: args.number,
        connected: false,
        pause: PAUSE,
    };
    while tail.left != Some(0) {
        match tail.follow(args) {
            Ok(On::Again(why)) => tail.wait(&why)?,
            Ok(On::End) => break,
            // Who has never heard anything has no reason to wait for it.
            Err(e) if tail.connected && may_pass(&e) => tail.wait(&e.to_string())?,
            Err(e) => return Err(e),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn may_pass(e: &Error) -> bool {
    e.kind() == Kind::Refused || e.message().starts_with("no instance answers")
}

/// How a stream goes on.
enum On {
    /// With a new connection; why.
    Again(String),
    /// Not at all: everything that was wanted has come, or nobody reads any more.
    End,
}

struct Tail {
    heartbeat: Duration,
    client: Client,
    show: Show,
    last: Option<String>,
    /// Changes still wanted.
    left: Option<u64>,
    connected: bool,
    pause: Duration,
}

impl Tail {
    fn wait(&mut self, why: &str) -> Result<()> {
        note(&format!("{why}; trying again\n"))?;
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
        Ok(())
    }

    fn follow(&mut self, args: &TailArgs) -> Result<On> {
        let path = path(args, self.heartbeat, self.last.as_deref());
        // Of a peer that vanished without a word nothing is heard any more, not even that it is gone.
        let silence = (self.heartbeat * MISSES).max(LEAST_SILENCE);
        let lines = self.client.stream(&path, silence)?;
        self.connected = true;
        let mut event = Parsed::default();
        for line in lines.lines() {
            let line = match line {
                Ok(line) => line,
                Err(e) if was_silent(&e) => {
                    let silence = humantime::format_duration(silence);
                    return Ok(On::Again(format!("nothing was heard for {silence}, not even a heartbeat")));
                }
                Err(e) => return Ok(On::Again(format!("the connection broke off: {e}"))),
            };
            if !event.take(&line) {
                continue;
            }
            self.last = event.id.clone().or(self.last.take());
            let Some((name, data)) = event.finish() else { continue };
            // A stream that is cut as soon as it begins is not asked for again at once.
            if !matches!(name.as_str(), "hello" | "cut") {
                self.pause = PAUSE;
            }
            if let Some(on) = self.hear(&name, &data)? {
                return Ok(on);
            }
        }
        Ok(On::Again("the connection has ended".to_owned()))
    }

    fn hear(&mut self, name: &str, data: &Value) -> Result<Option<On>> {
        match name {
            "hello" => {
                for warning in data["warnings"].as_array().into_iter().flatten() {
                    note(&format!("note: {}\n", cell(warning)))?;
                }
                Ok(None)
            }
            "cut" if data["reason"] == "gap" => {
                let detail = data["detail"].as_str().unwrap_or("the changelog does not reach back so far");
                // Not to be asked for again.
                Err(Error::bad_request(detail).advise("leave --from out, and read the state anew"))
            }
            "cut" => Ok(Some(On::Again(format!("the stream was cut: {}", cell(&data["detail"]))))),
            change => {
                if !self.change(change, data)? {
                    return Ok(Some(On::End));
                }
                self.left = self.left.map(|n| n.saturating_sub(1));
                Ok((self.left == Some(0)).then_some(On::End))
            }
        }
    }

    /// Shows a change; false if nobody reads any more.
    fn change(&self, name: &str, data: &Value) -> Result<bool> {
        if self.show.output != Output::Table {
            let mut line = json!({ "event": name, "id": self.last });
            if let (Some(line), Some(data)) = (line.as_object_mut(), data.as_object()) {
                line.extend(data.clone());
            }
            return offer(&format!("{line}\n"));
        }
        let ink = match name {
            "entered" => Ink::Green,
            "changed" => Ink::Yellow,
            _ => Ink::Red,
        };
        let at = data["time_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let at = at.map_or_else(String::new, |at| at.strftime("%H:%M:%S%.3f").to_string());
        let fields = data["record"].as_object().into_iter().flatten();
        let fields: Vec<String> = fields.map(|(name, value)| format!("{}={}", clean(name), cell(value))).collect();
        let style = self.show.style;
        let head = format!("{}  {}", style.paint(Ink::Dim, at), style.paint(ink, format!("{name:<8}")));
        offer(&format!("{head}{}  {}\n", style.paint(Ink::Bold, cell(&data["key"])), fields.join(" ")))
    }
}

fn path(args: &TailArgs, heartbeat: Duration, from: Option<&str>) -> String {
    let words = args.query.join(" ");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut pairs: Vec<(String, String)> = Vec::new();
    pairs.extend((!words.is_empty()).then(|| pair("q", &words)));
    pairs.extend(args.filter.iter().map(|f| pair("filter", f)));
    pairs.extend(args.key.iter().map(|k| pair("key", k)));
    pairs.extend(args.fields.iter().map(|f| pair("fields", f)));
    pairs.extend(from.map(|f| pair("from", f)));
    pairs.push(pair("heartbeat", &format!("{}ms", heartbeat.as_millis())));
    format!("/v1/tables/{}/changes?{}", escape(&args.table), query(&pairs))
}

/// An event that is being read, line by line.
#[derive(Debug, Default)]
struct Parsed {
    name: String,
    id: Option<String>,
    data: String,
}

impl Parsed {
    /// Takes a line in; true when the event is complete.
    fn take(&mut self, line: &str) -> bool {
        let value = |value: &str| value.strip_prefix(' ').unwrap_or(value).to_owned();
        match line.split_once(':') {
            None if line.is_empty() => return true,
            Some(("event", name)) => self.name = value(name),
            Some(("id", id)) => self.id = Some(value(id)),
            Some(("data", data)) => self.data.push_str(&value(data)),
            _ => {}
        }
        false
    }

    /// Name and data; `None` where there is nothing to say.
    fn finish(&mut self) -> Option<(String, Value)> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        serde_json::from_str(&data).ok().map(|data| (name, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_line_by_line() {
        let mut event = Parsed::default();
        let text = ": heartbeat\nid: 0:5\n\nevent: changed\nid: 0:6\ndata: {\"key\":\"a: b\"}\n\n";
        let mut seen = Vec::new();
        for line in text.lines() {
            if event.take(line) {
                seen.push((event.id.clone(), event.finish()));
            }
        }
        let data = json!({"key": "a: b"});
        assert_eq!(seen, [(Some("0:5".into()), None), (Some("0:6".into()), Some(("changed".into(), data)))]);
    }
}
