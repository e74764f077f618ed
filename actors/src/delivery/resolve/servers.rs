//! Name servers of the operator's choice, in the place of the system's resolver.
//!
//! Nothing of this machine has a say: no hosts file, no search domains, no cache but that of
//! [`Resolver`](super::Resolver). Times to live are kept to within bounds, and a lookup ends.

use super::{Found, NameLookup};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{Resolver, TokioResolver};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// One question to one server; it is put once more before the next server's turn.
const QUESTION: Duration = Duration::from_millis(1_500);
/// A whole lookup, whatever comes of it.
const LOOKUP: Duration = Duration::from_secs(10);
/// Shorter times to live would have each dial ask anew; longer ones keep a receiver that moved out of reach.
const HOLDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// Open questions to one server: two for each lookup there may be at a time.
const QUESTIONS_MAX: usize = 256;

/// Asks these servers, the first one first, by UDP, and by TCP where an answer is too long for that.
#[derive(Clone)]
pub struct NameServers(Arc<[TokioResolver]>);

/// The servers cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the resolver: {0}")]
pub struct NameServersError(String);

impl NameServers {
    /// `servers` are asked in this order, the next one where one says nothing of use.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, NameServersError> {
        let resolvers: Result<_, _> = servers.iter().map(resolver).collect();
        resolvers.map(Self).map_err(|error: NetError| NameServersError(error.to_string()))
    }

    async fn ask(&self, name: Name) -> Result<LookupIp, NetError> {
        let mut last = NetError::NoConnections;
        for resolver in &*self.0 {
            match resolver.lookup_ip(name.clone()).await {
                Err(error) if !error.is_no_records_found() => last = error,
                // That there is no such name, or that it has no address, is an answer.
                told => return told,
            }
        }
        Err(last)
    }
}

/// One for each server: among several, the crate has one deadline for all of them.
fn resolver(at: &SocketAddr) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_parts(None, vec![], vec![server(at)]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options();
    builder.build()
}

fn server(at: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.into())
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = QUESTION;
    options.attempts = 1;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = QUESTIONS_MAX;
    options
}

impl NameLookup for NameServers {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Found>> {
        let servers = self.clone();
        async move {
            let mut name = Name::from_ascii(&host).map_err(io::Error::other)?;
            name.set_fqdn(true);
            let asked = tokio::time::timeout(LOOKUP, servers.ask(name)).await?;
            let found = asked.map_err(io::Error::other)?;
            let mut addresses: Vec<IpAddr> = found.iter().collect();
            // Nobody here knows whether this machine has a way out by IPv6. A stable sort: the server's order stays.
            addresses.sort_by_key(IpAddr::is_ipv6);
            let seconds =
                found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
            let holds = Duration::from_secs(u64::from(seconds)).clamp(HOLDS.0, HOLDS.1);
            Ok(Found { addresses, holds })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};
    use tokio::time::Instant;

    const A: u16 = 1;
    const AAAA: u16 = 28;

    /// What a server says to one question.
    enum Reply {
        Addresses(u32, Vec<IpAddr>),
        Code(u8),
        /// Only by TCP.
        TooLong(Vec<IpAddr>),
        Nothing,
    }

    /// A name server on loopback, and what it was asked.
    struct Server {
        at: SocketAddr,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        async fn start(answer: impl Fn(&str, u16) -> Reply + Send + Sync + 'static) -> Self {
            let (udp, tcp) = same_port().await;
            let at = udp.local_addr().unwrap();
            let (asked, answer) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(answer));
            let (noted, script) = (Arc::clone(&asked), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut bytes = [0; 1500];
                loop {
                    let (length, from) = udp.recv_from(&mut bytes).await.unwrap();
                    let (name, kind) = question(&bytes[..length]);
                    noted.lock().push(name.clone());
                    let reply = match script(&name, kind) {
                        Reply::Nothing => continue,
                        Reply::TooLong(_) => message(&bytes[..length], 0x83, 0, 0, &[]),
                        Reply::Code(code) => message(&bytes[..length], 0x81, code, 0, &[]),
                        Reply::Addresses(ttl, addresses) => {
                            message(&bytes[..length], 0x81, 0, ttl, &addresses)
                        }
                    };
                    udp.send_to(&reply, from).await.unwrap();
                }
            });
            tokio::spawn(async move {
                let (mut stream, _) = tcp.accept().await.unwrap();
                while let Ok(length) = stream.read_u16().await {
                    let mut bytes = vec![0; usize::from(length)];
                    stream.read_exact(&mut bytes).await.unwrap();
                    let (name, kind) = question(&bytes);
                    let Reply::TooLong(addresses) = answer(&name, kind) else { panic!("asked by TCP") };
                    let reply = message(&bytes, 0x81, 0, 60, &addresses);
                    stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            });
            Self { at, asked }
        }
    }

    /// The port that the system gives one of them may be taken for the other.
    async fn same_port() -> (UdpSocket, TcpListener) {
        loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                return (udp, tcp);
            }
        }
    }

    /// RFC 1035 §4.1.2, of a message with one question.
    fn question(message: &[u8]) -> (String, u16) {
        let (mut name, mut at) = (String::new(), 12);
        while message[at] != 0 {
            let label = &message[at + 1..=at + usize::from(message[at])];
            name = name + std::str::from_utf8(label).unwrap() + ".";
            at += 1 + label.len();
        }
        (name, u16::from_be_bytes([message[at + 1], message[at + 2]]))
    }

    /// An answer to a question: its own, with the addresses behind it.
    fn message(asked: &[u8], flags: u8, code: u8, ttl: u32, addresses: &[IpAddr]) -> Vec<u8> {
        let end = 12 + question(asked).0.len() + 1 + 4;
        let count = u8::try_from(addresses.len()).unwrap();
        let mut out = vec![asked[0], asked[1], flags, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
        out.extend(&asked[12..end]);
        for address in addresses {
            let (kind, bytes) = match address {
                IpAddr::V4(v4) => (A, v4.octets().to_vec()),
                IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
            };
            out.extend([0xc0, 12, 0, u8::try_from(kind).unwrap(), 0, 1]);
            out.extend(ttl.to_be_bytes());
            out.extend([0, u8::try_from(bytes.len()).unwrap()]);
            out.extend(bytes);
        }
        out
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn looked_up(servers: &[&Server], name: &str) -> io::Result<Found> {
        let servers: Vec<_> = servers.iter().map(|server| server.at).collect();
        NameServers::new(&servers).unwrap().lookup(name.to_owned()).await
    }

    #[tokio::test]
    async fn addresses_of_both_families_hold_for_their_time_to_live_within_bounds() {
        for (ttl, seconds) in
            [(0, 1), (1, 1), (60, 60), (300, 300), (301, 300), (604_800, 300), (u32::MAX, 300)]
        {
            let server = Server::start(move |_, kind| match kind {
                A => Reply::Addresses(ttl, vec![ip("192.0.2.2"), ip("192.0.2.1")]),
                _ => Reply::Addresses(604_800, vec![ip("2001:db8::1")]),
            })
            .await;
            let found = looked_up(&[&server], "hooks.example.com").await.unwrap();
            let addresses = [ip("192.0.2.2"), ip("192.0.2.1"), ip("2001:db8::1")];
            assert_eq!((&*found.addresses, found.holds.as_secs()), (&addresses[..], seconds), "{ttl}");
        }
    }

    #[tokio::test]
    async fn one_family_is_enough_and_no_address_is_none() {
        let server = Server::start(|name, kind| match (name, kind) {
            ("four.example.com.", A) => Reply::Addresses(9, vec![ip("192.0.2.1")]),
            ("six.example.com.", AAAA) => Reply::Addresses(9, vec![ip("2001:db8::1")]),
            ("six.example.com.", A) => Reply::Code(2),
            ("four.example.com." | "empty.example.com.", _) => Reply::Addresses(9, vec![]),
            _ => Reply::Code(3),
        })
        .await;
        assert_eq!(looked_up(&[&server], "four.example.com").await.unwrap().addresses, [ip("192.0.2.1")]);
        assert_eq!(looked_up(&[&server], "six.example.com").await.unwrap().addresses, [ip("2001:db8::1")]);
        for name in ["empty.example.com", "gone.example.com"] {
            assert!(looked_up(&[&server], name).await.is_err(), "{name}");
        }
    }

    /// Whatever `/etc/resolv.conf` and `/etc/hosts` say.
    #[tokio::test]
    async fn names_are_asked_for_as_they_are() {
        let server = Server::start(|_, _| Reply::Code(3)).await;
        for name in ["printer", "a.b", "ip6-allnodes", "hooks.example.com."] {
            assert!(looked_up(&[&server], name).await.is_err());
            let mut asked = std::mem::take(&mut *server.asked.lock());
            asked.dedup();
            assert_eq!(asked, [format!("{}.", name.trim_end_matches('.'))]);
        }
    }

    #[tokio::test]
    async fn what_is_too_long_for_udp_is_asked_for_by_tcp() {
        let server = Server::start(|_, kind| match kind {
            A => Reply::TooLong((0..200).map(|n| IpAddr::from([192, 0, 2, n])).collect()),
            _ => Reply::Addresses(60, vec![]),
        })
        .await;
        assert_eq!(looked_up(&[&server], "many.example.com").await.unwrap().addresses.len(), 200);
    }

    #[tokio::test]
    async fn the_next_server_is_asked_where_one_says_nothing() {
        let silent = Server::start(|_, _| Reply::Nothing).await;
        let server = Server::start(|_, _| Reply::Addresses(60, vec![ip("192.0.2.1")])).await;
        let found = looked_up(&[&silent, &server], "hooks.example.com").await.unwrap();
        assert!(found.addresses.contains(&ip("192.0.2.1")));
    }

    /// URL.13: a lookup ends, whatever the servers do.
    #[tokio::test(start_paused = true)]
    async fn url_13_a_lookup_ends() {
        let silent = [Server::start(|_, _| Reply::Nothing).await, Server::start(|_, _| Reply::Nothing).await];
        let began = Instant::now();
        let all = [&silent[0], &silent[1], &silent[0], &silent[1]];
        assert!(looked_up(&all, "hangs.example.com").await.is_err());
        assert!(began.elapsed() <= LOOKUP + Duration::from_secs(1), "{:?}", began.elapsed());
    }
}
