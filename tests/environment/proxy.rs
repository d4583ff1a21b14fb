//! A proxy between an instance and Kafka that understands just enough of Kafka's protocol to lose, delay, swallow and
//! change chosen answers. Layout of requests and answers: Kafka's protocol guide.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Kinds of requests, by Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub(crate) enum Api {
    Produce = 0,
    Fetch = 1,
    Heartbeat = 12,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
}

impl Api {
    /// The first version with compact lengths and tagged fields.
    fn flexible_from(self) -> i16 {
        match self {
            Self::Produce => 9,
            Self::Fetch => 12,
            Self::Heartbeat => 4,
            Self::AddPartitionsToTxn | Self::AddOffsetsToTxn | Self::EndTxn | Self::TxnOffsetCommit => 3,
        }
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never arrives: the connection is closed before it goes on.
    LoseRequest,
    /// It arrives, and is done; the connection is closed before its answer.
    LoseAnswer,
    /// Its answer comes late.
    Delay(Duration),
    /// No answer passes for a while, then the connection is closed. What was sent is done.
    Silence(Duration),
    /// It is done, but its answer says this error.
    Answer(i16),
}

/// A fault for the next request of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) api: Api,
    pub(crate) fault: Fault,
}

#[derive(Default)]
struct Shared {
    upstream: OnceLock<String>,
    armed: Mutex<Option<Rule>>,
}

/// The proxy. It works as long as the process.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens. Connections that come before [`Proxy::lead_to`] are refused.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = accepting.clone();
                std::thread::spawn(move || connection(&shared, client));
            }
        });
        Self { port, shared }
    }

    pub(crate) fn lead_to(&self, upstream: String) {
        self.shared.upstream.set(upstream).unwrap();
    }

    /// The next request of the rule's kind meets its fault.
    pub(crate) fn arm(&self, rule: Rule) {
        assert_eq!(self.shared.armed.lock().unwrap().replace(rule), None, "one at a time");
    }

    /// Whether no rule waits for its request.
    pub(crate) fn fired(&self) -> bool {
        self.shared.armed.lock().unwrap().is_none()
    }
}

impl Shared {
    /// Takes the rule if it is for such a request.
    fn meets(&self, api: i16) -> Option<Rule> {
        let mut armed = self.armed.lock().unwrap();
        if armed.is_some_and(|rule| rule.api as i16 == api) { armed.take() } else { None }
    }
}

/// What waits for its answer: version and fault by correlation id.
type Waiting = Mutex<HashMap<[u8; 4], (i16, Rule)>>;

fn connection(shared: &Shared, client: TcpStream) {
    let Some(server) = shared.upstream.get().and_then(|u| TcpStream::connect(u).ok()) else { return };
    let both = || (client.try_clone().unwrap(), server.try_clone().unwrap());
    [&client, &server].iter().for_each(|s| s.set_nodelay(true).unwrap());
    let waiting = Waiting::default();
    let ((from, to), (back_to, back_from)) = (both(), both());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // An error is a connection that has ended.
            let _ = requests(shared, &waiting, from, to);
            close(&client, &server);
        });
        let _ = answers(&waiting, back_from, back_to);
        close(&client, &server);
    });
}

fn close(client: &TcpStream, server: &TcpStream) {
    for stream in [client, server] {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn requests(shared: &Shared, waiting: &Waiting, mut from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
    loop {
        let frame = frame(&mut from)?;
        let (api, version) = (int16(&frame, 4), int16(&frame, 6));
        if let Some(rule) = shared.meets(api) {
            if rule.fault == Fault::LoseRequest {
                return Ok(());
            }
            waiting.lock().unwrap().insert(frame[8..12].try_into().unwrap(), (version, rule));
        }
        to.write_all(&frame)?;
    }
}

fn answers(waiting: &Waiting, mut from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
    loop {
        let mut frame = frame(&mut from)?;
        let met = waiting.lock().unwrap().remove(&frame[4..8]);
        if let Some((version, rule)) = met {
            match rule.fault {
                Fault::LoseRequest | Fault::LoseAnswer => return Ok(()),
                Fault::Delay(time) => std::thread::sleep(time),
                Fault::Silence(time) => {
                    std::thread::sleep(time);
                    return Ok(());
                }
                Fault::Answer(error) => put_error(&mut frame, rule.api, version, error),
            }
        }
        to.write_all(&frame)?;
    }
}

/// A message with its length in front.
fn frame(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame)?;
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
    frame.resize(4 + usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn int16(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// Writes the error of the whole answer, or of its first partition where each has its own.
fn put_error(frame: &mut [u8], api: Api, version: i16, error: i16) {
    let flexible = version >= api.flexible_from();
    // Length, correlation id, and no tagged fields.
    let body = 8 + usize::from(flexible);
    let at = match api {
        // Throttle time (from version 1), error.
        Api::Heartbeat => body + if version >= 1 { 4 } else { 0 },
        Api::AddOffsetsToTxn | Api::EndTxn => body + 4,
        Api::Produce => first_partition(frame, body, flexible),
        // Throttle time comes first.
        Api::TxnOffsetCommit | Api::AddPartitionsToTxn => first_partition(frame, body + 4, flexible),
        Api::Fetch => panic!("no errors are put into answers with records"),
    };
    frame[at..at + 2].copy_from_slice(&error.to_be_bytes());
}

/// Where the error of the first partition of the first topic stands: count of topics, name, count of partitions, number.
fn first_partition(frame: &[u8], topics: usize, flexible: bool) -> usize {
    let name = topics + if flexible { 1 } else { 4 };
    let partitions = if flexible {
        // One byte each holds counts and lengths below 127; both are one more than what they tell.
        assert!(frame[topics] < 128 && frame[name] < 128);
        name + usize::from(frame[name])
    } else {
        name + 2 + usize::try_from(int16(frame, name)).unwrap()
    };
    partitions + if flexible { 1 } else { 4 } + 4
}
