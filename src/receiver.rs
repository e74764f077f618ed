//! A small receiver of webhooks on loopback, for the demo and for first steps: it reads, verifies and answers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::{io, net::TcpListener, rc::Rc};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// Largest body that is read; the engine sends no larger one.
const BODY_MAX: usize = 1 << 20;

/// A request as it came in.
pub(crate) struct Request {
    headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header, empty if there is none; `name` in lower case.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// 1, 2, 3 …
    pub(crate) fn attempt(&self) -> u32 {
        self.header("x-webhook-attempt").parse().unwrap_or_default()
    }

    /// As the documents tell receivers to: HMAC-SHA256 of the raw body, hex. Where the provider is another one, by the
    /// header that all requests have: HMAC-SHA256 of id, time and body, base64.
    pub(crate) fn verifies(&self, key: &str) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return false };
        let own = self.header("x-afftok-signature");
        if !own.is_empty() {
            mac.update(&self.body);
            return hex::decode(own).is_ok_and(|signature| mac.verify_slice(&signature).is_ok());
        }
        for part in [self.header("webhook-id"), ".", self.header("webhook-timestamp"), "."] {
            mac.update(part.as_bytes());
        }
        mac.update(&self.body);
        let mut signatures = self.header("webhook-signature").split(' ');
        signatures.find_map(|one| one.strip_prefix("v1,")).is_some_and(|signature| {
            STANDARD.decode(signature).is_ok_and(|signature| mac.verify_slice(&signature).is_ok())
        })
    }
}

/// Answers every request with the status that `answer` picks, until the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    answer: impl Fn(&Request) -> u16 + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let answer = Rc::new(answer);
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = Rc::clone(&answer);
        actix_web::rt::spawn(async move {
            let mut stream = BufReader::new(stream);
            while let Some(request) = read(&mut stream).await {
                let status = answer(&request);
                let head = "Content-Type: application/json\r\nContent-Length: 17";
                let text = format!("HTTP/1.1 {status} \r\n{head}\r\n\r\n{{\"received\":true}}");
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }
    let mut request = Request { headers, body: Vec::new() };
    let length: usize = request.header("content-length").parse().unwrap_or_default();
    request.body.resize(Some(length).filter(|length| *length <= BODY_MAX)?, 0);
    stream.read_exact(&mut request.body).await.ok()?;
    Some(request)
}
