//! What a run is drawn from, as text that reproduces it: `seed=7 events=500 days=7 without=clock,power`.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// Something that goes wrong, or that people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hazard {
    /// The process is killed, at any step; also in its own recovery.
    Kills,
    /// The power is cut.
    Power,
    /// Writes and syncs fail.
    Disk,
    /// There is no space for some time.
    Space,
    /// Syncs take seconds.
    Sluggish,
    /// The wall clock jumps.
    Clock,
    /// Requests and answers get lost, drip, are reset.
    Network,
    /// Receivers are down for hours.
    Outages,
    /// Pauses, edits, retries, dismissals, deletions.
    Operators,
    /// Snapshots are taken.
    Snapshots,
    /// Threads hear late of what others did.
    Lag,
}

const ALL: [(Hazard, &str); 11] = [
    (Hazard::Kills, "kills"),
    (Hazard::Power, "power"),
    (Hazard::Disk, "disk"),
    (Hazard::Space, "space"),
    (Hazard::Sluggish, "sluggish"),
    (Hazard::Clock, "clock"),
    (Hazard::Network, "network"),
    (Hazard::Outages, "outages"),
    (Hazard::Operators, "operators"),
    (Hazard::Snapshots, "snapshots"),
    (Hazard::Lag, "lag"),
];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) events: u32,
    pub(super) days: u32,
    without: BTreeSet<Hazard>,
    /// What the engine does wrong on purpose.
    pub(super) mistake: Option<Mistake>,
}

/// Wrong in one way that a checker has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    /// Answers and sends before the disk has it.
    Early,
    /// Forgets over a restart which events it has.
    Forgetful,
    /// Retries before their time.
    Impatient,
    /// Leaves attempts under way that a crash ended.
    Deaf,
    /// Does not heed that a pipeline is paused.
    Careless,
}

impl Plan {
    /// Seven days, 500 events, everything that can go wrong.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, events: 500, days: 7, without: BTreeSet::new(), mistake: None }
    }

    /// For an engine with a fault.
    pub(super) fn with(self, mistake: Mistake) -> Self {
        Self { mistake: Some(mistake), ..self }
    }

    pub(super) fn has(&self, hazard: Hazard) -> bool {
        !self.without.contains(&hazard)
    }

    /// Plans with less in them, the boldest first.
    fn smaller(&self) -> Vec<Self> {
        let events = [self.events / 2, self.events - self.events / 4, self.events.saturating_sub(1)];
        let fewer = events.into_iter().filter(|&n| n > 0 && n < self.events);
        let fewer = fewer.map(|events| Self { events, ..self.clone() });
        let shorter = (self.days > 1).then(|| Self { days: self.days / 2, ..self.clone() });
        let calmer = ALL.iter().filter(|(hazard, _)| self.has(*hazard)).map(|(hazard, _)| {
            let mut calmer = self.clone();
            calmer.without.insert(*hazard);
            calmer
        });
        fewer.chain(shorter).chain(calmer).collect()
    }

    /// The smallest plan found that fails, too. A smaller plan tells another story, so each is tried with some seeds.
    pub(super) fn shrink(self, mut fails: impl FnMut(&Self) -> bool) -> Self {
        let (mut smallest, mut runs) = (self, 0);
        loop {
            let seeds = [0, 1_000_003, 2_000_003, 3_000_017, 4_000_037, 5_000_011];
            let smaller = smallest.smaller().into_iter();
            let mut tries =
                smaller.flat_map(|plan| seeds.map(|n| Self { seed: plan.seed + n, ..plan.clone() }));
            let found = tries.find(|plan| {
                runs += 1;
                runs < 500 && fails(plan)
            });
            match found {
                Some(plan) => smallest = plan,
                None => return smallest,
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={} events={} days={}", self.seed, self.events, self.days)?;
        let without = ALL.iter().filter(|(hazard, _)| !self.has(*hazard)).map(|(_, name)| *name);
        let without: Vec<_> = without.collect();
        if without.is_empty() { Ok(()) } else { write!(f, " without={}", without.join(",")) }
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut plan = Self::new(0);
        for part in text.split_whitespace() {
            let (name, value) = part.split_once('=').ok_or(part)?;
            let number = || value.parse().map_err(|_| part.to_owned());
            match name {
                "seed" => plan.seed = value.parse().map_err(|_| part)?,
                "events" => plan.events = number()?,
                "days" => plan.days = number()?,
                "without" => {
                    for name in value.split(',') {
                        let known = ALL.iter().find(|(_, known)| *known == name).ok_or(name)?;
                        plan.without.insert(known.0);
                    }
                }
                _ => return Err(part.to_owned()),
            }
        }
        Ok(plan)
    }
}

#[test]
fn a_plan_is_read_back_from_what_it_prints() {
    let text = "seed=7 events=20 days=2 without=power,clock";
    let plan: Plan = text.parse().unwrap();
    assert_eq!(plan.to_string(), text);
    assert!(plan.has(Hazard::Kills) && !plan.has(Hazard::Clock));
    assert_eq!("seed=7 without=rain".parse::<Plan>(), Err("rain".to_owned()));
}

/// What is not needed for a failure is taken away.
#[test]
fn a_plan_shrinks_to_what_fails() {
    let needs = |plan: &Plan| plan.has(Hazard::Power) && plan.has(Hazard::Clock) && plan.events >= 13;
    let smallest = Plan::new(7).shrink(needs);
    assert_eq!((smallest.events, smallest.days, smallest.without.len()), (13, 1, ALL.len() - 2));
    assert!(needs(&smallest));
}
