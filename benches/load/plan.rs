//! What is asked for on the command line: `--name value`, each with a default.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// One run.
pub(crate) struct Plan {
    pub(crate) engine: SocketAddr,
    /// The operator's key, or a tenant's.
    pub(crate) key: String,
    pub(crate) events: usize,
    /// Ids of events are numbered from here: an engine that saw them in a former run takes them for repeats.
    pub(crate) first_event: usize,
    /// Resources are numbered from here.
    pub(crate) first_resource: usize,
    pub(crate) resources: usize,
    pub(crate) connections: usize,
    /// Of an event.
    pub(crate) bytes: usize,
    /// Events a second; 0 sends as fast as answers come.
    pub(crate) rate: usize,
    pub(crate) pipelines: usize,
    /// They are there already, from a run whose receiver had the same port.
    pub(crate) again: bool,
    /// The receiver's; 0 is any.
    pub(crate) port: u16,
    /// Whether each event goes to one of the pipelines, by trigger, and not to all.
    pub(crate) apart: bool,
    /// Only accept: the pipelines are paused.
    pub(crate) paused: bool,
    /// Paused until a line comes in: then the backlog is delivered.
    pub(crate) hold: bool,
    /// Whether deliveries carry a `v1a` signature too, as they do by default.
    pub(crate) ed25519: bool,
    /// How long the receiver takes for an answer.
    pub(crate) delay: Duration,
    /// Post straight to the receiver.
    pub(crate) bare: bool,
    pub(crate) json: bool,
}

impl Plan {
    /// # Panics
    /// If an option is unknown or its value cannot be read.
    pub(crate) fn of(mut words: impl Iterator<Item = String>) -> Self {
        let mut given: HashMap<String, String> = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").expect("options are `--name value`").to_owned();
            given.insert(name, words.next().expect("each option has a value"));
        }
        let mut take = |name: &str, default: &str| given.remove(name).unwrap_or_else(|| default.to_owned());
        let mut number = |name: &str, default: &str| take(name, default).parse::<usize>().expect(name);
        let plan = Self {
            events: number("events", "100000"),
            first_event: number("first-event", "0"),
            first_resource: number("first-resource", "0"),
            resources: number("resources", "1000"),
            connections: number("connections", "64"),
            bytes: number("bytes", "1024"),
            rate: number("rate", "0"),
            pipelines: number("pipelines", "1"),
            again: number("again", "0") > 0,
            port: number("port", "0").try_into().expect("port"),
            apart: number("apart", "0") > 0,
            paused: number("paused", "0") > 0,
            hold: number("hold", "0") > 0,
            ed25519: number("ed25519", "0") > 0,
            delay: Duration::from_millis(number("delay-ms", "0") as u64),
            bare: number("bare", "0") > 0,
            json: number("json", "0") > 0,
            engine: take("engine", "127.0.0.1:8080").parse().expect("engine"),
            key: take("key", &std::env::var("LEDGERHOOK_OPERATOR_KEY").unwrap_or_default()),
        };
        assert!(given.is_empty(), "unknown options: {:?}", given.keys());
        plan
    }

    /// Deliveries an event.
    pub(crate) fn fan_out(&self) -> usize {
        if self.apart { 1 } else { self.pipelines }
    }
}
