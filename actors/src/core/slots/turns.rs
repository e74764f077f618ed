//! Whose turn it is: tenants one after the other, and of each whatever waits longest.

use super::Share;
use crate::domain::id::TenantId;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    rc::Rc,
};

/// Those who wait. Nothing stands here twice.
pub(super) struct Turns<T> {
    order: VecDeque<Rc<Share>>,
    lines: HashMap<TenantId, Line<T>>,
}

struct Line<T> {
    order: VecDeque<T>,
    standing: HashSet<T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { order: VecDeque::new(), lines: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Turns<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Tenants that wait, by turns.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &Rc<Share>> {
        self.order.iter()
    }

    pub(super) fn has(&self, tenant: &Share) -> bool {
        self.lines.contains_key(&tenant.tenant)
    }

    pub(super) fn stand(&mut self, tenant: &Rc<Share>, what: &T) {
        let line = self.lines.entry(tenant.tenant.clone()).or_insert_with(|| {
            self.order.push_back(Rc::clone(tenant));
            Line { order: VecDeque::new(), standing: HashSet::new() }
        });
        if line.standing.insert(what.clone()) {
            line.order.push_back(what.clone());
        }
    }

    /// Takes out what waits longest of the first tenant that `may`; its next turn comes after all others.
    pub(super) fn next(&mut self, may: impl Fn(&Rc<Share>) -> bool) -> Option<(Rc<Share>, T)> {
        let at = self.order.iter().position(may)?;
        let tenant = self.order.remove(at)?;
        let line = self.lines.get_mut(&tenant.tenant)?;
        let what = line.order.pop_front()?;
        line.standing.remove(&what);
        if line.order.is_empty() {
            self.lines.remove(&tenant.tenant);
        } else {
            self.order.push_back(Rc::clone(&tenant));
        }
        Some((tenant, what))
    }
}
