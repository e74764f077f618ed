//! Faults on demand, for tests: `LEDGERHOOK_FAILPOINTS=site=action;site=action`.
//!
//! Actions: `panic`, `panic*3` (the first three times), `panic@3` (the third time only), `sleep(250)` (milliseconds),
//! `sleep(250)@3`, `exit(9)`. Only a build with the feature `chaos` has them; without it [`hit`] is empty and the variable is
//! ignored. Tests of this crate may also script the sites that their own thread passes: a panic at any of them, and at
//! hand-over points between the actors a delay.

/// Passes a site.
#[inline]
pub fn hit(site: &str) {
    #[cfg(test)]
    script::hit(site);
    #[cfg(feature = "chaos")]
    chaos::hit(site);
    #[cfg(not(feature = "chaos"))]
    let _ = site;
}

/// A hand-over point of a task: a script may have it take its time. Nothing outside of this crate's tests.
#[inline]
#[cfg_attr(not(test), expect(clippy::unused_async, reason = "it is a point, and not one to wait at"))]
pub(crate) async fn hand_over(site: &str) {
    #[cfg(test)]
    script::hand_over(site).await;
    #[cfg(not(test))]
    let _ = site;
}

/// A hand-over point of an actor: a script may have the messages behind this one wait. Nothing outside of this crate's
/// tests.
#[inline]
pub(crate) fn hold_up<A: actix::Actor<Context = actix::Context<A>>>(site: &str, ctx: &mut actix::Context<A>) {
    #[cfg(test)]
    script::hold_up(site, ctx);
    #[cfg(not(test))]
    let _ = (site, ctx);
}

/// A hand-over point of a task that is polled: true if a script has it wait; it is woken again. Never outside of this
/// crate's tests.
#[inline]
pub(crate) fn postponed(site: &str, cx: &std::task::Context<'_>) -> bool {
    #[cfg(test)]
    return script::postponed(site, cx);
    #[cfg(not(test))]
    {
        let _ = (site, cx);
        false
    }
}

/// Faults that a test draws for the thread that it runs an engine on.
#[cfg(test)]
pub(crate) mod script {
    use actix::{Actor, AsyncContext as _, Context};
    use std::{cell::RefCell, time::Duration};

    /// What happens at the sites that this thread passes.
    pub(crate) trait Script {
        /// Whether it panics at a site.
        fn panics(&mut self, site: &str) -> bool;
        /// How long a hand-over point takes.
        fn delay(&mut self, site: &str) -> Option<Duration>;
    }

    thread_local!(static SCRIPT: RefCell<Option<Box<dyn Script>>> = const { RefCell::new(None) });

    /// From now on, on this thread.
    pub(crate) fn set(script: impl Script + 'static) {
        SCRIPT.with(|current| *current.borrow_mut() = Some(Box::new(script)));
    }

    pub(super) fn hit(site: &str) {
        let panics = SCRIPT.with(|script| script.borrow_mut().as_mut().is_some_and(|one| one.panics(site)));
        if panics {
            // Without the hook: thousands of backtraces would take most of the time.
            std::panic::resume_unwind(Box::new(format!("failpoint {site}")));
        }
    }

    fn delay(site: &str) -> Option<Duration> {
        SCRIPT.with(|script| script.borrow_mut().as_mut().and_then(|one| one.delay(site)))
    }

    pub(super) async fn hand_over(site: &str) {
        if let Some(time) = delay(site) {
            tokio::time::sleep(time).await;
        }
    }

    pub(super) fn postponed(site: &str, cx: &std::task::Context<'_>) -> bool {
        let Some(time) = delay(site) else { return false };
        let waker = cx.waker().clone();
        actix_rt::spawn(async move {
            tokio::time::sleep(time).await;
            waker.wake();
        });
        true
    }

    pub(super) fn hold_up<A: Actor<Context = Context<A>>>(site: &str, ctx: &mut Context<A>) {
        if let Some(time) = delay(site) {
            ctx.wait(actix::fut::wrap_future(tokio::time::sleep(time)));
        }
    }
}

#[cfg(feature = "chaos")]
mod chaos {
    use std::{
        collections::HashMap,
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    #[derive(Debug, PartialEq)]
    enum Action {
        Panic { from: u64, to: u64 },
        Sleep { time: Duration, only: Option<u64> },
        Exit(i32),
    }

    static SITES: LazyLock<HashMap<String, (Action, AtomicU64)>> = LazyLock::new(|| {
        let text = std::env::var("LEDGERHOOK_FAILPOINTS").unwrap_or_default();
        text.split(';').filter(|part| !part.trim().is_empty()).map(site).collect()
    });

    fn site(text: &str) -> (String, (Action, AtomicU64)) {
        let parsed =
            text.split_once('=').and_then(|(name, action)| Some((name.trim(), action_of(action.trim())?)));
        let (name, action) = parsed.unwrap_or_else(|| panic!("LEDGERHOOK_FAILPOINTS: cannot read `{text}`"));
        (name.to_owned(), (action, AtomicU64::new(0)))
    }

    fn action_of(text: &str) -> Option<Action> {
        let argument = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        if let Some(rest) = text.strip_prefix("sleep(") {
            let (ms, only) = rest.split_once(')')?;
            let only = if only.is_empty() { None } else { Some(only.strip_prefix('@')?.parse().ok()?) };
            return Some(Action::Sleep { time: Duration::from_millis(ms.parse().ok()?), only });
        }
        if let Some(code) = argument("exit") {
            return Some(Action::Exit(code.parse().ok()?));
        }
        match text.strip_prefix("panic")? {
            "" => Some(Action::Panic { from: 1, to: u64::MAX }),
            times if times.starts_with('*') => Some(Action::Panic { from: 1, to: times[1..].parse().ok()? }),
            time if time.starts_with('@') => {
                let nth = time[1..].parse().ok()?;
                Some(Action::Panic { from: nth, to: nth })
            }
            _ => None,
        }
    }

    pub(super) fn hit(site: &str) {
        let Some((action, count)) = SITES.get(site) else { return };
        let nth = count.fetch_add(1, Ordering::Relaxed) + 1;
        match action {
            Action::Panic { from, to } if (*from..=*to).contains(&nth) => panic!("failpoint {site}"),
            Action::Sleep { time, only } if only.is_none_or(|only| only == nth) => std::thread::sleep(*time),
            Action::Panic { .. } | Action::Sleep { .. } => {}
            Action::Exit(code) => std::process::exit(*code),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn actions_are_read() {
            assert_eq!(action_of("panic*3"), Some(Action::Panic { from: 1, to: 3 }));
            assert_eq!(action_of("panic@3"), Some(Action::Panic { from: 3, to: 3 }));
            assert_eq!(
                action_of("sleep(250)"),
                Some(Action::Sleep { time: Duration::from_millis(250), only: None })
            );
            let third = Action::Sleep { time: Duration::from_millis(250), only: Some(3) };
            assert_eq!(action_of("sleep(250)@3"), Some(third));
            assert_eq!(action_of("exit(9)"), Some(Action::Exit(9)));
            assert_eq!(action_of("explode"), None);
        }
    }
}
