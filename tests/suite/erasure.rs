//! What is erased is gone from the disk: the whole data folder is searched for it, before and after.

use crate::support::{
    Api, Received, Receiver, Reply, TestServer, eventually, files,
    make::{Pipeline, conversion, post},
    server::Start,
};
use serde_json::{Value, json};
use std::{path::Path, thread, time::Duration};

/// Files of the folder that hold a text.
fn holders(data_dir: &Path, text: &str) -> Vec<String> {
    let found = files(data_dir).into_iter();
    // As a text, which the standard library searches fast though this is a debug build.
    let found = found.filter(|(_, bytes)| String::from_utf8_lossy(bytes).contains(text));
    found.map(|(path, _)| path.display().to_string()).collect()
}

/// With segments that are quickly searched.
fn small() -> Start {
    TestServer::with().variable("LEDGERHOOK_LOG_SEGMENT_BYTES", "8388608")
}

fn noted(id: &str, resource: &str, note: &str) -> Value {
    let mut event = conversion(id, resource, 1);
    event["data"]["note"] = json!(note);
    event
}

/// Repeats what it got, by resource: taken, refused for good, or not now.
fn echo(request: &Received) -> Reply {
    let text = String::from_utf8_lossy(&request.message.body).into_owned();
    match request.resource().as_str() {
        "dead" => Reply::Body(400, text),
        "waits" => Reply::Body(503, text),
        "slow" => {
            thread::sleep(Duration::from_millis(1500));
            Reply::Body(503, text)
        }
        _ => Reply::Text(text),
    }
}

fn count(api: &Api, state: &str) -> u64 {
    api.get("/api/state").data(200)["deliveries"][state].as_u64().expect("a count")
}

fn erase(api: &Api, event: &str) -> Value {
    let answer = api.delete(&format!("/api/events/{event}")).data(200);
    assert_eq!((&answer["erased"], &answer["finished"]), (&json!(true), &json!(true)), "{answer}");
    answer
}

fn is_sound(server: &mut TestServer) {
    assert_eq!(server.api().get("/api/log/verify").data(200)["sound"], true);
    assert!(server.terminate().success());
    let verified = server.verb(&["log", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// SEC.1: whether it was delivered, failed for good or waits, of an erased event nothing that was posted or answered
/// is on the disk, and its neighbours are.
#[test]
fn an_erased_event_is_gone_from_the_disk() {
    let receiver = Receiver::start(echo);
    let mut server = small().start();
    let api = server.api();
    // Its dead letters come at the first failure; what waits does so for an hour.
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    let patient = Pipeline::to(&receiver).retry(5, 3600).with("trigger_type", "click");
    patient.create(&api);
    let click = |id: &str, resource: &str, note: &str| {
        let data = json!({"click_id": resource, "note": note});
        json!({"id": id, "type": "click.tracked", "data": data})
    };
    post(&api, &noted("evt_taken", "taken", "canary-one"));
    post(&api, &noted("evt_dead", "dead", "canary-two"));
    post(&api, &click("evt_waits", "waits", "canary-three"));
    post(&api, &click("evt_behind", "waits", "canary-four"));
    post(&api, &noted("evt_stays", "taken", "neighbour"));
    eventually("all have been tried", || {
        let tried = count(&api, "delivered") == 2 && count(&api, "dead_lettered") == 1;
        (tried && count(&api, "retrying") == 1 && count(&api, "queued") == 1).then_some(())
    });
    let canaries = ["canary-one", "canary-two", "canary-three", "canary-four"];
    for canary in canaries {
        assert!(!holders(&server.data_dir, canary).is_empty(), "{canary} was never there");
    }
    // The answers repeated it: events and excerpts are two payloads each, but for the one that was never sent.
    for (event, payloads) in [("evt_taken", 2), ("evt_dead", 2), ("evt_behind", 1), ("evt_waits", 2)] {
        assert_eq!(erase(&api, event)["payloads"], payloads, "{event}");
    }
    let gone = |server: &TestServer| {
        for canary in canaries {
            assert_eq!(holders(&server.data_dir, canary), [""; 0], "{canary}");
        }
        assert!(!holders(&server.data_dir, "neighbour").is_empty());
    };
    gone(&server);

    assert_eq!((count(&api, "cancelled"), count(&api, "retrying"), count(&api, "queued")), (2, 0, 0));
    let item = api.list("/api/admin/webhooks/logs/dlq", "items")[0].clone();
    assert_eq!((&item["payload"], &item["erased"]), (&Value::Null, &json!(true)), "{item}");
    let retry = format!("/api/admin/webhooks/logs/dlq/{}/retry", item["id"].as_str().expect("an id"));
    let refused = api.send("POST", &retry, None);
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("payload_gone")));
    let event = api.get("/api/events/evt_taken").data(200);
    assert_eq!((&event["payload"], &event["erased"]), (&Value::Null, &json!(true)), "{event}");
    let delivery = event["deliveries"][0]["id"].as_str().expect("an id");
    let shown = api.get(&format!("/api/deliveries/{delivery}")).data(200);
    assert_eq!(shown["erased"], true, "{shown}");
    assert_eq!(
        (&shown["attempts"][0]["request"], &shown["attempts"][0]["response"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(api.get("/api/events/evt_stays").data(200)["payload"]["data"]["note"], "neighbour");
    let audit = api.list("/api/audit", "items");
    assert_eq!(audit.iter().filter(|record| record["action"] == "event.erased").count(), 4, "{audit:?}");
    // Asked for again it is done already; others' and unknown ids are not there.
    assert_eq!(erase(&api, "evt_taken")["payloads"], 0);
    assert_eq!(api.delete("/api/events/evt_none").status, 404);
    let stranger = api.tenant_of("afftok", "stranger");
    assert_eq!(stranger.delete("/api/events/evt_stays").status, 404);

    let before = api.get("/api/state").data(200)["digest"].clone();
    server.restart();
    gone(&server);
    assert_eq!(server.api().get("/api/state").data(200)["digest"], before);
    assert_eq!(server.api().get("/api/events/evt_taken").data(200)["erased"], true);
    is_sound(&mut server);
    gone(&server);
}

/// ORD.1, SEC.1: an attempt that is under way ends as it ends; nothing follows it, and its answer is not kept.
#[test]
fn an_attempt_in_flight_is_the_last_of_an_erased_event() {
    let receiver = Receiver::start(echo);
    let mut server = small().start();
    let api = server.api();
    Pipeline::to(&receiver).retry(5, 0).create(&api);
    post(&api, &noted("evt_slow", "slow", "canary-five"));
    eventually("it is in flight", || (receiver.count() == 1).then_some(()));
    erase(&api, "evt_slow");
    assert_eq!(holders(&server.data_dir, "canary-five"), [""; 0]);
    eventually("it is over", || (count(&api, "cancelled") == 1).then_some(()));
    assert_eq!(holders(&server.data_dir, "canary-five"), [""; 0]);
    assert_eq!(receiver.count(), 1, "nothing was sent after it");
    is_sound(&mut server);
}

/// TEN.8: a tenant's erasure leaves other tenants' payloads and what it posts afterwards; a deletion may erase.
#[test]
fn a_tenants_payloads_go_and_nobody_elses() {
    let receiver = Receiver::start(echo);
    let mut server = small().start();
    let api = server.api();
    let (one, two) = (api.tenant_of("afftok", "one"), api.tenant_of("afftok", "two"));
    for (caller, note) in [(&one, "canary-of-one"), (&two, "canary-of-two")] {
        Pipeline::to(&receiver).create(caller);
        for n in 0..20 {
            post(caller, &noted(&format!("evt_{n}"), &format!("conv_{n}"), note));
        }
    }
    eventually("all are delivered", || (count(&api, "delivered") == 40).then_some(()));
    assert_eq!(one.send("POST", "/api/tenants/one/erase", None).status, 403, "the operator's alone");
    let answer = api.send("POST", "/api/tenants/one/erase", None).data(200);
    assert_eq!((&answer["finished"], &answer["payloads"]), (&json!(true), &json!(40)), "{answer}");
    assert_eq!(holders(&server.data_dir, "canary-of-one"), [""; 0]);
    assert!(!holders(&server.data_dir, "canary-of-two").is_empty());
    post(&one, &noted("evt_new", "conv_new", "canary-of-later"));
    assert_eq!(one.get("/api/events/evt_new").data(200)["payload"]["data"]["note"], "canary-of-later");
    assert_eq!(one.get("/api/events/evt_3").data(200)["erased"], true);
    assert_eq!(api.send("POST", "/api/tenants/nobody/erase", None).status, 404);

    let answer = api.delete("/api/tenants/two?erase=true").data(200);
    assert_eq!((&answer["deleted"], &answer["erasure"]["payloads"]), (&json!(true), &json!(40)), "{answer}");
    assert!(api.delete("/api/tenants/one").data(200)["erasure"].is_null());
    assert_eq!(holders(&server.data_dir, "canary-of-two"), [""; 0]);
    assert!(!holders(&server.data_dir, "canary-of-later").is_empty());
    // Also when it is gone already.
    assert_eq!(api.send("POST", "/api/tenants/one/erase", None).data(200)["finished"], true);
    assert_eq!(holders(&server.data_dir, "canary-of-later"), [""; 0]);
    is_sound(&mut server);
}

/// CRS.1: what was asked for is done by the next start, whatever a kill left of it.
#[cfg(feature = "chaos")]
#[test]
fn an_erasure_that_a_kill_cut_short_is_finished_by_the_next_start() {
    for failpoint in ["erasure.recorded=exit(9)", "log.erased=exit(9)"] {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("data");
        let receiver = Receiver::start(echo);
        let mut server = small().variable("LEDGERHOOK_FAILPOINTS", failpoint).on(&data_dir).start();
        let api = server.api();
        Pipeline::to(&receiver).retry(5, 3600).create(&api);
        post(&api, &noted("evt_taken", "taken", "canary-six"));
        post(&api, &noted("evt_waits", "waits", "canary-six"));
        post(&api, &noted("evt_stays", "taken", "neighbour"));
        eventually("all are tried", || {
            (count(&api, "delivered") == 2 && count(&api, "retrying") == 1).then_some(())
        });
        assert!(api.try_send("POST", "/api/tenants/tenant_default/erase", None).is_err(), "{failpoint}");
        assert_eq!(server.wait_for_exit().code(), Some(9));
        assert!(!holders(&data_dir, "canary-six").is_empty(), "{failpoint}");
        std::fs::remove_file(data_dir.join("address")).expect("the address of the one that was killed");

        let mut server = small().on(&data_dir).start();
        let api = server.api();
        let facts = eventually("it is finished", || {
            let facts = api.list("/api/log?kind=erasure_finished", "items");
            (!facts.is_empty()).then_some(facts)
        });
        assert_eq!((facts.len(), &facts[0]["payload"]["payloads"]), (1, &json!(6)), "{facts:?}");
        assert_eq!(holders(&data_dir, "canary-six"), [""; 0], "{failpoint}");
        assert_eq!((count(&api, "cancelled"), count(&api, "retrying")), (1, 0), "{failpoint}");
        server.restart();
        assert_eq!(server.api().list("/api/log?kind=erasure_finished", "items").len(), 1, "once is enough");
        is_sound(&mut server);
    }
}
