//! A headless Chromium, spoken to by its DevTools protocol over a pipe: no port, and no crate between.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the browser may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that may wait to be looked at.
const MESSAGES: usize = 100_000;
/// The names that systems give it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// The pipe is expected at descriptors 3 and 4: the shell moves it there.
const START: &str = "exec 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null; exec \"$@\"";

/// What a request gets instead of the server's answer.
pub(crate) struct Fake {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

impl Fake {
    pub(crate) fn json(body: &Value) -> Self {
        Self { status: 200, kind: "application/json", body: body.to_string() }
    }
}

/// Answers the requests that it wants to; `None` leaves a request to the server.
type Faker = Box<dyn FnMut(&str) -> Option<Fake>>;

/// A browser with one tab.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: String,
    next: u64,
    base: String,
    faker: Option<Faker>,
    /// Exceptions, errors on the console, violations of the policy, requests to elsewhere.
    complaints: Vec<String>,
    /// URLs that were asked for.
    pub(crate) asked: Vec<String>,
    /// Answers that are errors and meant to be: parts of URLs.
    pub(crate) expected_errors: Vec<&'static str>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one for the console of the instance at `base`.
    pub(crate) fn start(base: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let program =
            std::env::var("KELD_CHROMIUM").ok().or_else(|| NAMES.into_iter().find(|n| exists(n)).map(str::to_owned));
        let program =
            program.expect("there is no Chromium: scripts/setup --tests installs it, KELD_CHROMIUM names another");
        let mut child = Command::new("sh")
            .args(["-c", START, "sh", &program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox"])
            .args([
                "--no-first-run",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--disable-extensions",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--lang=en-GB"])
            .args(["--force-color-profile=srgb", "--disable-features=Translate,OptimizationHints,MediaRouter"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("TZ", "Europe/Berlin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (send, from) = sync_channel(MESSAGES);
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while matches!(out.read_until(0, &mut message), Ok(1..)) {
                message.pop();
                if send.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            to,
            from,
            session: String::new(),
            next: 0,
            base: base.trim_end_matches('/').to_owned(),
            faker: None,
            complaints: Vec::new(),
            asked: Vec::new(),
            expected_errors: vec!["/changes?"],
            _profile: profile,
        };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = self.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        attached["sessionId"].as_str().unwrap().clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Calls a method of the protocol; its result.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(id, method, params);
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = self.from.recv_timeout(left).unwrap_or_else(|e| panic!("{method} {params}: {e}"));
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method} {params}: {}", message["error"]);
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn send(&mut self, id: u64, method: &str, params: &Value) {
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        self.to.flush().unwrap();
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.complaints.push(format!("exception: {}", params["exceptionDetails"])),
            "Runtime.consoleAPICalled" if matches!(params["type"].as_str(), Some("error" | "warning" | "assert")) => {
                self.complaints.push(format!("console: {}", params["args"]));
            }
            "Log.entryAdded" => self.note_log(&params["entry"]),
            "Network.requestWillBeSent" => self.note_request(params["request"]["url"].as_str().unwrap_or_default()),
            "Fetch.requestPaused" => self.answer(params),
            _ => {}
        }
    }

    fn note_log(&mut self, entry: &Value) {
        let url = entry["url"].as_str().unwrap_or_default();
        let meant = entry["source"] == "network" && self.expected_errors.iter().any(|part| url.contains(part));
        if !meant && matches!(entry["level"].as_str(), Some("error" | "warning")) {
            self.complaints.push(format!("log: {entry}"));
        }
    }

    fn note_request(&mut self, url: &str) {
        if !url.starts_with(&format!("{}/", self.base)) && !url.starts_with("data:") && url != "about:blank" {
            self.complaints.push(format!("a request leaves the instance: {url}"));
        }
        self.asked.push(url.to_owned());
    }

    /// Lets `faker` answer requests from now on.
    pub(crate) fn fake(&mut self, faker: impl FnMut(&str) -> Option<Fake> + 'static) {
        self.faker = Some(Box::new(faker));
        self.call("Fetch.enable", &json!({"patterns": [{"urlPattern": "*/v1/*"}]}));
    }

    fn answer(&mut self, paused: &Value) {
        let url = paused["request"]["url"].as_str().unwrap_or_default().to_owned();
        let request = &paused["requestId"];
        let fake = self.faker.as_mut().and_then(|faker| faker(&url));
        let (method, params) = match fake {
            None => ("Fetch.continueRequest", json!({"requestId": request})),
            Some(Fake { status, kind, body }) => (
                "Fetch.fulfillRequest",
                json!({
                    "requestId": request, "responseCode": status, "body": STANDARD.encode(body),
                    "responseHeaders": [{"name": "content-type", "value": kind}],
                }),
            ),
        };
        self.next += 1;
        self.send(self.next, method, &params);
    }

    /// Opens a page of the console, by what stands behind the `#`.
    pub(crate) fn open(&mut self, place: &str) {
        self.call("Page.navigate", &json!({"url": "about:blank"}));
        let url = format!("{}/#{place}", self.base);
        self.call("Page.navigate", &json!({"url": url}));
        self.wait_for("the page to be shown", "document.querySelector('main h1') !== null");
    }

    /// The value of an expression; promises are awaited.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// The text of the first element that a selector finds, blanks brought together; empty where there is none.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("(document.querySelector({})?.innerText ?? '')", json!(selector)));
        text.as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The texts of all elements that a selector finds.
    pub(crate) fn texts(&mut self, selector: &str) -> Vec<String> {
        let all = self.eval(&format!("[...document.querySelectorAll({})].map((n) => n.innerText)", json!(selector)));
        all.as_array().unwrap().iter().map(|t| t.as_str().unwrap().trim().to_owned()).collect()
    }

    /// Polls until an expression holds; what it gave.
    pub(crate) fn wait_for(&mut self, what: &str, expression: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.eval(expression);
            if !matches!(found, Value::Null | Value::Bool(false)) {
                return found;
            }
            if Instant::now() > until {
                let shown = self.text("body");
                panic!("waiting for {what} ({expression})\n{shown}\n{:?}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until an element's text holds `part`.
    pub(crate) fn wait_text(&mut self, selector: &str, part: &str) {
        let (of, part) = (json!(selector), json!(part));
        let all = format!("[...document.querySelectorAll({of})]");
        self.wait_for(
            &format!("{part} in {of}"),
            &format!("{all}.some((n) => n.innerText.replace(/\\s+/g, ' ').includes({part}))"),
        );
    }

    /// Clicks the first element that a selector finds, as soon as there is one.
    pub(crate) fn click(&mut self, selector: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        self.wait_for(selector, &format!("{found} !== null && !{found}.disabled"));
        self.eval(&format!("{found}.click()"));
    }

    /// Types a text where the focus is.
    pub(crate) fn type_text(&mut self, text: &str) {
        for letter in text.chars() {
            self.call("Input.insertText", &json!({"text": letter.to_string()}));
        }
    }

    /// Presses a key: a letter, or `Enter`, `Escape`, `ArrowDown`, `ArrowUp`, `Tab`.
    pub(crate) fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "ArrowUp" => 38,
            "ArrowDown" => 40,
            "Tab" => 9,
            _ => 0,
        };
        let mut down = json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code});
        if key == "Enter" {
            down["text"] = "\r".into();
        } else if code == 0 {
            down["text"] = key.into();
        }
        self.call("Input.dispatchKeyEvent", &down);
        self.call(
            "Input.dispatchKeyEvent",
            &json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code}),
        );
    }

    /// Sets size and colours of the window.
    pub(crate) fn window(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &features);
    }

    /// A picture of the window, as PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// Fails if anything was complained about so far.
    pub(crate) fn check(&mut self) {
        // What the browser still has to say comes before the answer to this.
        self.eval("new Promise((done) => setTimeout(done, 50))");
        let count = self.complaints.len();
        let complaints: Vec<String> =
            self.complaints.drain(..).take(5).map(|c| c.chars().take(600).collect()).collect();
        assert!(count == 0, "{count} complaints, such as {complaints:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let mut bytes = json!({"id": 0, "method": "Browser.close"}).to_string().into_bytes();
        bytes.push(0);
        let _ = self.to.write_all(&bytes);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exists(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
