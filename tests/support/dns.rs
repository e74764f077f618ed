//! A name server on loopback that answers what a script says.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Addresses, and their time to live in seconds; `None` says nothing.
pub(crate) type Told = Option<(u32, Vec<Ipv4Addr>)>;

/// A server; it ends when it is dropped.
pub(crate) struct NameServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    closing: Arc<AtomicBool>,
}

impl NameServer {
    /// `script` is asked by name, and how often the name was asked for before; names have no other addresses.
    pub(crate) fn start(script: impl Fn(&str, usize) -> Told + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("its address");
        let (asked, closing) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (noted, ends) = (Arc::clone(&asked), Arc::clone(&closing));
        thread::spawn(move || {
            let mut bytes = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                let Some((name, is_ipv4)) = question(&bytes[..length]) else { continue };
                let told = if is_ipv4 {
                    let mut noted = noted.lock().expect("names");
                    let before = noted.iter().filter(|one| **one == name).count();
                    noted.push(name.clone());
                    script(&name, before)
                } else {
                    Some((0, Vec::new()))
                };
                if let Some((ttl, addresses)) = told {
                    let _ = socket.send_to(&answer(&bytes[..length], &name, ttl, &addresses), from);
                }
            }
        });
        Self { address, asked, closing }
    }

    /// Names that were asked for, as often as they were.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("names").clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        let waker = UdpSocket::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0)).expect("a port");
        let _ = waker.send_to(&[0], self.address);
    }
}

/// The name that a message asks for, and whether for IPv4 addresses (RFC 1035 §4.1.2).
fn question(message: &[u8]) -> Option<(String, bool)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((labels.join("."), message.get(at + 1..at + 3)? == [0, 1]));
        }
        labels.push(String::from_utf8_lossy(message.get(at + 1..=at + length)?).into_owned());
        at += 1 + length;
    }
}

fn answer(asked: &[u8], name: &str, ttl: u32, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let count = u8::try_from(addresses.len()).expect("some addresses");
    let mut out = vec![asked[0], asked[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
    out.extend(&asked[12..12 + name.len() + 2 + 4]);
    for address in addresses {
        out.extend([0xc0, 12, 0, 1, 0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend([0, 4]);
        out.extend(address.octets());
    }
    out
}
