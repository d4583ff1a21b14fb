//! Reads server-sent events.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lab::PATIENCE;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    /// Id that the stream had reached with it.
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

/// A stream of events.
pub(crate) struct Events {
    pub(crate) status: u16,
    arrived: Receiver<Event>,
    socket: TcpStream,
}

impl Events {
    /// Asks for a path at `http://host:port`; `last` goes as `Last-Event-ID`.
    pub(crate) fn open(address: &str, path: &str, last: Option<&str>) -> Self {
        let (mut lines, status, socket) = Self::connect(address, path, last);
        let (to, arrived) = sync_channel(1 << 16);
        std::thread::spawn(move || {
            let (mut name, mut id, mut data) = (String::new(), None, None);
            let mut line = String::new();
            while {
                line.clear();
                lines.read_line(&mut line)
            }
            .is_ok_and(|n| n > 0)
            {
                match line.trim_end_matches(['\r', '\n']).split_once(':') {
                    Some(("event", value)) => value.trim_start().clone_into(&mut name),
                    Some(("id", value)) => id = Some(value.trim_start().to_owned()),
                    Some(("data", value)) => data = serde_json::from_str(value).ok(),
                    Some(_) => {}
                    None => {
                        let Some(data) = data.take() else { continue };
                        let event = Event { name: std::mem::take(&mut name), id: id.clone(), data };
                        if to.send(event).is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Self { status, arrived, socket }
    }

    /// HTTP/1.0: the body comes as it is, and ends with the connection.
    pub(crate) fn connect(address: &str, path: &str, last: Option<&str>) -> (BufReader<TcpStream>, u16, TcpStream) {
        let mut socket = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        write!(
            socket,
            "GET {path} HTTP/1.0\r\nHost: keld\r\nAccept: text/event-stream\r\nAccept-Encoding: gzip\r\n{last}\r\n"
        )
        .unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap());
        let mut head = String::new();
        lines.read_line(&mut head).unwrap();
        let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {head:?}")).parse().unwrap();
        let mut line = String::new();
        while {
            line.clear();
            lines.read_line(&mut line).unwrap()
        } > 2
        {}
        (lines, status, socket)
    }

    /// As [`Events::open`], and the first event, which must be `hello`.
    pub(crate) fn hello(address: &str, path: &str, last: Option<&str>) -> (Self, Event) {
        let mut events = Self::open(address, path, last);
        assert_eq!(events.status, 200, "GET {path}");
        let hello = events.next().unwrap_or_else(|| panic!("GET {path}: it ended before it began"));
        assert_eq!(hello.name, "hello");
        (events, hello)
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Event> {
        match self.arrived.recv_timeout(PATIENCE) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no event comes"),
        }
    }

    /// The next event, if one comes soon enough.
    pub(crate) fn within(&mut self, span: Duration) -> Option<Event> {
        let until = Instant::now() + span;
        self.arrived.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
