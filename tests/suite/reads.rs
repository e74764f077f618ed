//! What the API tells of the past: in pages that hold, and the same everywhere.

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};

/// Two pipelines, one of which fails: three delivered, one dead.
fn settled() -> (TestServer, Receiver, [String; 2]) {
    let receiver =
        Receiver::start(|request| Reply::Status(if request.event() == "evt_dead" { 500 } else { 200 }));
    let server = TestServer::start();
    let api = server.api();
    let made = |trigger: &str| {
        let pipeline = Pipeline::to(&receiver).retry(2, 0).with("trigger_type", trigger);
        let described = pipeline.with("description", "Notify external system of conversions");
        let described = described.step("headers", json!({"Content-Type": "application/json"}));
        let described =
            described.step("body_template", json!({"id": "{{event.id}}", "event": "{{trigger_type}}"}));
        described.with("failover_url", receiver.url()).create(&api)
    };
    let pipelines = [made("conversion"), made("click")];
    post(&api, &conversion("evt_1", "conv_1", 1));
    post(&api, &conversion("evt_2", "conv_2", 2));
    post(&api, &conversion("evt_dead", "conv_3", 3));
    post(&api, &json!({"id": "evt_click", "type": "click.tracked", "data": {"id": "clk_1"}}));
    eventually("all is over", || {
        let state = api.get("/api/state").data(200)["deliveries"].clone();
        (state["delivered"] == 3 && state["dead_lettered"] == 1).then_some(())
    });
    (server, receiver, pipelines)
}

/// AFM-31, AFM-42, AFM-56, AFM-57, AFM-59, AFM-67 … AFM-71, T-35, T-36, T-52
#[test]
fn executions_dead_letters_and_statistics_tell_what_happened() {
    let (server, _receiver, [crm, _]) = settled();
    let api = server.api();
    let recent = api.get("/api/admin/webhooks/logs/recent?status=completed").data(200);
    assert_eq!(recent["logs"].as_array().map(Vec::len), Some(3));
    let newest = &recent["logs"][0];
    assert_eq!((&newest["trigger_type"], &newest["trigger_id"]), (&json!("click"), &json!("clk_1")));
    assert_eq!(newest["steps"][0]["status"], "success");

    let failures = api.get("/api/admin/webhooks/logs/failures").data(200);
    assert_eq!(failures["logs"].as_array().map(Vec::len), Some(1));
    let failed = &failures["logs"][0];
    assert_eq!((&failed["status"], &failed["steps"][0]["status"]), (&json!("failed"), &json!("failed")));
    assert_eq!((&failed["steps"][0]["http_status"], &failed["trigger_id"]), (&json!(500), &json!("conv_3")));

    let dead = api.get("/api/admin/webhooks/logs/dlq").data(200);
    let item = &dead["items"][0];
    assert_eq!((&item["trigger_id"], &item["last_error"]), (&json!("conv_3"), &json!("HTTP 500")));
    assert_eq!((&item["attempts"], &item["payload"]["id"]), (&json!(2), &json!("evt_dead")));
    assert_eq!((&item["queue"], &item["total_attempts"]), (&json!("failover"), &json!(4)));
    assert_eq!(item["failover_attempts"], 2);
    assert_eq!(item["delivery_id"], failed["id"]);

    let stats = api.get("/api/admin/webhooks/stats").data(200);
    assert_eq!(stats["summary"]["total_executions_today"], 4);
    assert_eq!(stats["summary"]["success_rate"], 75.0);
    assert_eq!(stats["by_trigger_type"]["conversion"], json!({"executions": 3, "success_rate": 66.67}));
    assert_eq!(stats["queues"], json!({"primary": 0, "failover": 0, "dlq": 1}));
    assert_eq!(stats["top_errors"], json!([{"error": "HTTP 500", "count": 4}]));

    let list = api.get("/api/admin/webhooks/pipelines").data(200);
    assert_eq!(list["pipelines"][0]["stats"]["success_rate"], 66.67);
    let path = format!("/api/admin/webhooks/pipelines/{crm}");
    let detail = api.get(&path).data(200);
    assert_eq!(detail["stats"]["in_dlq"], 1);
    let step = &detail["steps"][0]["stats"];
    assert_eq!((&step["executions"], &step["successful"]), (&json!(3), &json!(2)));
}

/// I20: what was accepted is in every list, and all of them count the same.
#[test]
fn counts_add_up_in_lists_statistics_and_state() {
    let (server, _receiver, pipelines) = settled();
    let api = server.api();
    let listed = api.list("/api/deliveries", "items");
    let state = api.get("/api/state").data(200)["deliveries"].clone();
    let count = |status: &str| listed.iter().filter(|one| one["status"] == status).count();
    for status in
        ["queued", "in_flight", "retrying", "held", "delivered", "dead_lettered", "skipped", "cancelled"]
    {
        assert_eq!(state[status], count(status), "{status}");
        assert_eq!(api.list(&format!("/api/deliveries?status={status}"), "items").len(), count(status));
    }
    let mut total = 0;
    for id in &pipelines {
        let totals = api.get(&format!("/api/admin/webhooks/pipelines/{id}")).data(200)["stats"].clone();
        let number = |name: &str| totals[name].as_u64().expect(name);
        assert_eq!(number("total_executions"), number("successful") + number("failed"));
        let own = api.list(&format!("/api/deliveries?pipeline_id={id}"), "items").len() as u64;
        let parts = ["successful", "failed", "skipped", "cancelled", "pending"].map(number);
        assert_eq!(parts.iter().sum::<u64>(), own);
        total += own;
    }
    assert_eq!(total, 4);
    assert_eq!(api.list("/api/events", "items").len(), 4);
}

/// I24, and API.md on deliveries and events
#[test]
fn a_delivery_tells_all_its_attempts_and_an_event_its_deliveries() {
    let (server, _receiver, [crm, _]) = settled();
    let api = server.api();
    let item = api.list("/api/deliveries?event_id=evt_dead", "items").remove(0);
    let id = item["id"].as_str().expect("an id");
    let detail = api.get(&format!("/api/deliveries/{id}")).data(200);
    assert_eq!((&detail["status"], &detail["pipeline_id"]), (&json!("dead_lettered"), &json!(crm)));
    let attempts = detail["attempts"].as_array().expect("attempts");
    let queues: Vec<_> = attempts.iter().map(|one| one["queue"].as_str().expect("a queue")).collect();
    assert_eq!(queues, ["primary", "primary", "failover", "failover"]);
    for (n, attempt) in attempts.iter().enumerate() {
        assert_eq!((&attempt["number"], &attempt["round"]), (&json!(n + 1), &json!(1)));
        assert_eq!((&attempt["outcome"], &attempt["http_status"]), (&json!("http_error"), &json!(500)));
        for field in ["step", "due_at", "started_at", "ended_at", "response"] {
            assert!(attempt[field].is_string(), "{field} of {attempt:#}");
        }
        assert!(attempt["latency_ms"].is_u64());
        let request = &attempt["request"];
        assert_eq!((&request["method"], &request["body"]["id"]), (&json!("POST"), &json!("evt_dead")));
        assert_eq!(request["headers"]["X-Webhook-Attempt"], (n + 1).to_string(), "{request:#}");
        assert_eq!(request["headers"]["X-Afftok-Signature"], "***", "{request:#}");
    }
    let event = api.get("/api/events/evt_dead").data(200);
    assert_eq!(
        (&event["type"], &event["resource"]),
        (&json!("conversion.created"), &json!("conversion:conv_3"))
    );
    assert_eq!(event["deliveries"][0]["id"], *id);
    assert_eq!(event["payload"]["data"]["conversion_id"], "conv_3");
    assert_eq!(api.get("/api/events/evt_none").status, 404);
    assert_eq!(api.get("/api/deliveries/exec_1_none").status, 404);
    assert_eq!(api.get("/api/deliveries?status=lost").status, 422);
    assert_eq!(api.get("/api/deliveries?cursor=lost").status, 422);
}

#[test]
fn pages_hold_while_events_come_in() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    for n in 0..7 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
    }
    let names = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items");
        items.iter().map(|one| one["event_id"].as_str().expect("an id").to_owned()).collect()
    };
    let first = api.get("/api/deliveries?limit=3").data(200);
    assert_eq!(names(&first), ["evt_6", "evt_5", "evt_4"]);
    post(&api, &conversion("evt_7", "conv_7", 7));
    let at = |cursor: &Value| {
        let cursor = cursor.as_str().expect("a cursor");
        api.get(&format!("/api/deliveries?limit=3&cursor={cursor}")).data(200)
    };
    let second = at(&first["next"]);
    assert_eq!(names(&second), ["evt_3", "evt_2", "evt_1"]);
    assert_eq!(names(&at(&second["prev"])), ["evt_6", "evt_5", "evt_4"]);
    let last = at(&second["next"]);
    assert_eq!((names(&last), &last["next"]), (vec!["evt_0".to_owned()], &Value::Null));
}

/// TEN.9: a key's id says nothing once the key is gone, so each fact keeps how it came; over a restart, for whatever was
/// done, and without the key itself.
#[test]
fn ten_9_the_audit_tells_by_what_name_from_where_and_in_which_request() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let mut server = TestServer::start();
    let operator = server.api();
    let own = operator.tenant_of("afftok", "tenant_a");
    let made = own.post("/api/tenants/tenant_a/keys", &json!({"scopes": ["manage"], "name": "deploy"}));
    let made = made.data(201);
    let key = made["key"].as_str().expect("a key");
    let deploy = operator.with_key(key).with_header("X-Request-Id", "deploy-17");
    let id = Pipeline::to(&receiver).retry(1, 0).create(&deploy);
    post(&own, &conversion("evt_1", "conv_1", 1));
    let dead = "/api/admin/webhooks/logs/dlq";
    let item = eventually("it is a dead letter", || own.list(dead, "items").pop());
    // A fact of the lane, not of the catalog.
    deploy.delete(&format!("{dead}/{}", item["id"].as_str().expect("an id"))).data(200);
    deploy.get(&format!("/api/pipelines/{id}/steps/{}/secret", step_of(&deploy, &id))).data(200);
    deploy.delete(&format!("/api/admin/webhooks/pipelines/{id}")).data(200);
    let path = format!("/api/tenants/tenant_a/keys/{}", made["id"].as_str().expect("an id"));
    operator.delete(&path).data(200);

    let told =
        |server: &TestServer| server.api().with_header("X-Tenant-Id", "tenant_a").list("/api/audit", "items");
    let before = told(&server);
    let of = |action: &str| {
        let found = before.iter().find(|record| record["action"] == action);
        found.unwrap_or_else(|| panic!("no {action} in {before:#?}"))
    };
    for action in ["pipeline.created", "dead_letter.deleted", "secret.revealed", "pipeline.deleted"] {
        let record = of(action);
        assert_eq!(record["actor"], made["id"], "{action}");
        assert_eq!((&record["actor_name"], &record["request_id"]), (&json!("deploy"), &json!("deploy-17")));
        assert_eq!(record["peer"], "127.0.0.1");
        let hint = record["actor_hint"].as_str().expect("a hint");
        assert!(key.starts_with(hint) && hint.len() < key.len() / 2, "{hint}");
    }
    let revoked = of("key.revoked");
    assert_eq!((&revoked["actor_name"], &revoked["actor_hint"]), (&json!("operator"), &Value::Null));
    assert!(revoked["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{revoked}");
    assert!(!format!("{before:?}").contains(key));

    let created = server.api().list("/api/log?kind=pipeline_created", "items");
    let payload = &created[0]["payload"];
    assert_eq!((&payload["by"], &payload["asked"]["name"]), (&made["id"], &json!("deploy")), "{created:#?}");
    server.restart();
    eventually("the audit is the same", || (told(&server) == before).then_some(()));
    assert!(server.terminate().success());
    let verified = server.verb(&["log", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
}

#[track_caller]
fn step_of(api: &Api, pipeline: &str) -> String {
    let shown = api.get(&format!("/api/admin/webhooks/pipelines/{pipeline}")).data(200);
    shown["steps"][0]["id"].as_str().expect("an id").to_owned()
}

/// TEN.9 and API.md: one record for each admin write that succeeded, and nobody changes it.
#[test]
fn the_audit_has_one_record_for_each_write() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).create(&api);
    let path = format!("/api/admin/webhooks/pipelines/{id}");
    api.put(&path, &json!({"status": "paused"})).data(200);
    assert_eq!(api.put(&path, &json!({"status": "asleep"})).status, 422);
    api.delete(&path).data(200);
    let records = api.list("/api/audit", "items");
    let about: Vec<_> = records.iter().filter(|one| one["target"] == *id).collect();
    let actions: Vec<_> = about.iter().map(|one| one["action"].as_str().expect("an action")).collect();
    assert_eq!(actions, ["pipeline.deleted", "pipeline.updated", "pipeline.created"]);
    assert_eq!(
        (&about[1]["before"]["status"], &about[1]["after"]["status"]),
        (&json!("active"), &json!("paused"))
    );
    assert_eq!((&about[2]["before"], &about[0]["after"]), (&Value::Null, &Value::Null));
    assert!(records.iter().all(|one| one["at"].is_string() && one["actor"].is_string()), "{records:#?}");
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(api.send(method, "/api/audit", None).status, 405, "{method}");
        assert_eq!(api.send(method, "/api/audit/1", None).status, 404, "{method}");
    }
    let text = format!("{records:?}");
    assert!(!text.contains(crate::support::make::SIGNING_KEY) && !text.contains("sealed\": \"ey"), "{text}");
}
