//! Which ports of public addresses may be called.
//!
//! Webhook receivers listen on 80, 443 and on ports of the unprivileged range. What answers below 1024 is some
//! other protocol, and so is what listens on the well-known ports listed here: a POST there can only be an
//! attack on a service that reads HTTP as its own commands. An operator's rule that names address and port
//! bypasses the list.

/// Unprivileged ports of services that are no webhook receivers: the `WHATWG` fetch standard's bad ports, and
/// databases, caches, queues and control planes.
const SERVICES: &[u16] = &[
    1433, 1434, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190,
    4369, 5060, 5061, 5432, 5433, 5671, 5672, 5900, 5984, 5985, 5986, 6000, 6379, 6380, 6443, 6566, 6665,
    6666, 6667, 6668, 6669, 6679, 6697, 7000, 7001, 7199, 8500, 8600, 9042, 9092, 9200, 9300, 10080, 10250,
    10255, 11211, 26379, 27017, 27018, 27019,
];

/// Whether a URL may name this port without an operator's rule.
pub(super) fn is_open(port: u16) -> bool {
    matches!(port, 80 | 443) || (port >= 1024 && SERVICES.binary_search(&port).is_err())
}

#[cfg(test)]
mod tests {
    #[test]
    fn services_are_sorted_for_the_search() {
        assert!(super::SERVICES.is_sorted());
    }
}
