//! The log over HTTP, page by page and as it grows: no record is left out, and none comes twice.

use crate::support::{
    Api, Receiver, TestServer,
    make::{Pipeline, post},
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Accepts so many events in one batch, each with an own resource.
fn accept(api: &Api, ids: std::ops::Range<usize>) {
    let event = |n| json!({"type": "click.tracked", "resource": format!("click_{n}"), "data": {"n": n}});
    let events: Vec<Value> = ids.map(event).collect();
    api.post("/api/events/batch", &json!({ "events": events })).data(202);
}

/// A server at rest, with some hundred records of several streams and kinds.
fn filled() -> (TestServer, Receiver) {
    let (server, receiver) = (TestServer::start(), Receiver::healthy());
    Pipeline::to(&receiver).with("trigger_type", "click").with("status", "paused").create(&server.api());
    accept(&server.api(), 0..300);
    (server, receiver)
}

fn positions(api: &Api, query: &str, limit: usize) -> Vec<u64> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/log?limit={limit}{query}{cursor}")).data(200);
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= limit);
        found.extend(items.iter().map(|item| item["position"].as_u64().expect("a position")));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// The positions of the followed records up to and including `last`.
fn followed(api: &Api, mut stream: TcpStream, last: u64) -> Vec<u64> {
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
    let (mut text, mut part) = (String::new(), [0; 16_384]);
    let end = format!("id: {last}\n");
    while !text.split_inclusive('\n').any(|line| line == end) {
        let length = stream.read(&mut part).expect("an event");
        assert!(length > 0, "the stream of {} ended", api.address);
        text += &String::from_utf8_lossy(&part[..length]);
    }
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

fn follow(api: &Api, from: u64) -> TcpStream {
    let mut stream = TcpStream::connect(api.address).expect("a connection");
    let (address, key) = (api.address, &api.key);
    write!(
        stream,
        "GET /api/stream?from={from} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\r\n"
    )
    .expect("a request");
    stream
}

/// ADM.13
#[test]
fn pages_of_any_size_tell_every_record_once() {
    let (server, _receiver) = filled();
    let api = server.api();
    let last = api.get("/api/state").data(200)["position"].as_u64().expect("a position");
    let all: Vec<u64> = (1..=last).collect();
    for limit in [2, 3, 100, 250] {
        assert_eq!(positions(&api, "", limit), all, "limit {limit}");
    }
    // One by one takes a call each, so only the end.
    let from = last - 20;
    assert_eq!(positions(&api, &format!("&from={from}"), 1), all[usize::try_from(from).expect("few") - 1..]);
    for query in ["&stream=pipeline", "&stream=tenant", "&kind=event_accepted", "&kind=pipeline_created"] {
        let found = positions(&api, query, 250);
        assert!(!found.is_empty() && found.len() < all.len(), "{query}");
        for limit in [3, 100] {
            assert_eq!(positions(&api, query, limit), found, "{query}, limit {limit}");
        }
    }
    let answer = api.get("/api/log?cursor=bG9nOmdhcmJhZ2U");
    assert_eq!(answer.data(422)["errors"][0]["code"], "bad_cursor");
}

/// ADM.13
#[test]
fn a_follower_misses_nothing() {
    let (server, _receiver) = filled();
    let api = server.api();
    let position = || api.get("/api/state").data(200)["position"].as_u64().expect("a position");
    let (before, live) = (position(), follow(&api, position() + 1));
    assert_eq!(followed(&api, follow(&api, 1), before), (1..=before).collect::<Vec<_>>());
    accept(&api, 300..550);
    let after = position();
    assert_eq!(followed(&api, live, after), (before + 1..=after).collect::<Vec<_>>());
    let too_far = api.with_header("Last-Event-ID", &u64::MAX.to_string()).get("/api/stream");
    assert_eq!(too_far.json["code"], "bad_last_event_id", "{too_far:?}");
}

/// Resources have up to 256 bytes; a page of lanes goes on behind any of them.
#[test]
fn lanes_of_the_longest_resources_are_paged_through() {
    let (server, receiver) = (TestServer::start(), Receiver::healthy());
    let api = server.api();
    let pipeline =
        Pipeline::to(&receiver).with("trigger_type", "click").with("status", "paused").create(&api);
    let resources = ["a".repeat(256), "b".repeat(187), "é".repeat(128)];
    for resource in &resources {
        post(&api, &json!({"type": "click.tracked", "resource": resource, "data": {}}));
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for _ in &resources {
        let page = api.get(&format!("/api/pipelines/{pipeline}/lanes?limit=1{cursor}")).data(200);
        found.push(page["items"][0]["resource"].as_str().expect("a resource").to_owned());
        cursor = format!("&cursor={}", page["next"].as_str().unwrap_or_default());
    }
    assert_eq!(found, resources);
}
