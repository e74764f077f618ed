//! A plain client of the HTTP API: one connection, opened again when it is gone.

use super::http1::{self, Message};
use serde_json::Value;
use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A caller with a key.
pub(crate) struct Api {
    pub address: SocketAddr,
    pub key: String,
    pub tenant: Option<String>,
    headers: Vec<(String, String)>,
    /// What stands before the key: a header's name, and a scheme where it has one.
    pub key_header: &'static str,
    connection: RefCell<Option<BufReader<TcpStream>>>,
}

/// What the server answered.
pub(crate) struct Answer {
    pub status: u16,
    pub message: Message,
    /// The body, `null` if it is not JSON.
    pub json: Value,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.message.first, String::from_utf8_lossy(&self.message.body))
    }
}

impl Answer {
    /// The `data` of an answer with this status.
    #[track_caller]
    pub(crate) fn data(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.message.body));
        self.json.get("data").cloned().unwrap_or(self.json)
    }
}

impl Api {
    pub(crate) fn new(address: SocketAddr, key: &str) -> Self {
        let (headers, connection) = (Vec::new(), RefCell::default());
        let key_header = "Authorization: Bearer ";
        Self { address, key: key.to_owned(), tenant: None, headers, key_header, connection }
    }

    /// The same caller with one more header on everything it sends.
    pub(crate) fn with_header(&self, name: &str, value: &str) -> Self {
        let (tenant, mut headers) = (self.tenant.clone(), self.headers.clone());
        headers.push((name.to_owned(), value.to_owned()));
        Self { tenant, headers, ..self.with_key(&self.key) }
    }

    /// The same server, asked with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self::new(self.address, key)
    }

    /// A new tenant of this profile, asked with its first key.
    #[track_caller]
    pub(crate) fn tenant_of(&self, profile: &str, id: &str) -> Self {
        let tenant = serde_json::json!({"id": id, "name": id, "profile": profile});
        let made = self.post("/api/tenants", &tenant).data(201);
        self.with_key(made["api_key"]["key"].as_str().expect("a key"))
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body))
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some(body))
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None)
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string);
        self.try_send(method, path, body.as_deref().map(str::as_bytes)).expect("the server answers")
    }

    /// An exchange that may fail: the server may be killed in the middle of it. Never sent twice.
    pub(crate) fn try_send(&self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let mut slot = self.connection.borrow_mut();
        let mut connection = match slot.take() {
            Some(open) if is_open(open.get_ref()) => open,
            _ => self.connect()?,
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if !self.key.is_empty() {
            let _ = write!(head, "{}{}\r\n", self.key_header, self.key);
        }
        if let Some(tenant) = &self.tenant {
            let _ = write!(head, "X-Tenant-Id: {tenant}\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(body) = body {
            let _ = write!(head, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        connection.get_mut().write_all(&[head.as_bytes(), body.unwrap_or_default()].concat())?;
        let message = http1::read(&mut connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = message.first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let json = serde_json::from_slice(&message.body).unwrap_or(Value::Null);
        if message.header("connection") != Some("close") {
            *slot = Some(connection);
        }
        Ok(Answer { status, message, json })
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        Ok(BufReader::new(stream))
    }

    /// All items of a list, page by page along `next`; `items` is their key under `data`.
    #[track_caller]
    pub(crate) fn list(&self, path: &str, items: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{joint}limit=250{cursor}")).data(200);
            all.extend(page[items].as_array().expect(items).iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

/// Whether the other side has not closed an idle connection.
fn is_open(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let state = stream.peek(&mut [0]);
    let open = matches!(state, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    open && stream.set_nonblocking(false).is_ok()
}
