//! Starts, ends, and what the disk holds in between.

use super::*;

impl World {
    pub(super) fn start(&mut self) {
        self.lives += 1;
        self.disturbed = self.now;
        if !self.calm && self.plan.has(Hazard::Kills) && self.lives > 1 && self.dice.one_in(4) {
            let moment = self.disk.operations() + 1 + self.dice.roll(25);
            self.disk.plan(moment, if self.dice.one_in(3) { Fault::Error } else { Fault::Stop });
        }
        let wall = Timestamp((T0.0 + self.now).saturating_add_signed(self.skew));
        match Engine::start(&self.disk, self.lives, (wall, self.now), self.plan.mistake) {
            Ok((engine, found)) => {
                self.compare(found.end, &found.bodies);
                let life = engine.life;
                self.engine = Some(engine);
                self.turn_is_due = false;
                if self.plan.has(Hazard::Snapshots) && !self.calm {
                    let at = self.now + self.dice.roll(DAY);
                    self.schedule(at, Happening::Snapshot(life));
                }
                if self.placed.is_empty() {
                    self.create("pipe_a");
                    self.create("pipe_b");
                }
            }
            Err(error) => {
                let planned = self.disk.is_stopped() || matches!(error, LogError::Io { .. });
                assert!(planned && !self.calm, "it does not start: {error}");
                self.end_life("while it started");
            }
        }
    }

    /// What a start found is what was there: nothing lost that was seen outside, nothing changed, nothing invented.
    pub(super) fn compare(&mut self, end: Position, bodies: &[Bytes]) {
        assert!(end >= self.seen, "{} was seen outside, and the log ends at {end} (I1)", self.seen);
        assert_eq!(end.0, bodies.len() as u64, "all can be read");
        assert!(bodies.len() <= self.placed.len(), "records that nobody wrote (I2)");
        for (position, (found, placed)) in (1..).zip(bodies.iter().zip(&self.placed)) {
            assert_eq!(*found, placed.body, "record {position} has changed (I24)");
        }
        if bodies.len() < self.placed.len() {
            self.placed.truncate(bodies.len());
            self.pasts.clear();
            for (position, placed) in (1..).zip(&self.placed) {
                learn(&mut self.pasts, Position(position), placed, self.now);
            }
        }
        // A retry that was decided in a former life is due by the engine's clock, which the wall clock may have moved.
        self.pasts.values_mut().for_each(|past| past.retry = None);
        self.seen = end;
    }

    /// The process is gone, in whatever way.
    pub(super) fn end_life(&mut self, _how: &'static str) {
        self.kills += 1;
        self.engine = None;
        if self.plan.has(Hazard::Power) && self.dice.one_in(2) {
            let dice = &mut self.dice;
            self.disk.cut_power(&mut |below| dice.roll(below));
        } else {
            self.disk.kill();
        }
        self.disk.mend();
        self.open.clear();
        if self.dice.one_in(4) {
            let verified = stepped::verify(Arc::new(self.disk.clone()), Path::new(LOG));
            match verified {
                Ok(verified) => assert_eq!(verified.problems, [], "the log does not verify (I22)"),
                Err(error) => assert_eq!(self.seen, Position::START, "{error}"),
            }
        }
        let down = if self.dice.one_in(5) { self.dice.roll(HOUR) } else { 50 + self.dice.roll(MINUTE) };
        self.schedule(self.now + down, Happening::Start);
    }

    pub(super) fn turn(&mut self) {
        self.turn_is_due = false;
        let Some(engine) = &mut self.engine else { return };
        let Ok((worked, released)) = engine.turn() else {
            // The disk failed under the log: the process ends, and what is on disk is looked at by the next.
            assert!(!self.calm, "the log ended on a disk without faults");
            self.end_life("because the log failed");
            return;
        };
        self.seen = engine.log.watermark().get();
        let (behind, life) = (engine.is_behind(), engine.life);
        for (position, effect) in released {
            self.seen = self.seen.max(position);
            self.effect(effect);
        }
        if behind && !self.turn_is_due {
            // Without space there is nothing to do but to look again.
            self.turn_is_due = true;
            let wait = if worked { 1 } else { SECOND };
            self.schedule(self.now + wait, Happening::Turn(life));
        }
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Accepted(post) => self.acknowledge(post),
            Effect::Done(action) => self.done(action),
            Effect::Send(start) => self.send(&start),
            Effect::Follow(..) => {}
        }
    }

    pub(super) fn hear(&mut self, id: &PipelineId, part: u16) {
        let configured = self.dice.one_in(2);
        self.engine.as_mut().expect("alive").hear(id, part, configured);
    }
}
