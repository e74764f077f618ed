//! Where attempts are found by their number.
//!
//! awc knows nothing of attempts: it carries a ticket number as the path of its request. The connector and the guard
//! read the number and find the attempt here.

use crate::delivery::client::attempt::Attempt;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// The attempts under way.
#[derive(Default)]
pub(super) struct Desk {
    attempts: RefCell<HashMap<u64, Rc<Attempt>>>,
    issued: Cell<u64>,
}

impl Desk {
    /// Registers an attempt for as long as the ticket is held.
    pub(super) fn issue(self: &Rc<Self>, attempt: Rc<Attempt>) -> Ticket {
        let number = self.issued.get();
        self.issued.set(number + 1);
        self.attempts.borrow_mut().insert(number, attempt);
        Ticket { number, desk: Rc::clone(self) }
    }

    /// The attempt with this number, written in decimal.
    pub(super) fn find(&self, number: &str) -> Option<Rc<Attempt>> {
        self.attempts.borrow().get(&number.parse().ok()?).cloned()
    }
}

/// Keeps an attempt registered.
pub(super) struct Ticket {
    pub(super) number: u64,
    desk: Rc<Desk>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.desk.attempts.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_ends_with_its_attempt() {
        let (desk, attempt) = (Rc::new(Desk::default()), Rc::new(Attempt::to("https://example.com/")));
        let ticket = desk.issue(Rc::clone(&attempt));
        let number = ticket.number.to_string();
        assert!(Rc::ptr_eq(&desk.find(&number).unwrap(), &attempt));
        drop(ticket);
        assert!(desk.find(&number).is_none());
    }
}
