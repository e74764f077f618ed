//! What every [`Transport`] must survive: the suite of misbehaving receivers.
//!
//! Receivers are raw sockets that say exactly what a test tells them to. Cases are named by the numbers of the
//! reliability list (`rcv_3_…`, `url_12_…`) and of the defects found in awc (`d1_…`). A transport passes the
//! suite or is not used.

mod addresses;
mod answers;
mod connections;
mod limits;
mod receiver;
mod requests;
mod trust;

use super::client::{self, ClientConfig, Kind};
use super::headers::Headers;
use super::resolve::{Found, NameLookup};
use super::target::EgressPolicy;
use super::{Exchange, Request, Transport};
use crate::domain::id::TenantId;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Builds the transport under test.
type Make = fn(ClientConfig) -> Rc<dyn Transport>;

macro_rules! suite {
    ($($group:ident: $($case:ident)*;)*) => {
        suite! { @ direct Direct $($group: $($case)*;)* }
        suite! { @ awc Awc $($group: $($case)*;)* }
    };
    (@ $transport:ident $kind:ident $($group:ident: $($case:ident)*;)*) => {
        mod $transport {
            use super::*;
            $($(
                #[actix::test]
                async fn $case() {
                    $group::$case(|config| client::transport(Kind::$kind, &config)).await;
                }
            )*)*
        }
    };
}

suite! {
    answers:
        rcv_6_every_2xx_is_delivered
        rcv_7_every_other_status_is_an_error_with_its_number
        rcv_8_retry_after_is_handed_on_as_written
        rcv_13_only_the_status_counts
        url_5_redirects_are_not_followed
        d1_interim_answers_are_skipped_and_never_shift_answers
        d2_a_body_without_length_ends_with_its_connection
        rcv_9_a_cut_answer_is_no_success
        d4_an_early_answer_to_a_large_body_is_read
        contradictory_framing_leaves_the_status_and_ends_the_connection
        garbage_is_a_protocol_error_at_once
        old_servers_are_understood;
    limits:
        rcv_1_a_silent_receiver_costs_the_timeout_and_no_more
        rcv_2_a_dripping_head_ends_at_the_deadline
        rcv_3_a_dripping_body_ends_at_the_deadline_and_counts_by_its_status
        rcv_4_endless_bodies_are_read_to_the_cap
        rcv_4_ten_declared_gigabytes_are_read_to_the_cap
        rcv_5_compressed_bodies_are_not_inflated
        interim_floods_and_oversized_heads_are_refused
        a_receiver_that_does_not_read_costs_the_timeout;
    connections:
        rcv_9_a_reset_is_one_failed_attempt_and_not_sent_again
        rcv_10_a_lost_answer_is_a_failure
        rcv_11_slow_receivers_do_not_hold_up_others
        rcv_12_a_poisoned_request_fails_alone
        requests_share_a_connection_and_get_their_own_answers
        d5_idle_connections_are_closed_by_themselves
        d5_connections_closed_by_receivers_do_not_pile_up
        d6_leftover_bytes_end_the_connection
        unasked_bytes_between_requests_end_the_connection
        a_connection_closed_while_idle_is_noticed_before_its_reuse
        a_connection_is_given_up_before_its_receiver_does
        nothing_is_reused_after_a_timeout
        no_answer_ever_reaches_another_request;
    requests:
        the_request_arrives_exactly_as_asked_for
        bodies_arrive_whole_with_their_length
        control_characters_in_headers_are_refused_before_anything_is_sent
        timings_tell_where_the_time_went;
    addresses:
        url_4_the_address_that_is_dialled_is_the_one_that_was_judged
        url_6_literals_are_judged_at_dial_as_well
        url_12_a_rule_opens_one_address_and_port
        url_13_names_that_do_not_resolve_fail_within_the_timeout
        url_14_a_blocked_target_tells_nothing_else
        addresses_are_tried_in_order_and_forbidden_ones_skipped
        nothing_listening_is_refused
        an_address_that_swallows_connects_costs_its_share_of_the_time;
    trust:
        https_is_carried_and_its_connection_reused
        tls_sessions_are_resumed
        url_15_untrusted_certificates_are_tls_errors
        url_15_old_protocols_are_tls_errors
        a_stuck_handshake_ends_at_the_deadline
        cut_bodies_and_early_answers_over_tls
        a_certificate_is_shown_to_those_who_ask_and_by_its_own_requests_alone
        a_refused_certificate_is_a_tls_error;
}

/// Short enough for a test, long enough for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(600);
/// How late an attempt may end: the larger of 10 % and 250 ms is promised (I15), a busy test machine adds to it.
const LATE: Duration = Duration::from_millis(400);

/// A configuration that opens the loopback network.
fn config() -> ClientConfig {
    config_allowing(&["127.0.0.0/8"])
}

fn config_allowing(rules: &[&str]) -> ClientConfig {
    let allow = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let mut config =
        ClientConfig::new(EgressPolicy { allow, allow_http: true, ..EgressPolicy::default() }, &[]).unwrap();
    config.names = Arc::new(Names::default());
    config
}

fn post(url: impl AsRef<str>) -> Request {
    Request {
        tenant: TenantId::new("tenant_a"),
        method: "POST",
        url: url.as_ref().parse().unwrap(),
        headers: headers([("Content-Type", "application/json")]),
        body: Bytes::from_static(b"{\"n\":1}"),
        trust: None,
        timeout: TIMEOUT,
    }
}

fn headers<const N: usize>(headers: [(&str, &str); N]) -> Arc<Headers> {
    Arc::new(headers.into_iter().collect())
}

/// A request with time to spare: what it waits for is an event, not its deadline.
fn patient(url: impl AsRef<str>) -> Request {
    Request { timeout: Duration::from_secs(20), ..post(url) }
}

fn assert_ended_at_deadline(exchange: &Exchange) {
    let took = exchange.timings.total;
    assert!(took >= TIMEOUT && took < TIMEOUT + LATE, "ended after {took:?}");
}

/// Names with fixed addresses; any other name never resolves, and `hangs.example.com` takes for ever.
#[derive(Default)]
struct Names(HashMap<&'static str, Vec<IpAddr>>);

impl Names {
    fn with(name: &'static str, addresses: &[&str]) -> Self {
        Self(HashMap::from([(name, addresses.iter().map(|ip| ip.parse().unwrap()).collect())]))
    }
}

impl NameLookup for Names {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Found>> {
        if host == "hangs.example.com" {
            return std::future::pending().boxed();
        }
        let found =
            self.0.get(host.as_str()).cloned().map(Found::from).ok_or_else(|| io::ErrorKind::NotFound.into());
        std::future::ready(found).boxed()
    }
}
