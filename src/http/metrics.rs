//! `GET /metrics`: Prometheus text. No tenant, no id, no URL: whoever scrapes it learns how the engine does.

use super::error::ApiResult;
use actix_web::{HttpResponse, web::Data};
use ledgerhook_actors::engine::{Applied, EngineHandle, Holder};
use std::{collections::BTreeMap, fmt::Display, fmt::Write as _};

/// The exposition format, version 0.0.4.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is counted.
pub(crate) async fn show(engine: Data<EngineHandle>) -> ApiResult<HttpResponse> {
    let mut text = Text::default();
    let state = engine.state().await?;
    let actors = engine.actors();
    let log = engine.log();

    text.family("ledgerhook_build_info", "gauge", "Version of the running engine.");
    text.sample("ledgerhook_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("ledgerhook_ready", "gauge", "Whether the engine takes work.");
    text.sample("ledgerhook_ready", &[], u8::from(engine.problems().is_empty()));
    text.family("ledgerhook_log_position", "gauge", "Last position of the log, appended and durable.");
    text.sample("ledgerhook_log_position", &[("state", "appended")], log.tail());
    text.sample("ledgerhook_log_position", &[("state", "durable")], log.watermark().get());
    text.family("ledgerhook_projections_lag_records", "gauge", "Durable records that lists do not show yet.");
    text.sample("ledgerhook_projections_lag_records", &[], engine.projections().lag());
    text.family("ledgerhook_events_total", "counter", "Events accepted.");
    text.sample("ledgerhook_events_total", &[], state.events);

    let counts = state.deliveries;
    text.family("ledgerhook_deliveries", "gauge", "Deliveries by state.");
    for (state, count) in [
        ("queued", counts.queued),
        ("in_flight", counts.in_flight),
        ("retrying", counts.retrying),
        ("held", counts.held),
        ("delivered", counts.delivered),
        ("dead_lettered", counts.dead_lettered),
        ("skipped", counts.skipped),
        ("cancelled", counts.cancelled),
    ] {
        text.sample("ledgerhook_deliveries", &[("state", state)], count);
    }

    text.family(
        "ledgerhook_dead_letters_dropped_total",
        "counter",
        "Dead letters dismissed for want of room since the process began.",
    );
    text.sample("ledgerhook_dead_letters_dropped_total", &[], engine.dead_letters_dropped());

    if let Some(applied) = engine.retention() {
        let Applied { floor, log_bytes, excess_bytes, .. } = applied;
        text.family("ledgerhook_log_bytes", "gauge", "Size of the log when payloads were last let go.");
        text.sample("ledgerhook_log_bytes", &[], log_bytes);
        text.family("ledgerhook_log_excess_bytes", "gauge", "How much of it is over `log.bytes_max`.");
        text.sample("ledgerhook_log_excess_bytes", &[], excess_bytes);
        text.family("ledgerhook_retention_floor", "gauge", "Position whose payload is needed, and by whom.");
        let held_by = floor.held_by.map_or("nothing", Holder::as_str);
        text.sample("ledgerhook_retention_floor", &[("held_by", held_by)], floor.position);
    }

    let endpoints = engine.endpoint_totals();
    text.family("ledgerhook_endpoints", "gauge", "Endpoints whose circuit breaker is not closed, by state.");
    for (state, count) in
        [("open", endpoints.open), ("half_open", endpoints.half_open), ("recovering", endpoints.recovering)]
    {
        text.sample("ledgerhook_endpoints", &[("state", state)], count);
    }
    text.family(
        "ledgerhook_deferrals_total",
        "counter",
        "Times that due deliveries began to wait for their endpoint since the process began.",
    );
    text.sample("ledgerhook_deferrals_total", &[("reason", "breaker")], endpoints.deferred_by_breaker);
    text.sample("ledgerhook_deferrals_total", &[("reason", "rate")], endpoints.deferred_by_rate);

    let (mut by_state, mut restarts) = (BTreeMap::new(), BTreeMap::new());
    for actor in &actors {
        *by_state.entry((actor.kind, actor.state)).or_insert(0_u64) += 1;
        *restarts.entry(actor.kind).or_insert(0_u64) += actor.restarts;
    }
    text.family("ledgerhook_actors", "gauge", "Actors by kind and state.");
    for ((kind, state), count) in by_state {
        text.sample("ledgerhook_actors", &[("kind", kind), ("state", state)], count);
    }
    text.family("ledgerhook_actor_restarts_total", "counter", "Restarts of actors since the process began.");
    for (kind, count) in restarts {
        text.sample("ledgerhook_actor_restarts_total", &[("kind", kind)], count);
    }
    Ok(HttpResponse::Ok().content_type(FORMAT).body(text.0))
}

/// The text as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values are our own words: nothing in them needs an escape.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_scrapers_read_them() {
        let mut text = Text::default();
        text.family("a", "gauge", "Help.");
        text.sample("a", &[("x", "1"), ("y", "2")], 3);
        text.sample("a", &[], 4);
        assert_eq!(text.0, "# HELP a Help.\n# TYPE a gauge\na{x=\"1\",y=\"2\"} 3\na 4\n");
    }
}
