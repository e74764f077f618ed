//! Answers kept under idempotency keys, so that a request that is sent twice is done once.
//!
//! A key is taken before the work and handed in with the answer. The answer lies in the log, sealed, for it may
//! hold what is shown only once; in memory there is its position. Where the work is a change of the catalog, both
//! are one append ([`Keep`]): a crash leaves the change with its answer, or neither.

use crate::{
    clock::Clock,
    domain::{
        event::{Fact, TenantEvent},
        id::TenantId,
        time::Timestamp,
    },
    error::EngineError,
    log::{EventLog, Position, codec},
    secrets::Secrets,
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

/// How long an answer is kept.
pub(crate) const KEPT: Duration = Duration::from_hours(24);

/// How many answers are kept, over all tenants; the oldest go first.
const KEPT_MAX: usize = 1_000_000;

/// An answer kept under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Location`, if it had one.
    pub location: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Whose idempotency keys these are: the same text of another's is another key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyOwner {
    /// Whom the call is about; the answer lies in its stream.
    pub tenant: TenantId,
    /// Whether the operator calls. What the operator was answered is not for the tenant's own keys.
    pub operator: bool,
}

/// What is known of an idempotency key.
#[derive(Debug)]
pub enum Recall {
    /// Nothing: go on, and hand the ticket in with the answer.
    New(Ticket),
    /// The same request was answered before.
    Same(Answer),
    /// Another request came with this key.
    Other,
    /// The first request with this key is not answered yet.
    UnderWay,
}

/// Has the answer to a change kept in the same append as the change.
pub struct Keep<T> {
    /// The key that it is kept under.
    pub ticket: Ticket,
    /// Makes the answer out of what the change made.
    pub answer: Box<dyn FnOnce(&T) -> Answer + Send>,
}

/// An answer on its way into the log: the fact, its payload, and the key that it will be found under.
pub(crate) struct Sealed {
    pub(crate) fact: Fact,
    pub(crate) payload: Bytes,
    ticket: Ticket,
}

/// A key that is taken until the ticket is handed in, or dropped because the request failed.
#[derive(Debug)]
pub struct Ticket {
    owner: KeyOwner,
    key: String,
    fingerprint: String,
    table: Weak<Mutex<Table>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else { return };
        let name = (self.owner.clone(), self.key.clone());
        let mut table = table.lock();
        if matches!(table.entries.get(&name), Some(Entry { answer: None, .. })) {
            table.entries.remove(&name);
        }
    }
}

type Name = (KeyOwner, String);

#[derive(Debug)]
struct Entry {
    fingerprint: String,
    /// Where the answer lies, once there is one, and since when.
    answer: Option<(Position, Timestamp)>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Name, Entry>,
    /// Answered keys by age.
    order: VecDeque<(Name, Timestamp)>,
}

impl Table {
    fn keep(&mut self, name: Name, fingerprint: String, position: Position, at: Timestamp) {
        self.order.push_back((name.clone(), at));
        self.entries.insert(name, Entry { fingerprint, answer: Some((position, at)) });
        while self.order.len() > KEPT_MAX
            || self.order.front().is_some_and(|(_, then)| at.since(*then) > KEPT)
        {
            let Some((oldest, then)) = self.order.pop_front() else { break };
            if self.entries.get(&oldest).is_some_and(|entry| entry.answer.is_some_and(|(_, at)| at == then)) {
                self.entries.remove(&oldest);
            }
        }
    }
}

/// All keys that are taken or answered.
pub(crate) struct Answers {
    log: Arc<dyn EventLog>,
    clock: Clock,
    secrets: Arc<Secrets>,
    table: Arc<Mutex<Table>>,
}

impl Answers {
    pub(crate) fn new(log: Arc<dyn EventLog>, clock: Clock, secrets: Arc<Secrets>, kept: Restored) -> Self {
        Self { log, clock, secrets, table: Arc::new(Mutex::new(kept.0)) }
    }

    /// Looks a key up, and takes it if it is new.
    pub(crate) fn recall(
        &self,
        owner: &KeyOwner,
        key: &str,
        fingerprint: &str,
    ) -> Result<Recall, EngineError> {
        let name = (owner.clone(), key.to_owned());
        let now = self.clock.now();
        let position = {
            let mut table = self.table.lock();
            match table.entries.get(&name) {
                Some(entry) if entry.answer.is_none_or(|(_, at)| now.since(at) <= KEPT) => {
                    if entry.fingerprint != fingerprint {
                        return Ok(Recall::Other);
                    }
                    match entry.answer {
                        Some((position, _)) => position,
                        None => return Ok(Recall::UnderWay),
                    }
                }
                _ => {
                    let entry = Entry { fingerprint: fingerprint.to_owned(), answer: None };
                    table.entries.insert(name, entry);
                    let (owner, key, fingerprint) = (owner.clone(), key.to_owned(), fingerprint.to_owned());
                    return Ok(Recall::New(Ticket {
                        owner,
                        key,
                        fingerprint,
                        table: Arc::downgrade(&self.table),
                    }));
                }
            }
        };
        Ok(self.read(position)?.map_or(Recall::UnderWay, Recall::Same))
    }

    /// Where the oldest answer lies that is given again.
    pub(crate) fn oldest(&self, now: Timestamp) -> Option<Position> {
        let table = self.table.lock();
        let mut kept = table.order.iter().filter(|(_, at)| now.since(*at) <= KEPT);
        kept.find_map(|(name, _)| Some(table.entries.get(name)?.answer?.0))
    }

    fn read(&self, position: Position) -> Result<Option<Answer>, EngineError> {
        let Some(sealed) = self.log.payload(position)? else { return Ok(None) };
        let unreadable =
            || EngineError::Conflict("the answer kept under this key cannot be read any more".into());
        let text = std::str::from_utf8(&sealed).map_err(|_| unreadable())?;
        let opened = self.secrets.open(text).map_err(|_| unreadable())?;
        serde_json::from_str(opened.expose()).map(Some).map_err(|_| unreadable())
    }

    /// Makes an answer ready for the log.
    pub(crate) fn seal(&self, ticket: Ticket, answer: &Answer) -> Result<Sealed, EngineError> {
        let text = serde_json::to_string(answer).map_err(|e| EngineError::Setup(e.to_string()))?;
        let payload = self.secrets.seal(&text).map_err(|e| EngineError::Unavailable(e.to_string()))?.into();
        let (key, fingerprint) = (ticket.key.clone(), ticket.fingerprint.clone());
        let KeyOwner { tenant, operator } = ticket.owner.clone();
        let event = TenantEvent::Answered { key, fingerprint, status: answer.status, operator };
        Ok(Sealed { fact: Fact::Tenant(tenant, event), payload, ticket })
    }

    /// A sealed answer is durable at this place: from now on its key finds it.
    pub(crate) fn keep(&self, Sealed { ticket, .. }: Sealed, position: Position, at: Timestamp) {
        let name = (ticket.owner.clone(), ticket.key.clone());
        self.table.lock().keep(name, ticket.fingerprint.clone(), position, at);
    }

    /// Keeps an answer; returns when it is durable.
    pub(crate) async fn remember(&self, ticket: Ticket, answer: Answer) -> Result<(), EngineError> {
        let sealed = self.seal(ticket, &answer)?;
        let at = self.clock.now();
        let appended = codec::append(&*self.log, at, &sealed.fact, Some(sealed.payload.clone()))?;
        if !self.log.watermark().reached(appended.last).await {
            return Err(EngineError::Unavailable("the log cannot be written".into()));
        }
        self.keep(sealed, appended.first, at);
        Ok(())
    }
}

/// Answers that the log holds, gathered while it is folded.
#[derive(Default)]
pub(crate) struct Restored(Table);

impl Restored {
    /// Takes note of a fact; `at` is when it was appended, by a clock that all of them share.
    pub(crate) fn visit(&mut self, position: Position, at: Timestamp, fact: &Fact) {
        if let Fact::Tenant(tenant, TenantEvent::Answered { key, fingerprint, operator, .. }) = fact {
            let owner = KeyOwner { tenant: tenant.clone(), operator: *operator };
            self.0.keep((owner, key.clone()), fingerprint.clone(), position, at);
        }
    }
}
