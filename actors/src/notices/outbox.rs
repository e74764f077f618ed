//! The mails that are owed to one tenant: each dead letter by a mail of its own, or many by one.

use super::notice::Notice;
use crate::{domain::time::Timestamp, log::Position};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};

/// So many dead letters are told with their particulars; the rest of a digest is a number.
const PARTICULARS_MAX: usize = 50;

/// What could not be mailed for so long is left to the dead-letter list, as mail servers do with their queues.
const GIVEN_UP: Duration = Duration::from_hours(5 * 24);

/// See [`Pace::per_hour`].
const HOUR: Duration = Duration::from_hours(1);

/// How often a tenant is mailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So many dead letters an hour are told each by a mail of its own …
    pub per_hour: usize,
    /// … and what goes beyond is gathered for so long, and told by one.
    pub gather: Duration,
}

/// The mails that are owed to one tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outbox {
    /// With their causes, oldest first.
    waiting: VecDeque<(Position, Notice)>,
    /// How many more, and when the last of them came.
    beyond: (u64, Timestamp),
    /// When mails about a single dead letter went out, as far as an hour back.
    singles: VecDeque<Timestamp>,
    /// When the last digest went out.
    digest: Timestamp,
}

/// The mail that is due next.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due<'o> {
    /// What it tells.
    pub(super) notices: Vec<&'o Notice>,
    /// How many dead letters it only counts.
    pub(super) beyond: u64,
    /// Whether it is one for many.
    pub(super) digest: bool,
    /// It tells everything up to here.
    pub(super) through: Position,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.beyond.0 == 0
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.beyond = Default::default();
    }

    /// One more dead letter.
    pub(super) fn add(&mut self, cause: Position, notice: Notice) {
        self.expire(notice.at);
        if self.waiting.len() < PARTICULARS_MAX {
            self.waiting.push_back((cause, notice));
        } else {
            self.beyond = (self.beyond.0 + 1, notice.at);
        }
    }

    /// A mail went out.
    pub(super) fn told(&mut self, at: Timestamp, through: Position, digest: bool, beyond: u64) {
        while self.waiting.pop_front_if(|(cause, _)| *cause <= through).is_some() {}
        self.beyond.0 = self.beyond.0.saturating_sub(beyond);
        if digest {
            self.digest = at;
        } else {
            self.singles.push_back(at);
        }
        self.expire(at);
    }

    fn expire(&mut self, now: Timestamp) {
        while self.waiting.pop_front_if(|(_, notice)| now.since(notice.at) > GIVEN_UP).is_some() {}
        if now.since(self.beyond.1) > GIVEN_UP {
            self.beyond.0 = 0;
        }
        while self.singles.pop_front_if(|at| now.since(*at) >= HOUR).is_some() {}
    }

    /// The next mail, or when to look again; never if nothing waits.
    pub(super) fn due(&self, now: Timestamp, pace: Pace) -> Result<Due<'_>, Option<Timestamp>> {
        if self.is_empty() {
            return Err(None);
        }
        let oldest = self.waiting.front();
        let recent = self.singles.iter().filter(|at| now.since(**at) < HOUR).count();
        if let Some((through, notice)) = oldest
            && recent < pace.per_hour
        {
            return Ok(Due { notices: vec![notice], beyond: 0, digest: false, through: *through });
        }
        let since = oldest.map_or(self.beyond.1, |(_, notice)| notice.at);
        let at = since.max(self.digest).plus(pace.gather);
        if now < at {
            return Err(Some(at));
        }
        let through = self.waiting.back().map_or(Position::START, |(cause, _)| *cause);
        let notices = self.waiting.iter().map(|(_, notice)| notice).collect();
        Ok(Due { notices, beyond: self.beyond.0, digest: true, through })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::testing::{T0, pipe},
        notices::notice::What,
    };

    const PACE: Pace = Pace { per_hour: 3, gather: Duration::from_mins(15) };

    fn at(seconds: u64) -> Timestamp {
        T0.plus(Duration::from_secs(seconds))
    }

    /// An outbox with so many dead letters, a second apart, whose causes are 1, 2, 3 …
    fn with(dead_letters: u64) -> Outbox {
        let mut outbox = Outbox::default();
        (1..=dead_letters).for_each(|n| add(&mut outbox, n, n));
        outbox
    }

    fn add(outbox: &mut Outbox, cause: u64, seconds: u64) {
        outbox.add(Position(cause), Notice::of_pipeline(at(seconds), &pipe(), "a".into(), What::Paused));
    }

    /// Sends what is due, and tells how many dead letters it told of.
    fn send(outbox: &mut Outbox, now: u64) -> Result<u64, Option<Timestamp>> {
        let (told, through, digest, beyond) = {
            let due = outbox.due(at(now), PACE)?;
            (due.notices.len() as u64 + due.beyond, due.through, due.digest, due.beyond)
        };
        outbox.told(at(now), through, digest, beyond);
        Ok(told)
    }

    /// T-42: so many an hour by a mail of their own, what goes beyond by one, and again after an hour.
    #[test]
    fn the_first_of_an_hour_are_told_one_by_one_and_the_rest_together() {
        let mut outbox = with(7);
        assert_eq!((0..3).map(|_| send(&mut outbox, 10)).collect::<Vec<_>>(), [Ok(1), Ok(1), Ok(1)]);
        assert_eq!(send(&mut outbox, 10), Err(Some(at(4 + 900))), "gathered since the fourth");
        assert_eq!(send(&mut outbox, 904), Ok(4));
        assert_eq!(send(&mut outbox, 904), Err(None));
        add(&mut outbox, 8, 905);
        assert_eq!(send(&mut outbox, 905), Err(Some(at(904 + 900).max(at(905 + 900)))));
        assert_eq!(send(&mut outbox, 3_610), Ok(1), "an hour after the first three");
        assert!(outbox.is_empty());
    }

    /// I34: whatever happens, an outbox stays small, and counts what it cannot hold.
    #[test]
    fn an_outbox_is_bounded_and_loses_no_count() {
        let mut outbox = with(100_000);
        assert_eq!(outbox.waiting.len(), PARTICULARS_MAX);
        let mut told = 0;
        for _ in 0..4 {
            told += send(&mut outbox, 200_000).unwrap();
        }
        assert_eq!((told, outbox.is_empty()), (100_000, true));
    }

    /// What came while a digest was on its way is told by the next.
    #[test]
    fn what_comes_in_between_is_not_lost() {
        let mut outbox = with(60);
        (0..3).for_each(|_| assert_eq!(send(&mut outbox, 60), Ok(1)));
        let due = outbox.due(at(1_000), PACE).unwrap();
        let (through, beyond, all) = (due.through, due.beyond, due.notices.len() as u64 + due.beyond);
        assert_eq!(all, 57);
        (61..=70).for_each(|n| add(&mut outbox, n, 1_000));
        outbox.told(at(1_001), through, true, beyond);
        assert_eq!(send(&mut outbox, 10_000).and_then(|_| send(&mut outbox, 10_000)), Ok(1));
        assert!(!outbox.is_empty());
        let mut told = 2;
        while let Ok(more) = send(&mut outbox, 10_000) {
            told += more;
        }
        assert_eq!(told, 10);
    }

    /// Like a mail server's queue: after five days nobody waits for it any more.
    #[test]
    fn what_could_not_be_told_for_days_is_given_up() {
        let mut outbox = with(60);
        add(&mut outbox, 61, 6 * 86_400);
        assert_eq!((outbox.waiting.len(), outbox.beyond.0), (1, 0));
    }
}
