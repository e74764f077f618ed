//! Where requests may go.

use super::receiver::{OK, Receiver};
use super::{Make, Names, assert_ended_at_deadline, config, config_allowing, patient, post};
use crate::delivery::resolve::{Found, NameLookup};
use crate::domain::outcome::OutcomeClass::{BlockedAddress, ConnectionRefused, DnsError, Success, Timeout};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::join;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Tells a public address first, and a forbidden one when it is asked again.
#[derive(Default)]
struct Rebinding(AtomicBool);

impl NameLookup for Rebinding {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Found>> {
        let again = self.0.swap(true, Ordering::Relaxed);
        let address = if again { Ipv4Addr::new(127, 0, 0, 2) } else { Ipv4Addr::LOCALHOST };
        std::future::ready(Ok(vec![address.into()].into())).boxed()
    }
}

pub(super) async fn url_4_the_address_that_is_dialled_is_the_one_that_was_judged(make: Make) {
    let receiver = Receiver::bind().await;
    let port = receiver.address.port();
    let canary = Receiver::bind_to(&format!("127.0.0.2:{port}")).await;
    let mut config = config_allowing(&["127.0.0.1"]);
    config.names = Arc::new(Rebinding::default());
    let url = format!("http://rebinding.example.com:{port}/");
    // Two clients share the name: each dials what its own lookup said, judged there and then.
    let first = make(config.clone());
    let (answer, _peer) = join!(first.send(patient(&url)), receiver.serve(OK));
    assert_eq!(answer.class, Success);
    let answer = make(config).send(patient(&url)).await;
    assert_eq!((answer.class, &*answer.detail), (BlockedAddress, "blocked by egress policy"));
    assert!(canary.deserted());
}

pub(super) async fn url_6_literals_are_judged_at_dial_as_well(make: Make) {
    let canary = Receiver::bind().await;
    let port = canary.address.port();
    let transport = make(config_allowing(&[]));
    for host in
        ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", "localhost", "169.254.169.254"]
    {
        let answer = transport.send(patient(format!("http://{host}:{port}/"))).await;
        assert_eq!(answer.class, BlockedAddress, "{host}");
    }
    assert!(canary.deserted());
}

pub(super) async fn url_12_a_rule_opens_one_address_and_port(make: Make) {
    let open = Receiver::bind().await;
    let (other_port, other_host) =
        (Receiver::bind().await, Receiver::bind_to(&format!("127.0.0.2:{}", open.address.port())).await);
    let transport = make(config_allowing(&[&format!("127.0.0.1/32:{}", open.address.port())]));
    let (answer, _peer) = join!(transport.send(patient(open.url())), open.serve(OK));
    assert_eq!(answer.class, Success);
    for closed in [other_port, other_host] {
        assert_eq!(transport.send(patient(closed.url())).await.class, BlockedAddress);
        assert!(closed.deserted());
    }
}

pub(super) async fn url_13_names_that_do_not_resolve_fail_within_the_timeout(make: Make) {
    let mut config = config();
    config.names = Arc::new(Names::with("empty.example.com", &[]));
    let (transport, receiver) = (make(config), Receiver::bind().await);
    for host in ["gone.example.com", "empty.example.com"] {
        let answer = transport.send(patient(format!("http://{host}/"))).await;
        assert_eq!((answer.class, &*answer.detail), (DnsError, "the name does not resolve"));
    }
    // A name that hangs delays nobody else.
    let hanging = transport.send(post("http://hangs.example.com/"));
    let other = async { join!(transport.send(post(receiver.url())), receiver.serve(OK)).0 };
    let (hung, other) = join!(hanging, other);
    assert_eq!(other.class, Success);
    assert_eq!((hung.class, &*hung.detail), (Timeout, "deadline passed during the name lookup"));
    assert_ended_at_deadline(&hung);
}

pub(super) async fn url_14_a_blocked_target_tells_nothing_else(make: Make) {
    let mut config = config_allowing(&[]);
    config.names = Arc::new(Names::with("inside.example.com", &["10.0.0.1", "fd00::1"]));
    let transport = make(config);
    for url in [
        "http://inside.example.com/",
        "https://10.0.0.1/",
        "http://metadata.google.internal/",
        "http://8.8.8.8:22/",
    ] {
        let answer = transport.send(patient(url)).await;
        assert_eq!((answer.class, &*answer.detail), (BlockedAddress, "blocked by egress policy"), "{url}");
        assert_eq!((answer.status, answer.timings.connect, answer.timings.first_byte), (None, None, None));
    }
}

pub(super) async fn addresses_are_tried_in_order_and_forbidden_ones_skipped(make: Make) {
    let receiver = Receiver::bind().await;
    let port = receiver.address.port();
    let canary = Receiver::bind_to(&format!("127.0.0.9:{port}")).await;
    let mut config = config_allowing(&["127.0.0.1", "127.0.0.3"]);
    // Forbidden; allowed, but nobody listens; the receiver.
    config.names = Arc::new(Names::with("many.example.com", &["::1", "127.0.0.9", "127.0.0.3", "127.0.0.1"]));
    let transport = make(config);
    let (answer, _peer) =
        join!(transport.send(patient(format!("http://many.example.com:{port}/"))), receiver.serve(OK));
    assert_eq!(answer.class, Success, "{}", answer.detail);
    assert!(canary.deserted());
}

pub(super) async fn nothing_listening_is_refused(make: Make) {
    let url = Receiver::bind().await.url();
    let answer = make(config()).send(patient(url)).await;
    assert_eq!((answer.class, &*answer.detail), (ConnectionRefused, "connection refused"));
}

/// Fills a listener's backlog, so that it swallows further connects like a firewall; holds what it took.
async fn swallowing(address: &str) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut taken = vec![];
    let connect = || {
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(listener.local_addr().unwrap()))
    };
    while let Ok(stream) = connect().await {
        taken.push(stream.unwrap());
    }
    (listener, taken)
}

pub(super) async fn an_address_that_swallows_connects_costs_its_share_of_the_time(make: Make) {
    let receiver = Receiver::bind().await;
    let port = receiver.address.port();
    let _hole = swallowing(&format!("127.0.0.5:{port}")).await;
    let mut config = config();
    config.names = Arc::new(Names::with("two.example.com", &["127.0.0.5", "127.0.0.1"]));
    let transport = make(config);
    let answer = transport.send(post(format!("http://127.0.0.5:{port}/"))).await;
    assert_eq!((answer.class, &*answer.detail), (Timeout, "deadline passed while connecting"));
    assert_ended_at_deadline(&answer);
    let (answer, _peer) =
        join!(transport.send(post(format!("http://two.example.com:{port}/"))), receiver.serve(OK));
    assert_eq!(answer.class, Success, "{}", answer.detail);
}
