//! Opens connections: lookup, judgement, TCP, TLS.

use super::ClientConfig;
use super::attempt::{Attempt, Failure, Peer, Phase};
use super::connection::Connection;
use super::proxy::Proxy;
use super::stream::Stream;
use crate::delivery::resolve::Resolver;
use crate::delivery::target::{Blocked, EgressPolicy};
use crate::delivery::tls::{self, Trust};
use crate::descriptors::ran_out;
use crate::domain::outcome::OutcomeClass;
use rustls_pki_types::ServerName;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::Host;

/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;

/// How long an attempt waits for a descriptor …
const PATIENCE: Duration = Duration::from_secs(10);

/// … and how often it looks for one.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The one place where sockets to receivers are made.
pub(super) struct Dialer {
    egress: Arc<EgressPolicy>,
    resolver: Resolver,
    tls: TlsConnector,
    bind_address: Option<IpAddr>,
    proxy: Option<Proxy>,
    idle_timeout: Duration,
}

impl Dialer {
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self {
            egress: Arc::clone(&config.egress),
            resolver: Resolver::new(Arc::clone(&config.names), Arc::clone(&config.lookups)),
            tls: Arc::clone(&config.tls).into(),
            bind_address: config.bind_address,
            proxy: config.proxy.clone(),
            idle_timeout: config.idle_timeout,
        }
    }

    /// Opens a connection to the attempt's peer.
    pub(super) async fn open(&self, attempt: &Attempt) -> Result<Connection, Failure> {
        let addresses = self.addresses(attempt).await?;
        let tcp = match &self.proxy {
            None => {
                attempt.enter(Phase::Connect);
                self.connect(&addresses, attempt).await.map_err(|error| refused(&error))?
            }
            // The address that was judged is the one that is named: the proxy looks nothing up.
            Some(proxy) => self.connect_through(proxy, addresses[0], attempt).await?,
        };
        let stream = if attempt.peer.tls { self.handshake(tcp, attempt).await? } else { Stream::Plain(tcp) };
        Ok(Connection::new(stream, self.idle_timeout))
    }

    /// The addresses to try: those of the name, or the literal, that may be dialled.
    async fn addresses(&self, attempt: &Attempt) -> Result<Vec<SocketAddr>, Failure> {
        let found: Rc<[IpAddr]> = match &attempt.peer.host {
            Host::Ipv4(ip) => Rc::new([IpAddr::V4(*ip)]),
            Host::Ipv6(ip) => Rc::new([IpAddr::V6(*ip)]),
            Host::Domain(name) => {
                attempt.enter(Phase::Lookup);
                let found = self.resolver.resolve(name, &attempt.tenant).await;
                found.map_err(|error| Failure::new(OutcomeClass::DnsError, error.to_string()))?
            }
        };
        let mut open = Vec::new();
        for ip in found.iter() {
            let address = SocketAddr::new(ip.to_canonical(), attempt.peer.port);
            if patiently(attempt, || self.is_open(address)).await.map_err(|error| refused(&error))? {
                open.push(address);
            }
            if open.len() == ADDRESSES_MAX {
                break;
            }
        }
        if open.is_empty() {
            return Err(Failure::new(OutcomeClass::BlockedAddress, Blocked.to_string()));
        }
        Ok(open)
    }

    /// Whether an address may be dialled; fails where no descriptor is left to find out.
    fn is_open(&self, address: SocketAddr) -> io::Result<bool> {
        if self.egress.check_address(address).is_err() {
            return Ok(false);
        }
        Ok(self.egress.opens_home(address) || !leads_home(&self.egress, address)?)
    }

    /// Tries the addresses in order. Each gets its share of the time that is left, so that one that swallows
    /// packets does not hide those behind it; the last is bounded by the attempt's deadline alone.
    async fn connect(&self, addresses: &[SocketAddr], attempt: &Attempt) -> io::Result<TcpStream> {
        let mut waiting = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for &address in addresses {
            let share = if waiting > 1 { attempt.time_left() / waiting } else { Duration::MAX };
            waiting -= 1;
            let socket = patiently(attempt, || self.socket(address)).await?;
            match tokio::time::timeout(share, socket.connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    async fn connect_through(
        &self,
        proxy: &Proxy,
        address: SocketAddr,
        attempt: &Attempt,
    ) -> Result<TcpStream, Failure> {
        attempt.enter(Phase::Proxy);
        let unreachable = || Failure::new(OutcomeClass::ProxyError, "the egress proxy cannot be reached");
        let mut found = tokio::net::lookup_host(proxy.authority()).await.map_err(|_| unreachable())?;
        let at = found.next().ok_or_else(unreachable)?;
        let socket = patiently(attempt, || self.socket(at))
            .await
            .map_err(|error| if ran_out(&error) { refused(&error) } else { unreachable() })?;
        let mut tcp = socket.connect(at).await.map_err(|_| unreachable())?;
        attempt.enter(Phase::Connect);
        proxy.open_tunnel(&mut tcp, address).await?;
        Ok(tcp)
    }

    fn socket(&self, address: SocketAddr) -> io::Result<TcpSocket> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(own) = self.bind_address {
            socket.bind(SocketAddr::new(own, 0))?;
        }
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn handshake(&self, tcp: TcpStream, attempt: &Attempt) -> Result<Stream, Failure> {
        attempt.enter(Phase::Tls);
        let Peer { host, trust, .. } = &attempt.peer;
        let name = match host {
            Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_owned();
                let refused =
                    |_| Failure::new(OutcomeClass::TlsError, "the host name cannot stand in a certificate");
                ServerName::try_from(name).map_err(refused)?
            }
        };
        let connector = trust.as_ref().map_or_else(|| self.tls.clone(), Trust::connector);
        let stream = connector.connect(name, tcp).await;
        let stream = stream.map_err(|error| Failure::new(OutcomeClass::TlsError, tls::describe(&error)))?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// Waits for a descriptor where none is left, for some of the attempt's time: whoever frees one does so soon, and the
/// receiver is not to blame.
async fn patiently<T>(attempt: &Attempt, mut make: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + (attempt.time_left() / 2).min(PATIENCE);
    loop {
        match make() {
            Err(error) if ran_out(&error) && Instant::now() < until => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            done => return done,
        }
    }
}

fn refused(error: &io::Error) -> Failure {
    if ran_out(error) {
        return Failure::new(
            OutcomeClass::ConnectionRefused,
            "nothing was sent: this server has no descriptor left",
        );
    }
    let detail = match error.kind() {
        io::ErrorKind::ConnectionReset => {
            return Failure::new(OutcomeClass::ProtocolError, "connection reset before an answer");
        }
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to the receiver",
        io::ErrorKind::TimedOut => "the receiver does not answer connects",
        _ => "cannot connect",
    };
    Failure::new(OutcomeClass::ConnectionRefused, detail)
}

/// Whether an address is one of this machine's own, by itself or wrapped into another: a translator would bring it back.
fn leads_home(egress: &EgressPolicy, address: SocketAddr) -> io::Result<bool> {
    for ip in egress.meanings(address.ip()) {
        if is_own(SocketAddr::new(ip, address.port()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an address is one of this machine's own: then the kernel would also send from it.
///
/// No packet is sent. The engine's own ports are so out of reach through its public address as well. Without a descriptor
/// to ask with it is not known, and so not denied.
fn is_own(address: SocketAddr) -> io::Result<bool> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(address)?;
        socket.local_addr()
    });
    match source {
        Err(error) if ran_out(&error) => Err(error),
        source => Ok(source.is_ok_and(|source| source.ip() == address.ip())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_11_the_machines_own_addresses_are_known_without_a_list() {
        assert!(is_own("127.0.0.1:80".parse().unwrap()).unwrap());
        assert!(!is_own("192.0.2.1:80".parse().unwrap()).unwrap());
        let nat64 = vec!["2001:db8:64::/96".parse().unwrap()];
        let egress = EgressPolicy { nat64, ..EgressPolicy::default() };
        for (address, home) in [
            ("127.0.0.1:80", true),
            ("[64:ff9b::127.0.0.1]:80", true),
            ("[2001:db8:64::127.0.0.1]:80", true),
            ("[2001:db8:64::192.0.2.1]:80", false),
            ("[2001:db8:65::127.0.0.1]:80", false),
        ] {
            assert_eq!(leads_home(&egress, address.parse().unwrap()).unwrap(), home, "{address}");
        }
    }
}
