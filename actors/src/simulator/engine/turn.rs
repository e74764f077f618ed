//! A part of a pipeline at work: decide, append, park.

use super::*;

/// What a part decided and has not appended.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) facts: Vec<LaneEvent>,
    pub(super) endpoint_events: Vec<EndpointEvent>,
    pub(super) starts: Vec<(Start, Permit)>,
}

impl Engine {
    pub(super) fn decide(
        &mut self,
        part: usize,
        command: Command<'_>,
        turn: &mut Turn,
    ) -> Result<(), Rejection> {
        let pipeline = &mut self.parts[part].pipeline;
        for fact in pipeline.decide(command)? {
            pipeline.evolve(&fact);
            turn.facts.push(fact);
        }
        Ok(())
    }

    /// Starts what may start, appends everything, parks the effects, sets the timer.
    pub(super) fn finish(&mut self, part: usize, mut turn: Turn) {
        let deferred = self.start_all(part, &mut turn);
        if !turn.facts.is_empty() || !turn.endpoint_events.is_empty() {
            self.append(part, turn);
        }
        let due = self.parts[part].pipeline.next_due().into_iter().chain(deferred).min();
        let Some(due) = due else { return };
        let at = self.now + u64::try_from(due.since(self.time()).as_millis()).expect("short enough");
        if self.parts[part].timer.is_none_or(|timer| timer > at) {
            self.parts[part].timer = Some(at);
            let (id, number) = (self.parts[part].id.clone(), self.parts[part].number);
            self.wishes.happenings.push((at, Happening::Wake(self.life, id, number)));
        }
    }

    pub(super) fn start_all(&mut self, part: usize, turn: &mut Turn) -> Option<Timestamp> {
        let now = self.time();
        let Part { id, number, pipeline, .. } = &mut self.parts[part];
        let endpoints = &self.endpoints[id];
        let config = Arc::clone(pipeline.config());
        let is_impatient = self.mistake == Some(Mistake::Impatient);
        pipeline.wake_due(if is_impatient { now.plus(Duration::from_secs(10)) } else { now });
        let mut all_deferred = None;
        loop {
            let (mut taken, mut deferred) = (None, None);
            let mut has_room = |target: Target| {
                let Some(url) = pipeline.url_of(target) else { return false };
                match endpoints.of(url).admit(*number, now, &config.control) {
                    Ok(permit) => taken = Some(permit),
                    Err(wait) => deferred = deferred.into_iter().chain(wait.until).min(),
                }
                taken.is_some()
            };
            let decided = pipeline.decide(Command::StartNext { now, has_room: &mut has_room });
            all_deferred = all_deferred.into_iter().chain(deferred).min();
            let facts = decided.expect("asks for nothing");
            if facts.is_empty() {
                return all_deferred;
            }
            for fact in facts {
                if let (LaneEvent::AttemptStarted { attempt, step, queue, .. }, Some(mut permit)) =
                    (&fact, taken.take())
                {
                    let head = pipeline.mailbox().headed_by(attempt.lane, attempt.event);
                    let (_, head) = head.expect("it starts");
                    assert_eq!(head.signing, Signing::Own, "no key is rotated here");
                    permit.used();
                    let (attempt, step, queue) = (*attempt, *step, *queue);
                    let version = head.entry.version;
                    turn.starts.push((Start { pipeline: id.clone(), attempt, step, queue, version }, permit));
                }
                pipeline.evolve(&fact);
                turn.facts.push(fact);
            }
        }
    }

    pub(super) fn append(&mut self, part: usize, turn: Turn) {
        let id = self.parts[part].id.clone();
        let facts = turn.facts.into_iter().map(|event| Fact::Lane(id.clone(), event));
        let events = turn.endpoint_events.into_iter().map(|event| Fact::Endpoint(id.clone(), event));
        let facts: Vec<_> = facts.chain(events).collect();
        let Some((_, last)) = self.place(&facts, None) else {
            return; // nobody will see what the state holds: the log is over, and this life with it
        };
        let at = self.time();
        self.endpoints[&id].written(self.parts[part].number);
        for fact in facts {
            if let Fact::Lane(_, event) = fact
                && dead_letter::concerns(&event)
            {
                self.park(last, Effect::Follow(id.clone(), at, event));
            }
        }
        for (start, permit) in turn.starts {
            self.parts[part].running.insert(start.attempt, permit);
            self.park(last, Effect::Send(start));
        }
    }

    pub(super) fn park(&mut self, position: Position, effect: Effect) {
        // Acknowledgements of what was there before may stand behind others.
        let at = self.parked.partition_point(|(before, _)| *before <= position);
        self.parked.insert(at, (position, effect));
        self.wish(0, Happening::Turn(self.life));
    }

    pub(super) fn record(&mut self, fact: &Fact, payload: Option<Bytes>) -> Option<Position> {
        Some(self.place(std::slice::from_ref(fact), payload)?.0)
    }

    /// Appends facts of one stream; they are true from then on.
    pub(super) fn place(&mut self, facts: &[Fact], payload: Option<Bytes>) -> Option<(Position, Position)> {
        let at = self.time();
        let mut records: Vec<_> = facts.iter().map(codec::encode).collect();
        records[0].payload = payload;
        let append =
            Append { stream: &codec::stream_of(&facts[0]), expected: Expected::Any, at, records: &records };
        let appended = self.log.append(&[append], &mut |_, _| {}).ok()?;
        for (position, (fact, record)) in (appended.first.0..).zip(facts.iter().zip(records)) {
            self.whole.evolve(Position(position), at, fact);
            self.wishes.placed.push(Placed { at, fact: fact.clone(), body: record.body.into() });
        }
        self.wish(0, Happening::Turn(self.life));
        Some((appended.first, appended.last))
    }
}
