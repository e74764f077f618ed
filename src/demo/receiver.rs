//! Receivers on loopback: they verify, keep count, and do what their part in the story asks.

use super::screen::Screen;
use crate::receiver::{self, Request};
use anyhow::{Context as _, ensure};
use std::{
    cell::RefCell,
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    rc::Rc,
};

/// What the pipelines of the demo sign with.
pub(super) const SIGNING_KEY: &str = "the-demo-signs-with-this-key";

/// What a receiver does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Takes everything.
    Healthy,
    /// Refuses every second event twice.
    Flaky,
}

/// A receiver with an address of its own.
pub(super) struct Receiver {
    /// What the story calls it.
    pub(super) name: &'static str,
    address: SocketAddr,
    seen: Rc<Seen>,
}

/// What it saw.
struct Seen {
    name: &'static str,
    screen: Rc<Screen>,
    counts: RefCell<Counts>,
}

#[derive(Default)]
struct Counts {
    succeeded: usize,
    refused: usize,
    forged: usize,
    disorder: usize,
    /// The last position in the story per resource.
    last: HashMap<String, usize>,
}

impl Receiver {
    /// Takes a free port and serves.
    pub(super) fn start(
        name: &'static str,
        behaviour: Behaviour,
        screen: &Rc<Screen>,
    ) -> anyhow::Result<Self> {
        let mut receiver = Self::reserve(name, screen)?;
        receiver.revive(behaviour)?;
        Ok(receiver)
    }

    /// Takes a free port and lets it go again: whoever connects is refused.
    pub(super) fn reserve(name: &'static str, screen: &Rc<Screen>) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.context("no port is free on loopback")?;
        let seen = Seen { name, screen: Rc::clone(screen), counts: RefCell::default() };
        Ok(Self { name, address, seen: Rc::new(seen) })
    }

    /// Serves from now on.
    pub(super) fn revive(&mut self, behaviour: Behaviour) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).context("the receiver's port was taken")?;
        let seen = Rc::clone(&self.seen);
        actix_web::rt::spawn(receiver::serve(listener, move |request| seen.answer(request, behaviour)));
        Ok(())
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/webhooks/afftok", self.address)
    }

    /// Requests answered 200.
    pub(super) fn succeeded(&self) -> usize {
        self.seen.counts.borrow().succeeded
    }

    /// Requests answered 503.
    pub(super) fn refused(&self) -> usize {
        self.seen.counts.borrow().refused
    }

    /// Whether all it took was signed and in order.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let Counts { forged, disorder, .. } = *self.seen.counts.borrow();
        ensure!(forged == 0, "{forged} requests to `{}` had a wrong signature", self.name);
        ensure!(disorder == 0, "{disorder} events reached `{}` out of order", self.name);
        Ok(())
    }
}

impl Seen {
    fn answer(&self, request: &Request, behaviour: Behaviour) -> u16 {
        let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let id = event["id"].as_str().unwrap_or("?");
        let n: usize = id.rsplit('_').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        let mut counts = self.counts.borrow_mut();
        if !request.verifies(SIGNING_KEY) {
            counts.forged += 1;
            self.screen.say(&format!("{:<8} 401  {id}: the signature is wrong", self.name));
            return 401;
        }
        if behaviour == Behaviour::Flaky && n.is_multiple_of(2) && request.attempt() <= 2 {
            counts.refused += 1;
            self.screen.say(&format!("{:<8} 503  {id}, attempt {}", self.name, request.attempt()));
            return 503;
        }
        let data = &event["data"];
        let keys = ["conversion_id", "click_id", "tracking_code"];
        let resource = keys.iter().find_map(|key| data[*key].as_str()).unwrap_or_default();
        let kind = event["type"].as_str().unwrap_or_default();
        if counts.last.insert(format!("{kind} {resource}"), n).is_some_and(|last| last >= n) {
            counts.disorder += 1;
        }
        counts.succeeded += 1;
        let attempt = request.attempt();
        self.screen.say(&format!("{:<8} 200  {id}, attempt {attempt}, signature verified", self.name));
        200
    }
}
