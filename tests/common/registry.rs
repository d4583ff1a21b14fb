//! A schema registry of the tests: the documented endpoints over real HTTP, with basic auth, and with failures on demand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// A registry that listens on loopback until the test ends.
pub(crate) struct TestRegistry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What was registered; the id is the place, counted from 1.
    schemas: Vec<Value>,
    subjects: BTreeMap<String, Vec<usize>>,
    /// What `Authorization` must say.
    authorization: Option<String>,
    /// Answered to everything while it is set: status and body.
    failure: Option<(u16, String)>,
    /// Request lines so far.
    requests: Vec<String>,
}

impl TestRegistry {
    /// Starts an empty one.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in the middle is its own affair.
                let _ = serve(stream, &shared);
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Demands a value of `Authorization`.
    pub(crate) fn demand(&self, authorization: &str) {
        self.state.lock().unwrap().authorization = Some(authorization.to_owned());
    }

    /// Answers everything with this, or, with `None`, as it should again.
    pub(crate) fn fail(&self, failure: Option<(u16, &str)>) {
        self.state.lock().unwrap().failure = failure.map(|(status, body)| (status, body.to_owned()));
    }

    /// Request lines that start with this.
    pub(crate) fn requests(&self, start: &str) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Registers a schema over HTTP, as producers do; returns its id.
    pub(crate) fn register(&self, subject: &str, schema: &Value, references: Value) -> u32 {
        let body = json!({"schema": schema.to_string(), "references": references}).to_string();
        let (status, answer) = self.post(&format!("/subjects/{}/versions", subject.replace(' ', "%20")), &body);
        assert_eq!(status, 200, "{answer}");
        u32::try_from(serde_json::from_str::<Value>(&answer).unwrap()["id"].as_u64().unwrap()).unwrap()
    }

    /// Posts a body; status and answer.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let authorization = self.state.lock().unwrap().authorization.clone().unwrap_or_default();
        let head = format!("POST {path} HTTP/1.1\r\nhost: registry\r\nauthorization: {authorization}\r\n");
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, answer) = state.lock().unwrap().answer(method, path, &authorization, &body);
    write!(
        &stream,
        "HTTP/1.1 {status} -\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

fn problem(status: u16, code: u32, message: &str) -> (u16, String) {
    (status, json!({"error_code": code, "message": message}).to_string())
}

impl State {
    fn answer(&mut self, method: &str, path: &str, authorization: &str, body: &[u8]) -> (u16, String) {
        self.requests.push(format!("{method} {path}"));
        if let Some(failure) = &self.failure {
            return failure.clone();
        }
        if self.authorization.as_ref().is_some_and(|wanted| wanted != authorization) {
            return problem(401, 40_101, "Unauthorized");
        }
        let path = path.replace("%20", " ");
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["schemas", "ids", id]) => match id.parse().ok().and_then(|id: usize| self.schema(id)) {
                Some(schema) => (200, schema.to_string()),
                None => problem(404, 40_403, "Schema not found"),
            },
            ("GET", ["subjects", subject, "versions", version]) => {
                let at = version.parse::<usize>().ok().and_then(|v| v.checked_sub(1));
                let ids = self.subjects.get(*subject);
                match ids.and_then(|ids| self.schema(*ids.get(at?)?)) {
                    Some(schema) => (200, schema.to_string()),
                    None => problem(404, 40_402, "Version not found"),
                }
            }
            ("POST", ["subjects", subject, "versions"]) => {
                let Ok(schema) = serde_json::from_slice::<Value>(body) else {
                    return problem(422, 42_201, "Invalid schema");
                };
                let known = self.schemas.iter().position(|held| *held == schema);
                let id = known.unwrap_or(self.schemas.len()) + 1;
                if known.is_none() {
                    self.schemas.push(schema);
                }
                self.subjects.entry((*subject).to_owned()).or_default().push(id);
                (200, json!({"id": id}).to_string())
            }
            _ => (404, "<html>nothing here</html>".to_owned()),
        }
    }

    fn schema(&self, id: usize) -> Option<&Value> {
        self.schemas.get(id.checked_sub(1)?)
    }
}
