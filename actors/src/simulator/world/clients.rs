//! Producers: they post, wait, and post again.

use super::*;

impl World {
    pub(super) fn post(&mut self, number: u32) {
        let now = self.now;
        let post = &mut self.posts[number as usize];
        post.first_sent.get_or_insert(now);
        post.waits = true;
        if let Some(engine) = &mut self.engine {
            engine.accept(number, &post.id, &post.resource, &post.body);
        }
        // No answer, or a 503: producers ask again, for some hours; a few give up at once.
        let is_stubborn = self.calm || !self.dice.one_in(30);
        if is_stubborn
            && (self.calm || now < self.posts[number as usize].first_sent.unwrap_or(now) + 12 * HOUR)
        {
            let again = now + 30 * SECOND + self.dice.roll(MINUTE);
            self.schedule(again, Happening::Impatience(number));
        }
    }

    pub(super) fn acknowledge(&mut self, number: u32) {
        let now = self.now;
        // The answer may be lost on its way; then the same event comes again.
        if self.plan.has(Hazard::Network) && !self.calm && self.dice.one_in(25) {
            return;
        }
        let post = &mut self.posts[number as usize];
        post.acknowledged.get_or_insert(now);
        post.waits = false;
        if self.dice.one_in(20) && !self.calm {
            let again = now + self.dice.roll(HOUR);
            self.schedule(again, Happening::Post(number));
        }
    }
}
