//! The commands that ask a running instance, as they are typed: in a pipe, and on a terminal.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "changes/scene.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod scene;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::lab::{Instance, Lab, On, PATIENCE, lasting_port};
use crate::scene::shop;

/// What a command wrote, and its exit code.
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.out.lines().map(parse).collect()
    }
}

fn command(instance: &Instance, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keld"));
    command.args(arguments).env_clear().env("KELD_URL", instance.address.as_deref().unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn keld(instance: &Instance, arguments: &[&str]) -> Done {
    let done = command(instance, arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
}

/// A shop of 30 lamps and a desk.
fn start() -> (Lab, Instance) {
    let lab = shop(On::Local);
    let mut instance = lab.start();
    instance.wait_for("to be ready", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    let lamp = |n: u32| json!({"sku": format!("l{n:02}"), "v": 1, "title": "steel lamp", "brand": "acme", "price": n});
    let desk = json!({"sku": "d1", "v": 1, "title": "walnut desk", "brand": "oak", "price": 120, "note": "a\nb"});
    let lines: String = (0..30).map(lamp).chain([desk]).map(|e| format!("{e}\n")).collect();
    instance.client().ingest(&lab.topic("catalog"), &lines);
    instance
        .wait_for("them to be found", |c| (c.get("/v1/tables/products/search?limit=1")["total"] == 31).then_some(()));
    (lab, instance)
}

#[test]
fn records_are_shown_by_their_keys() {
    let (_lab, instance) = start();
    let done = keld(&instance, &["get", "products", "d1", "l07"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let desk = json!({"sku": "d1", "title": "walnut desk", "brand": "oak", "price": 120, "note": "a\nb"});
    assert_eq!(done.lines()[0], json!({"key": "d1", "record": desk}));
    assert_eq!((done.lines().len(), &done.lines()[1]["record"]["price"]), (2, &json!(7)));

    let done = keld(&instance, &["get", "products", "l07", "nobody", "--fields", "price"]);
    assert_eq!(done.code, 3);
    assert_eq!(done.lines()[0], json!({"key": "l07", "record": {"price": 7}}));
    assert!(done.err.contains("nobody"), "{}", done.err);

    let done = keld(&instance, &["get", "products", "d1", "--explain", "-o", "json"]);
    let all: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(all[0]["explain"]["fields"][0]["from"][0]["version"], json!([1]), "{}", done.out);

    let done = keld(&instance, &["get", "products", "d1", "-o", "table"]);
    assert!(done.out.contains("FIELD") && done.out.contains("walnut desk") && done.out.contains("a b"), "{}", done.out);
    assert!(!done.out.contains('\u{1b}'), "no colours in a pipe: {:?}", done.out);

    for (arguments, code, words) in [
        (&["get", "nothing", "d1"] as &[&str], 1, "keld: error: there is no table `nothing` (the tables are products)"),
        (&["get", "products"], 2, "keld: error: "),
        (&["get", "products", "d1", "--url", "http://127.0.0.1:1"], 1, "no instance answers at http://127.0.0.1:1"),
    ] {
        let done = keld(&instance, arguments);
        assert_eq!(done.code, code, "{arguments:?}: {}", done.err);
        assert!(done.err.contains(words) && done.out.is_empty(), "{arguments:?}: {}", done.err);
    }
    instance.stop();
}

#[test]
fn searches_show_hits_facets_and_every_page() {
    let (_lab, instance) = start();
    let done = keld(&instance, &["search", "products", "walnut", "desk"]);
    assert_eq!((done.code, done.lines().len()), (0, 1), "{}", done.err);
    assert!(done.lines()[0]["key"] == "d1" && done.lines()[0]["score"].is_number(), "{}", done.out);

    let sorted = ["search", "products", "--filter", "price:[* TO 9]", "--sort=-price", "--limit", "3"];
    let keys = |done: &Done| done.lines().iter().map(|l| l["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(keys(&keld(&instance, &sorted)), ["l09", "l08", "l07"]);

    let all = keld(&instance, &["search", "products", "lamp", "--sort", "_key", "--all", "--limit", "7"]);
    assert_eq!(keys(&all), (0..30).map(|n| format!("l{n:02}")).collect::<Vec<_>>());

    let aggs = r#"{"dear":{"max":{"field":"price"}}}"#;
    let done = keld(&instance, &["search", "products", "--limit", "1", "--aggs", aggs]);
    assert_eq!(done.lines().last().unwrap()["summary"]["aggs"]["dear"]["value"], json!(120.0), "{}", done.out);

    let done = keld(&instance, &["search", "products", "--sort=-price", "--limit", "2", "-o", "table"]);
    let lines: Vec<&str> = done.out.lines().collect();
    assert!(lines[0].starts_with("KEY") && lines[1].starts_with("d1") && lines[2].starts_with("l29"), "{}", done.out);
    let column = lines[0].find("TITLE").unwrap();
    assert!(lines[1][column..].starts_with("walnut desk") && lines[2][column..].starts_with("steel lamp"));
    assert!(lines.last().unwrap().starts_with("2 of 31 hits"), "{}", done.out);

    let done = keld(&instance, &["search", "products", "--filter", "price:cheap"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("keld: error: filter[0]: ") && done.err.contains("write field:value"), "{}", done.err);
    instance.stop();
}

fn read_line(lines: &mut impl BufRead) -> Value {
    let mut line = String::new();
    assert!(lines.read_line(&mut line).unwrap() > 0, "it ended");
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// Passes connections on to an instance, until it falls silent: then those that are open stay so, and nothing passes any more.
struct Relay {
    address: String,
    silenced: Arc<AtomicUsize>,
}

impl Relay {
    fn to(instance: &Instance) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (silenced, to) = (Arc::new(AtomicUsize::new(0)), instance.address.clone().unwrap());
        let counted = Arc::clone(&silenced);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(to.trim_start_matches("http://")).unwrap());
                let begun = counted.load(Ordering::SeqCst);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to, counted) =
                        (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&counted));
                    std::thread::spawn(move || pass(from, to, || counted.load(Ordering::SeqCst) > begun));
                }
            }
        });
        Self { address, silenced }
    }

    /// Silences the connections that are open.
    fn silence(&self) {
        self.silenced.fetch_add(1, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_silent: impl Fn() -> bool) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut bytes = [0; 4096];
    loop {
        let read = from.read(&mut bytes);
        if is_silent() {
            // Neither end is told.
            std::mem::forget((from, to));
            return;
        }
        match read {
            Ok(0) => return drop(to.shutdown(Shutdown::Write)),
            Ok(n) if to.write_all(&bytes[..n]).is_ok() => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

#[test]
fn a_tail_comes_back_from_a_connection_that_has_died_without_a_word() {
    let lab = shop(On::Local);
    let mut instance = lab.start();
    instance.wait_for("to be ready", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    let relay = Relay::to(&instance);
    let send = |v: u32| {
        let lines = format!("{}\n", json!({"sku": "l1", "v": v, "title": "steel lamp", "price": v}));
        instance.client().ingest(&lab.topic("catalog"), &lines);
    };
    send(1);
    let arguments =
        ["tail", "products", "--from", "beginning", "--heartbeat", "300ms", "-n", "3", "--url", &relay.address];
    let mut tail = command(&instance, &arguments).spawn().unwrap();
    let (to, lines) = std::sync::mpsc::sync_channel(16);
    let out = BufReader::new(tail.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
    let next = |what: &str| -> Value {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("waiting for {what}: {e}"));
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next("the first change")["record"]["price"], 1);
    relay.silence();
    send(2);
    assert_eq!(next("the change behind the silence")["record"]["price"], 2);
    send(3);
    assert_eq!(next("the last change")["record"]["price"], 3);
    let done = tail.wait_with_output().unwrap();
    let err = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{err}");
    assert!(err.contains("nothing was heard for 2s, not even a heartbeat; trying again"), "{err}");
    instance.stop();
}

#[test]
fn a_tail_follows_and_goes_on_when_the_instance_comes_back() {
    let mut lab = shop(On::Local);
    // The same address after a restart.
    let port = lasting_port();
    lab.sets.push(format!("instance.listen=127.0.0.1:{port}"));
    let start = || {
        let mut instance = Instance::new(lab.command("run").spawn().unwrap());
        instance.wait_listening();
        instance.wait_for("to be ready", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
        instance
    };
    let instance = start();
    let send = |instance: &Instance, v: u32| {
        let lines = format!("{}\n", json!({"sku": "l1", "v": v, "title": "steel lamp", "price": v}));
        instance.client().ingest(&lab.topic("catalog"), &lines);
    };
    send(&instance, 1);
    let arguments = [
        "tail",
        "products",
        "lamp",
        "--filter",
        "price:[1 TO 9]",
        "--fields",
        "price",
        "--from",
        "beginning",
        "-n",
        "4",
    ];
    let mut tail: Child = command(&instance, &arguments).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap());
    let first = read_line(&mut lines);
    assert_eq!(
        (&first["event"], &first["key"], &first["record"]),
        (&json!("entered"), &json!("l1"), &json!({"price": 1}))
    );
    send(&instance, 2);
    assert_eq!(read_line(&mut lines)["record"]["price"], 2);
    instance.stop();
    let instance = start();
    send(&instance, 3);
    let third = read_line(&mut lines);
    assert_eq!(third["record"]["price"], 3, "neither what was seen nor a hole: {third}");
    send(&instance, 20);
    let last = read_line(&mut lines);
    assert_eq!((&last["event"], &last["record"]), (&json!("left"), &Value::Null));
    assert_eq!(tail.wait().unwrap().code(), Some(0));

    // What it printed is a place to go on from.
    let id = third["id"].as_str().unwrap();
    let again = keld(&instance, &["tail", "products", "lamp", "--filter", "price:[1 TO 9]", "--from", id, "-n", "1"]);
    assert_eq!((again.code, &again.lines()[0]["event"]), (0, &json!("left")), "{}", again.err);

    let refused = keld(&instance, &["tail", "products", "--filter", "colour:red"]);
    assert_eq!(refused.code, 1);
    let gap = keld(&instance, &["tail", "products", "--from", "0:99999"]);
    assert!(gap.code == 1 && gap.err.contains("not in the changelog"), "{}", gap.err);
    instance.stop();
}

#[test]
fn the_status_shows_instances_and_tasks() {
    let (lab, instance) = start();
    let done = keld(&instance, &["status"]);
    assert_eq!((done.code, done.lines().len()), (0, lab.partitions as usize), "{}", done.err);
    assert!(done.lines().iter().all(|t| t["instance"] == "keld-0" && t["phase"]["name"] == "running"));
    let done = keld(&instance, &["status", "-o", "table"]);
    assert!(
        done.out.contains("products/0") && done.out.contains("INSTANCE") && done.out.contains("running"),
        "{}",
        done.out
    );
    instance.stop();
}

#[test]
fn a_terminal_gets_tables_in_colour_unless_it_does_not_want_them() {
    let (_lab, instance) = start();
    let on_terminal = |variables: &[(&str, &str)]| {
        let typed = format!("{} get products d1", env!("CARGO_BIN_EXE_keld"));
        let mut script = Command::new("script");
        script.args(["-qec", &typed, "/dev/null"]).env_clear().env("TERM", "xterm").env("PATH", "/usr/bin:/bin");
        script.env("KELD_URL", instance.address.as_deref().unwrap()).envs(variables.iter().copied());
        let done = script.stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let coloured = on_terminal(&[]);
    assert!(
        coloured.contains("\u{1b}[1m") && coloured.contains("FIELD") && coloured.contains("walnut desk"),
        "{coloured:?}"
    );
    let plain = on_terminal(&[("NO_COLOR", "1")]);
    assert!(!plain.contains('\u{1b}') && plain.contains("FIELD") && plain.contains("walnut desk"), "{plain:?}");
    instance.stop();
}

#[test]
fn completions_and_manual_pages_are_made() {
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_keld")).args(arguments).env_clear().output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap())
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, text) = run(&["completions", shell]);
        assert!(code == 0 && text.contains("quarantine") && text.contains("explain"), "{shell}: {text}");
    }
    let (code, page) = run(&["man", "search"]);
    assert!(code == 0 && page.contains(".TH keld-search 1") && page.contains("\\-\\-facets"), "{page}");
    assert!(run(&["man"]).1.contains("keld\\-search") || run(&["man"]).1.contains("keld-search"));
    assert_eq!(run(&["man", "nothing"]).0, 1);
    // Each command teaches by example.
    for command in ["get", "search", "tail", "status", "completions", "man"] {
        let (code, help) = run(&[command, "--help"]);
        assert!(code == 0 && help.contains("Examples:"), "{command}: {help}");
    }
}
