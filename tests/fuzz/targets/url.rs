//! What the guard lets through names no forbidden address, however it is spelt, and means the same to a second parser.

#![no_main]

use ledgerhook_actors::{
    delivery::target::{EgressPolicy, check_target, check_url},
    secrets::{masked_url, shown_url, unmasked_url},
};
use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;

fuzz_target!(|text: &str| {
    let (masked, _) = masked_url(text);
    let _ = (shown_url(&masked), unmasked_url(text, Some(&masked)));
    for allow_http in [false, true] {
        let policy = EgressPolicy { allow_http, ..EgressPolicy::default() };
        let Ok(url) = check_url(text, &policy) else { continue };
        let (host, port) = (url.host_str().expect("a host"), url.port_or_known_default().expect("a port"));
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            assert!(policy.check_address(SocketAddr::new(ip, port)).is_ok(), "{text}");
        }
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{text}");
        let again = check_url(url.as_str(), &policy).expect("what was let through is let through");
        assert_eq!(url, again);
        check_target(&url, &policy).expect("the same");
    }
});
