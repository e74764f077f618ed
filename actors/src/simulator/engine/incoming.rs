//! What reaches an engine from outside.

use super::*;

impl Engine {
    /// A client posts an event. False if it is refused.
    pub(in super::super) fn accept(&mut self, post: u32, id: &str, resource: &str, body: &Bytes) -> bool {
        if let Some(position) = self.ids.get(id) {
            self.park(*position, Effect::Accepted(post));
            return !self.log.watermark().failed();
        }
        let routes = self.whole.pipelines.iter().filter(|(_, pipeline)| !pipeline.is_deleted());
        let route = |(id, pipeline): (&PipelineId, &Pipeline)| Route {
            pipeline: id.clone(),
            version: pipeline.version(),
            skipped: pipeline.status() == Status::Disabled,
        };
        let routes: Vec<_> = routes.map(route).collect();
        let (event_type, moment) = ("conversion.created".into(), None);
        let accepted =
            Accepted { id: id.into(), event_type, resource: resource.into(), routes: routes.clone(), moment };
        let Some(position) = self.record(&Fact::Accepted(tenant(), accepted), Some(body.clone())) else {
            return false;
        };
        self.ids.insert(id.into(), position);
        for route in routes {
            let part = self.part_of(&route.pipeline, resource);
            let hear = Happening::Hear(self.life, route.pipeline.clone(), self.parts[part].number);
            self.parts[part].accepted.push_back((position, resource.into(), route));
            self.wish(0, hear);
        }
        self.park(position, Effect::Accepted(post));
        true
    }

    /// A configuration is made, changed or deleted.
    pub(in super::super) fn configure(&mut self, id: &PipelineId, event: &PipelineEvent, action: Action) {
        let Some(position) = self.record(&Fact::Pipeline(id.clone(), event.clone()), None) else { return };
        if let PipelineEvent::PipelineCreated { .. } = event {
            self.employ(id, self.whole.pipelines[id].clone());
            self.park(position, Effect::Done(action));
            return;
        }
        for number in 0..PARTS {
            let part = self.index(id, number);
            self.parts[part].configured.push_back((event.clone(), action));
            self.wish(0, Happening::Hear(self.life, id.clone(), number));
        }
    }

    /// A part hears of an event or of a configuration; `configured` says which comes first, if there are both.
    /// False if there was neither.
    pub(in super::super) fn hear(&mut self, id: &PipelineId, number: u16, configured: bool) -> bool {
        let part = self.index(id, number);
        let news = &mut self.parts[part];
        if (configured || news.accepted.is_empty())
            && let Some((event, action)) = news.configured.pop_front()
        {
            if self.mistake != Some(Mistake::Careless) {
                news.pipeline.evolve_config(&event);
            }
            let mut turn = Turn::default();
            if matches!(event, PipelineEvent::PipelineDeleted { .. }) {
                self.decide(part, Command::CancelAll, &mut turn).expect("always can");
            }
            self.finish(part, turn);
            // Behind every start that was decided before: a paused pipeline answers when it is still.
            self.park(self.log.tail(), Effect::Done(action));
            return true;
        }
        let Some((position, resource, route)) = news.accepted.pop_front() else { return false };
        news.pipeline.evolve_accepted(position, &resource, &route);
        self.finish(part, Turn::default());
        true
    }

    pub(in super::super) fn wake(&mut self, id: &PipelineId, number: u16) {
        let part = self.index(id, number);
        self.parts[part].timer.take_if(|timer| *timer <= self.now);
        self.finish(part, Turn::default());
    }

    /// An operator asks something of one lane.
    pub(in super::super) fn order(
        &mut self,
        id: &PipelineId,
        resource: &str,
        command: Command<'_>,
        action: Action,
    ) -> Result<(), Rejection> {
        let part = self.part_of(id, resource);
        let mut turn = Turn::default();
        self.decide(part, command, &mut turn)?;
        self.finish(part, turn);
        self.park(self.log.tail(), Effect::Done(action));
        Ok(())
    }

    /// A request came to its end, with an outcome or by a panic of its task.
    pub(in super::super) fn ended(
        &mut self,
        sent: &Sent,
        outcome: Option<Outcome>,
        after: Option<Duration>,
        roll: f64,
    ) {
        let (attempt, now) = (sent.attempt, self.time());
        let part = self.index(&sent.pipeline, attempt.lane.part(PARTS));
        let Some(permit) = self.parts[part].running.remove(&attempt) else { return };
        let mut turn = Turn::default();
        let Some(outcome) = outcome else {
            drop(self.decide(part, Command::Lost { attempt, panic: "boom", now, roll }, &mut turn));
            self.finish(part, turn);
            return;
        };
        let health = Health::of(outcome.class, outcome.status);
        let command =
            Command::RecordOutcome { attempt, outcome: outcome.clone(), retry_after: after, now, roll };
        if self.decide(part, command, &mut turn).is_err() {
            let verdict = Verdict::CALLED_OFF;
            let (step, queue) = (sent.step, sent.queue);
            turn.facts.push(LaneEvent::AttemptEnded { attempt, step, queue, outcome, verdict });
        }
        let config = Arc::clone(self.parts[part].pipeline.config());
        turn.endpoint_events.extend(permit.report(health, attempt.lane, now, &config.control));
        self.finish(part, turn);
    }

    /// The writer's turn; what is durable then is let go. An error ends the log.
    pub(in super::super) fn turn(&mut self) -> Result<(bool, Vec<(Position, Effect)>), LogError> {
        let is_early = self.mistake == Some(Mistake::Early) && !self.parked.is_empty();
        let worked = !is_early && self.writer.step()?;
        let durable = if is_early { self.log.tail() } else { self.log.watermark().get() };
        let mut released = Vec::new();
        while self.parked.front().is_some_and(|(position, _)| *position <= durable) {
            released.extend(self.parked.pop_front());
        }
        for (_, effect) in &released {
            if let Effect::Follow(pipeline, at, event) = effect {
                self.dead.evolve(&tenant(), pipeline, event, *at);
            }
        }
        Ok((worked, released))
    }

    /// Whether something waits for the writer.
    pub(in super::super) fn is_behind(&self) -> bool {
        self.log.tail() > self.log.watermark().get() || !self.parked.is_empty()
    }

    /// The address of a request, and the bytes that it carries.
    pub(in super::super) fn request(&self, start: &Start) -> Option<(String, Bytes)> {
        let part = &self.parts[self.index(&start.pipeline, start.attempt.lane.part(PARTS))];
        part.running.get(&start.attempt)?;
        let target = Target { version: start.version, step: start.step, queue: start.queue };
        // A step that has gone meanwhile is sent as it was.
        let url = part.pipeline.url_of(target).unwrap_or("https://gone.example");
        Some((url.to_owned(), self.log.payload(start.attempt.event).ok()??))
    }

    /// As the thread that takes snapshots does.
    pub(in super::super) fn take_snapshot(&self) {
        let durable = self.log.watermark().get();
        let disk: &dyn Disk = &self.disk;
        let Snapshot { state, marks } =
            snapshot::load_on(disk, Path::new(SNAPSHOTS), &self.log).unwrap_or_default();
        // A disk that fails under it costs the snapshot.
        if let Ok(state) = replay::fold(&self.log, state, durable) {
            snapshot::store_on(disk, Path::new(SNAPSHOTS), &self.log, &Snapshot { state, marks }).ok();
        }
    }

    /// An item that an operator may settle, and whether others of its delivery stay open.
    pub(in super::super) fn dead_letter(&self, which: u64) -> Option<(DeadLetter, bool)> {
        let nth = which.checked_rem(self.dead.len() as u64)?;
        let item = self.dead.iter().nth(usize::try_from(nth).ok()?)?;
        let others = self.dead.of_delivery(&item.pipeline, item.event);
        Some((item.clone(), others.filter(|other| other.by_ref() != item.by_ref()).count() > 0))
    }
}
