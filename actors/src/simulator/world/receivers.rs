//! Where requests go.

use super::*;

impl World {
    pub(super) fn send(&mut self, start: &Start) {
        let engine = self.engine.as_ref().expect("alive");
        let Some((url, body)) = engine.request(start) else { return };
        let (life, engine_time) = (engine.life, engine.time());
        let Start { pipeline, attempt, step, queue, .. } = start;
        let control = &engine.whole.pipelines[pipeline].config().control;
        let is_held = control.rate_per_second.is_some() || matches!(control.breaker, BreakerSetting::On(_));
        let past = &self.pasts[&(pipeline.clone(), attempt.event)];
        let lane = (pipeline.clone(), past.resource.clone());
        if let Some((then, due, decided)) = past.retry {
            assert!(engine_time >= due, "{pipeline} {attempt:?} starts before its time (I14, CLK.1)");
            // By the clock that no jump reaches, and unless something held it up, it is in time, too.
            let wanted = decided + u64::try_from(due.since(then).as_millis()).expect("short enough");
            assert!(self.now >= wanted, "{pipeline} {attempt:?} starts before its time (I14, CLK.1)");
            let held_up = self.full
                || self.disturbed + 10 * SECOND >= decided
                || self.now <= self.sluggish_until + 30 * SECOND;
            assert!(
                held_up || is_held || self.now <= wanted + SECOND,
                "{pipeline} {attempt:?} is late (I14)"
            );
        }
        assert!(
            !self.still.contains(pipeline),
            "{pipeline} is paused or deleted, and {attempt:?} starts (I10)"
        );
        let answer = self.network.answer(&url, self.now, self.calm, &mut self.dice);
        let (number, ends) = (self.requests.len(), self.now + answer.takes_ms);
        if answer.arrives {
            let before = self.open.insert(lane, number);
            assert!(before.is_none(), "two at once in one lane (I7): {attempt:?}");
        }
        self.requests.push(Sent {
            pipeline: pipeline.clone(),
            attempt: *attempt,
            step: *step,
            queue: *queue,
            body,
            answer,
            heard: false,
        });
        self.schedule(ends, Happening::Ended(life, number));
    }

    pub(super) fn ended(&mut self, life: u64, number: usize) {
        let request = &mut self.requests[number];
        let Some(engine) = self.engine.as_mut().filter(|engine| engine.life == life) else { return };
        request.heard = true;
        let past = &self.pasts[&(request.pipeline.clone(), request.attempt.event)];
        self.open.remove(&(request.pipeline.clone(), past.resource.clone()));
        let roll = f64::from(u32::try_from(self.dice.roll(1_000)).expect("small")) / 1_000.0;
        let after = request.answer.retry_after.map(Duration::from_secs);
        // Now and then the attempt's own task panics.
        let panics = !self.calm && self.plan.has(Hazard::Kills) && self.dice.one_in(100);
        let outcome = (!panics).then(|| request.answer.outcome());
        if panics {
            request.answer.class = OutcomeClass::Unknown;
        }
        engine.ended(request, outcome, after, roll);
    }
}
