//! What goes wrong, and how it all ends well.

use super::*;

impl World {
    pub(super) fn trouble(&mut self, hazard: Hazard) {
        self.disturbed = self.now;
        match hazard {
            // Half of the kills come between two operations, half in the middle of one.
            Hazard::Kills | Hazard::Power if self.dice.one_in(2) => {
                if self.engine.is_some() {
                    self.end_life("between two operations");
                }
            }
            Hazard::Kills | Hazard::Power => {
                let moment = self.disk.operations() + 1 + self.dice.roll(20);
                self.disk.plan(moment, Fault::Stop);
            }
            Hazard::Disk => {
                let moment = self.disk.operations() + 1 + self.dice.roll(20);
                self.disk.plan(moment, Fault::Error);
            }
            Hazard::Space => {
                self.full = true;
                self.disk.set_free(Some(self.dice.roll(200 << 10)));
                let until = self.now + self.dice.roll(6 * HOUR);
                self.schedule(until, Happening::Relief(Hazard::Space));
            }
            Hazard::Sluggish => self.sluggish_until = self.now + self.dice.roll(20 * MINUTE),
            Hazard::Clock => {
                let reach = if self.dice.one_in(2) { HOUR } else { 2 * DAY };
                let jump = i64::try_from(self.dice.roll(2 * reach)).expect("small");
                self.skew += jump - i64::try_from(reach).expect("small");
            }
            Hazard::Network | Hazard::Outages | Hazard::Operators | Hazard::Snapshots | Hazard::Lag => {}
        }
    }

    /// Everything is well from now on, and somebody looks after what waits for people.
    pub(super) fn calm(&mut self) {
        self.calm = true;
        (self.sluggish_until, self.full, self.disturbed) = (0, false, self.now);
        self.disk.mend();
        self.disk.set_free(None);
        let now = self.now;
        self.heap.retain(|_, happening| {
            !matches!(happening, Happening::Trouble(_) | Happening::Operator | Happening::Snapshot(_))
        });
        self.schedule(now, Happening::Start);
        for number in 0..self.posts.len() {
            if self.posts[number].waits {
                self.schedule(now + SECOND, Happening::Impatience(u32::try_from(number).expect("small")));
            }
        }
        self.schedule(now + MINUTE, Happening::Resume);
    }

    pub(super) fn resume(&mut self) {
        let Some(engine) = &self.engine else { return };
        let mut asks = Vec::new();
        for (id, pipeline) in &engine.whole.pipelines {
            if !pipeline.is_deleted() && pipeline.status() != Status::Active {
                let mut config = crate::domain::step::PipelineConfig::clone(pipeline.config());
                config.status = Status::Active;
                asks.push((id.clone(), Err(config)));
            }
            let halted = pipeline.mailbox().lanes().filter(|lane| lane.is_halted());
            let mut halted: Vec<_> = halted.map(|lane| lane.resource.to_string()).collect();
            halted.sort();
            asks.extend(halted.into_iter().map(|resource| (id.clone(), Ok(resource))));
        }
        let is_over = asks.is_empty() && self.pasts.values().all(|past| past.end.is_some());
        for (id, ask) in asks {
            match ask {
                Ok(resource) => {
                    let command = Command::ResumeLane { resource: &resource, by: operator() };
                    drop(self.ask(&id, &resource, command));
                }
                Err(config) => {
                    let event = PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None };
                    self.configure(&id, &event);
                }
            }
        }
        if !is_over && self.now < u64::from(self.plan.days) * DAY + 11 * HOUR {
            self.schedule(self.now + 10 * MINUTE, Happening::Resume);
        }
    }
}
