//! What a customer does with curl: one request, one connection.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A caller with a key.
pub(super) struct Client {
    server: SocketAddr,
    key: String,
}

impl Client {
    pub(super) fn new(server: SocketAddr, key: String) -> Self {
        Self { server, key }
    }

    /// The `data` of the answer.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send("GET", path, "").await
    }

    /// The `data` of the answer. `null` is no body.
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send("POST", path, &body).await
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let Self { server, key } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
        head += &["Authorization: Bearer ", key, "\r\n"].concat();
        if !body.is_empty() {
            head += "Content-Type: application/json\r\n";
        }
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("the server's answer is cut")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path} answered {status}: {body}");
        let mut body: Value = serde_json::from_str(body).unwrap_or_default();
        Ok(body.get_mut("data").map(Value::take).unwrap_or(body))
    }
}
