//! Descriptors: as many as the system allows, and how many of them strangers may take up.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// For the log, read models and threads, whatever else happens …
const OWN: u64 = 64;
/// … and for each thread that answers requests.
const OF_A_WORKER: u64 = 8;
/// A worker takes so many connections however few descriptors there are.
const CONNECTIONS_MIN: u64 = 4;

/// Raises the limit as far as it may be raised, and answers it; `None` is without end.
pub(crate) fn raise() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            warn!(%error, limit = current, "the limit of descriptors cannot be raised");
            current
        }
    }
}

/// Connections that a worker holds open: what was configured, but all workers together no more than half of what the log
/// leaves of the limit. The other half is for deliveries.
pub(crate) fn connections(limit: Option<u64>, configured: usize, workers: usize) -> usize {
    let Some(limit) = limit else { return configured };
    let workers = u64::try_from(workers).unwrap_or(u64::MAX).max(1);
    let left = limit.saturating_sub(OWN.saturating_add(OF_A_WORKER.saturating_mul(workers)));
    let most = usize::try_from((left / 2 / workers).max(CONNECTIONS_MIN)).unwrap_or(usize::MAX);
    if most < configured {
        warn!(
            limit,
            connections_max = most,
            configured,
            "too few descriptors for `server.connections_max`, it is lowered"
        );
    }
    most.min(configured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_leave_half_of_the_descriptors_to_deliveries() {
        assert_eq!(connections(None, 16_384, 2), 16_384);
        assert_eq!(connections(Some(1 << 20), 16_384, 2), 16_384);
        assert_eq!(connections(Some(1_024), 16_384, 2), 236);
        assert_eq!(connections(Some(1_024), 100, 2), 100);
        assert_eq!(connections(Some(16), 16_384, 2), 4);
    }
}
