//! People at the API: what they ask for, and what holds from their answer on.

use super::*;

impl World {
    pub(super) fn create(&mut self, id: &str) {
        let config = configs::any(&mut self.dice);
        let event = PipelineEvent::PipelineCreated { tenant: tenant(), config, by: operator() };
        self.configure(&PipelineId::new(id), &event);
    }

    pub(super) fn configure(&mut self, id: &PipelineId, event: &PipelineEvent) {
        self.disturbed = self.now;
        let (pauses, deletes) = match event {
            PipelineEvent::PipelineUpdated { config, .. } => (Some(config.status != Status::Active), false),
            PipelineEvent::PipelineCreated { .. } => (None, false),
            PipelineEvent::PipelineDeleted { .. } => (None, true),
        };
        // From the moment that it is asked to go on, it may.
        if pauses == Some(false) {
            self.still.remove(id);
        }
        let missing = if matches!(event, PipelineEvent::PipelineCreated { .. }) { 1 } else { 2 };
        // What was asked before and not answered may come true later, or never.
        for before in self.asked.iter_mut().filter(|before| before.pipeline == *id && !deletes) {
            before.pauses = None;
        }
        let Some(engine) = &mut self.engine else { return };
        self.asked.push(Asked { pipeline: id.clone(), pauses, deletes, missing, life: engine.life });
        engine.configure(id, event, self.asked.len() - 1);
    }

    pub(super) fn done(&mut self, action: Action) {
        let life = self.engine.as_ref().map(|engine| engine.life);
        let asked = &mut self.asked[action];
        asked.missing -= 1;
        if asked.missing == 0 && Some(asked.life) == life && (asked.pauses == Some(true) || asked.deletes) {
            self.still.insert(asked.pipeline.clone());
        }
    }

    pub(super) fn operate(&mut self) {
        let (what, which) = (self.dice.roll(13), self.dice.roll(1_000));
        let Some(engine) = &self.engine else { return };
        let living = engine.whole.pipelines.iter().filter(|(_, pipeline)| !pipeline.is_deleted());
        let living: Vec<_> =
            living.map(|(id, pipeline)| (id.clone(), Arc::clone(pipeline.config()))).collect();
        let Some((id, config)) = living.get(usize::try_from(which).expect("small") % living.len().max(1))
        else {
            return;
        };
        let known = |id: &str| engine.whole.pipelines.contains_key(&PipelineId::new(id));
        match what {
            0..=2 => {
                let mut config = crate::domain::step::PipelineConfig::clone(config);
                config.status = if config.status == Status::Active {
                    if self.dice.one_in(4) { Status::Disabled } else { Status::Paused }
                } else {
                    Status::Active
                };
                self.configure(id, &PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None });
            }
            3 => {
                let mut config = configs::any(&mut self.dice);
                config.status = Status::Active;
                self.configure(id, &PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None });
            }
            4 if !known("pipe_c") => self.create("pipe_c"),
            4 if id.as_str() == "pipe_c" && self.dice.one_in(3) => {
                self.configure(id, &PipelineEvent::PipelineDeleted { by: operator() });
            }
            5..=7 => self.settle_dead_letter(which, what < 7),
            8 => self.redeliver(id, which),
            9..=12 => self.order_lane(id, what),
            _ => {}
        }
    }

    pub(super) fn ask(
        &mut self,
        id: &PipelineId,
        resource: &str,
        command: Command<'_>,
    ) -> Result<(), Rejection> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let asked =
            Asked { pipeline: id.clone(), pauses: None, deletes: false, missing: 1, life: engine.life };
        self.asked.push(asked);
        engine.order(id, resource, command, self.asked.len() - 1)
    }

    pub(super) fn settle_dead_letter(&mut self, which: u64, retry: bool) {
        let Some((item, others_dead)) = self.engine.as_ref().and_then(|engine| engine.dead_letter(which))
        else {
            return;
        };
        let past = self.pasts[&(item.pipeline.clone(), item.event)].clone();
        let (event, dead_letter, by) = (item.event, item.by_ref(), operator());
        let resource = past.resource.as_str();
        let command = if retry {
            let round = past.round.max(item.round) + 1;
            let was = past.end.unwrap_or(End::DeadLettered);
            let (dead_letter, out_of_order) = (Some(dead_letter), false);
            Command::Redeliver { event, resource, round, dead_letter, others_dead, out_of_order, was, by }
        } else {
            Command::DeleteDeadLetter { event, resource, dead_letter, by }
        };
        if self.ask(&item.pipeline, resource, command).is_ok()
            && let Some(engine) = &mut self.engine
        {
            engine.dead.remove(&item.pipeline, &item.id());
        }
    }

    pub(super) fn redeliver(&mut self, id: &PipelineId, which: u64) {
        let over = self.pasts.iter().filter(|((of, position), past)| {
            of == id && *position <= self.seen && matches!(past.end, Some(End::Delivered | End::DeadLettered))
        });
        let over: Vec<_> = over.map(|((_, event), past)| (*event, past.clone())).collect();
        let Some((event, past)) = over.get(usize::try_from(which).expect("small") % over.len().max(1)) else {
            return;
        };
        let command = Command::Redeliver {
            event: *event,
            resource: &past.resource,
            round: past.round + 1,
            dead_letter: None,
            others_dead: false,
            out_of_order: false,
            was: past.end.expect("it is over"),
            by: operator(),
        };
        drop(self.ask(id, &past.resource, command));
    }

    pub(super) fn order_lane(&mut self, id: &PipelineId, what: u64) {
        let resource = format!("c{}", self.dice.roll(12));
        let by = operator();
        let pending = self
            .pasts
            .iter()
            .filter(|((of, _), past)| of == id && past.end.is_none() && past.resource == resource);
        let pending: Vec<_> = pending.map(|((_, event), _)| *event).collect();
        let command = match what {
            9 => Command::SkipHead { resource: &resource, by },
            10 => Command::ResumeLane { resource: &resource, by },
            _ => {
                let nth = usize::try_from(self.dice.roll(pending.len() as u64)).expect("small");
                let Some(&event) = pending.get(nth) else { return };
                Command::Cancel { event, resource: &resource, by }
            }
        };
        drop(self.ask(id, &resource, command));
    }
}
