//! The walls around every operation of `/openapi.json`: who is not let in, who may not, and whose things are not there
//! for others. Each refusal of a kind is word for word the same, and nothing of it reaches the log.

use super::{PIPELINES, position};
use crate::support::{
    Answer, Api, Document, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
    openapi::Operation,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a tenant has, by kind.
type Things = BTreeMap<&'static str, String>;

/// A tenant, and what it and another one of its profile have.
struct World {
    mine: Api,
    tenant: String,
    my_things: Things,
    their_things: Things,
}

fn id_of(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value:#}")).to_owned()
}

/// A halted lane with a dead letter, and all else that has an id. At rest, so that the log stands still.
fn furnish(api: &Api, tenant: &str, receiver: &Receiver) -> Things {
    let pipeline =
        Pipeline::to(receiver).retry(1, 0).with("on_exhausted", "halt").with("name", tenant).create(api);
    let shown = api.get(&format!("{PIPELINES}/{pipeline}")).data(200);
    let event = format!("evt_{tenant}");
    post(api, &conversion(&event, &format!("conv_{tenant}"), 0));
    post(api, &conversion(&format!("{event}_next"), &format!("conv_{tenant}"), 1));
    let lane = eventually("the lane is halted", || {
        let lanes = api.list(&format!("/api/pipelines/{pipeline}/lanes"), "items");
        lanes.into_iter().find(|lane| lane["held_reason"] == "halt")
    });
    let dead =
        eventually("there is a dead letter", || api.list("/api/admin/webhooks/logs/dlq", "items").pop());
    let key = api
        .post(&format!("/api/tenants/{tenant}/keys"), &json!({"scopes": ["read"], "name": tenant}))
        .data(201);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    Things::from([
        ("pipeline", pipeline.clone()),
        ("step", id_of(&shown["steps"][0])),
        ("event", event),
        ("delivery", text(&dead["delivery_id"])),
        ("dead_letter", id_of(&dead)),
        ("resource", text(&lane["resource"])),
        ("tenant", tenant.to_owned()),
        ("key", id_of(&key)),
        ("jwt_key", format!("jwk_{tenant}")),
        ("actor", pipeline),
        ("webhook", webhook(api, "/api/webhooks", "click.tracked")),
    ])
}

fn webhook(api: &Api, root: &str, event: &str) -> String {
    let body = json!({"url": "https://example.com/hook", "events": [event], "status": "paused"});
    let made = api.post(root, &body);
    assert_eq!(made.status, 201, "{made:?}");
    id_of(made.json.get("data").unwrap_or(&made.json))
}

/// The kind of thing that a part of a path names.
fn kind(path: &str, part: &str) -> &'static str {
    let under = |root: &str| path.starts_with(root);
    match part {
        "step" => "step",
        "resource" => "resource",
        "key" if path.contains("/jwt-keys/") => "jwt_key",
        "key" => "key",
        _ if under("/api/admin/webhooks/logs/dlq") => "dead_letter",
        _ if under("/api/deliveries") => "delivery",
        _ if under("/api/events") => "event",
        _ if under("/api/tenants") => "tenant",
        _ if under("/api/actors") => "actor",
        _ if under("/api/pipelines") || under("/api/admin/webhooks") => "pipeline",
        _ => "webhook",
    }
}

/// The parts of an operation's path that name things.
fn parts(operation: Operation<'_>) -> Vec<&str> {
    operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

fn filled(operation: Operation<'_>, thing: impl Fn(&'static str) -> String) -> String {
    parts(operation).iter().fold(operation.path.to_owned(), |path, part| {
        path.replace(&format!("{{{part}}}"), &thing(kind(operation.path, part)))
    })
}

/// An id of the same form that nobody has.
fn unknown(id: &str) -> String {
    let (rest, last) = id.split_at(id.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

fn send(document: &Document, api: &Api, operation: Operation<'_>, path: &str) -> Answer {
    let body = document.body_of(operation).map(|schema| schema["examples"][0].clone());
    api.send(&operation.method.to_uppercase(), path, body.as_ref())
}

/// A refusal without what names the request.
fn told(answer: &Answer) -> Value {
    let mut told = answer.json.clone();
    for name in ["request_id", "instance"] {
        told.as_object_mut().expect("a problem").remove(name);
        told.get_mut("error").and_then(Value::as_object_mut).map(|error| error.remove(name));
    }
    told
}

/// Operations that need a key, with the tenants that they are tried as.
fn guarded<'d>(
    document: &'d Document,
    worlds: &'d BTreeMap<&'static str, World>,
) -> Vec<(Operation<'d>, &'d World, &'d str)> {
    let scoped = document.operations().into_iter().filter_map(|operation| {
        let scope = operation.described["x-scope"].as_str()?;
        let tree = worlds.keys().find(|root| !root.is_empty() && operation.path.starts_with(**root));
        Some((operation, &worlds[tree.copied().unwrap_or("")], scope))
    });
    scoped.collect()
}

fn worlds(operator: &Api, receiver: &Receiver) -> BTreeMap<&'static str, World> {
    let (mine, theirs) = (operator.tenant_of("afftok", "mine"), operator.tenant_of("afftok", "theirs"));
    let (my_things, their_things) = (furnish(&mine, "mine", receiver), furnish(&theirs, "theirs", receiver));
    let mut worlds =
        BTreeMap::from([("", World { mine, tenant: "mine".to_owned(), my_things, their_things })]);
    for (root, profile, event) in [
        ("/webhooks", "attribution", "deal.attributed"),
        ("/v1/webhooks", "apexmediation", "payout.failed"),
        ("/api/v1/webhooks", "social", "post.published"),
    ] {
        let tenant = |owner: &str| {
            let api = operator.tenant_of(profile, &format!("{profile}_{owner}"));
            let things = Things::from([("webhook", webhook(&api, root, event))]);
            (api, things)
        };
        let ((mine, my_things), (_, their_things)) = (tenant("mine"), tenant("theirs"));
        worlds.insert(root, World { mine, tenant: format!("{profile}_mine"), my_things, their_things });
    }
    worlds
}

/// A position that stays as it is.
fn at_rest(operator: &Api) -> u64 {
    let mut before = 0;
    eventually("the log stands still", || {
        let now = position(operator);
        std::thread::sleep(std::time::Duration::from_millis(200));
        (std::mem::replace(&mut before, now) == now).then_some(now)
    })
}

struct Scene {
    _server: TestServer,
    _receiver: Receiver,
    operator: Api,
    document: Document,
    worlds: BTreeMap<&'static str, World>,
}

fn scene() -> Scene {
    let (server, receiver) = (TestServer::start(), Receiver::start(|_| Reply::Status(500)));
    let operator = server.api();
    let (document, worlds) = (Document::of(&operator), worlds(&operator, &receiver));
    Scene { _server: server, _receiver: receiver, operator, document, worlds }
}

/// TEN.1: no key, one that never was, one that was revoked, one that has ended, one of a tenant that is gone, and the
/// right one in the query: the same 401 everywhere.
#[test]
fn ten_1_whoever_has_no_key_is_told_the_same_everywhere() {
    let Scene { operator, document, worlds, _server, _receiver } = scene();
    let key = |api: &Api, tenant: &str, ends: Option<&str>| {
        let mut body = json!({"scopes": ["events:write", "manage"]});
        if let Some(ends) = ends {
            body["expires_at"] = ends.into();
        }
        let made = api.post(&format!("/api/tenants/{tenant}/keys"), &body).data(201);
        (id_of(&made), made["key"].as_str().expect("a key").to_owned())
    };
    let mine = &worlds[""].mine;
    let (id, revoked) = key(mine, "mine", None);
    mine.delete(&format!("/api/tenants/mine/keys/{id}")).data(200);
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(4);
    let soon = soon.duration_since(std::time::UNIX_EPOCH).expect("a time").as_millis().to_string();
    let (_, ended) = key(mine, "mine", Some(&soon));
    operator.tenant_of("afftok", "gone");
    let (_, of_gone) = key(&operator, "gone", None);
    operator.delete("/api/tenants/gone").data(200);
    eventually("the key has ended", || (mine.with_key(&ended).get(PIPELINES).status == 401).then_some(()));

    let before = at_rest(&operator);
    for (operation, world, _) in guarded(&document, &worlds) {
        let path = filled(operation, |kind| world.my_things[kind].clone());
        let none = send(&document, &world.mine.with_key(""), operation, &path);
        assert_eq!((none.status, &none.json["code"]), (401, &json!("unauthorized")), "{}", operation.id);
        assert_eq!(none.message.header("www-authenticate"), Some("Bearer"), "{}", operation.id);
        for key in ["lhk_0000000000000000000000000000000000000000", &revoked, &ended, &of_gone] {
            let answer = send(&document, &world.mine.with_key(key), operation, &path);
            assert_eq!((answer.status, told(&answer)), (401, told(&none)), "{}", operation.id);
        }
        for name in ["key", "api_key", "access_token", "token"] {
            let path = format!("{path}?{name}={}", world.mine.key);
            let answer = send(&document, &world.mine.with_key(""), operation, &path);
            assert_eq!((answer.status, told(&answer)), (401, told(&none)), "{} ?{name}=", operation.id);
        }
    }
    assert_eq!(position(&operator), before, "nothing of it is recorded");
}

/// TEN.4, TEN.5: a key does what its scopes say, of its own tenant, at every operation.
#[test]
fn ten_4_a_key_without_the_scope_or_for_another_tenant_is_refused_everywhere() {
    let Scene { operator, document, worlds, _server, _receiver } = scene();
    let keys_of = |world: &World| {
        ["events:write", "read", "manage"].map(|scope| {
            let path = format!("/api/tenants/{}/keys", world.tenant);
            let made = world.mine.post(&path, &json!({"scopes": [scope]})).data(201);
            (scope, made["key"].as_str().expect("a key").to_owned())
        })
    };
    let keys: BTreeMap<&str, _> =
        worlds.values().map(|world| (world.tenant.as_str(), keys_of(world))).collect();
    let before = at_rest(&operator);
    for (operation, world, needed) in guarded(&document, &worlds) {
        let path = filled(operation, |kind| world.my_things[kind].clone());
        for (scope, key) in &keys[world.tenant.as_str()] {
            if *scope == needed || (*scope, needed) == ("manage", "read") {
                continue;
            }
            let answer = send(&document, &world.mine.with_key(key), operation, &path);
            assert_eq!(
                (answer.status, &answer.json["code"]),
                (403, &json!("missing_scope")),
                "{} {scope}",
                operation.id
            );
        }
        let mut elsewhere = world.mine.with_key(&world.mine.key);
        elsewhere.tenant = Some("theirs".to_owned());
        let answer = send(&document, &elsewhere, operation, &path);
        let code = if needed == "operator" { "missing_scope" } else { "tenant_mismatch" };
        assert_eq!((answer.status, &answer.json["code"]), (403, &json!(code)), "{}", operation.id);
    }
    assert_eq!(position(&operator), before, "nothing of it is recorded");
}

/// TEN.2, I30: at every operation and in every part of its path another tenant's thing is answered like one that nobody
/// has, and stays as it was.
#[test]
fn ten_2_another_tenants_things_are_not_there_anywhere() {
    let Scene { operator, document, worlds, _server, _receiver } = scene();
    let before = at_rest(&operator);
    let mut tried = 0;
    for (operation, world, needed) in guarded(&document, &worlds) {
        if needed == "operator" {
            continue;
        }
        for part in parts(operation) {
            let foreign = kind(operation.path, part);
            let theirs = &world.their_things[foreign];
            let nobodys = unknown(theirs);
            // Whatever stands beside it is the caller's own; behind a foreign pipeline or tenant all is foreign.
            let with = |id: &str| {
                let beside = if part == "id" { &world.their_things } else { &world.my_things };
                filled(operation, |kind| if kind == foreign { id.to_owned() } else { beside[kind].clone() })
            };
            let of = |id: &str| {
                let answer = send(&document, &world.mine, operation, &with(id));
                (answer.status, told(&answer).to_string().replace(id, "ID"))
            };
            let (found, missing) = (of(theirs), of(&nobodys));
            assert_eq!(found, missing, "{} {part}", operation.id);
            // A lane is named by the resource of an event: free text, and no id.
            assert!(
                found.0 == 404 || (foreign == "resource" && found.0 == 409),
                "{} {part}: {found:?}",
                operation.id
            );
            tried += 1;
        }
    }
    assert!(tried >= 60, "{tried}");
    assert_eq!(position(&operator), before, "nothing of it is recorded");
}

/// A parameter that a call does not know is refused, by reads and by writes, and nothing is done.
#[test]
fn unknown_parameters_are_refused_everywhere() {
    let Scene { operator, document, worlds, _server, _receiver } = scene();
    let before = at_rest(&operator);
    let mut tried = 0;
    for (operation, world, needed) in guarded(&document, &worlds) {
        let caller = if needed == "operator" { &operator } else { &world.mine };
        let thing = |kind| world.my_things.get(kind).cloned().unwrap_or_default();
        let path = format!("{}?no_such_parameter=1", filled(operation, thing));
        let answer = send(&document, caller, operation, &path);
        let error = &answer.json["errors"][0];
        let told = (answer.status, &error["pointer"], &error["code"]);
        let expected = (422, &json!("/no_such_parameter"), &json!("unknown_parameter"));
        assert_eq!(told, expected, "{} {path}", operation.method);
        tried += 1;
    }
    assert!(tried > 60, "{tried}");
    assert_eq!(position(&operator), before);
}

/// TEN.3: lists hold what is the caller's, whatever they are asked for.
#[test]
fn ten_3_lists_hold_only_what_is_ones_own() {
    let Scene { operator, document, worlds, _server, _receiver } = scene();
    let before = at_rest(&operator);
    let mut seen = 0;
    for (operation, world, needed) in guarded(&document, &worlds) {
        let is_list = operation.method == "get" && parts(operation).is_empty();
        if !is_list || needed == "operator" {
            continue;
        }
        let names = document.parameters(operation, "query");
        let asked = |query: &str| {
            let answer = world.mine.get(&format!("{}{query}", operation.path));
            assert_eq!(answer.status, 200, "{} {query}: {answer:?}", operation.id);
            String::from_utf8_lossy(&answer.message.body).into_owned()
        };
        let all = asked(if names.contains("limit") { "?limit=100" } else { "" });
        for (kind, id) in &world.their_things {
            assert!(!all.contains(id.as_str()), "{}: {kind} {id} in {all}", operation.id);
        }
        for (name, kind) in [("pipeline_id", "pipeline"), ("event_id", "event"), ("resource", "resource")] {
            let Some(theirs) = world.their_things.get(kind).filter(|_| names.contains(name)) else {
                continue;
            };
            let found = asked(&format!("?{name}={theirs}"));
            assert_eq!(found, asked(&format!("?{name}={}", unknown(theirs))), "{} {name}", operation.id);
            assert_ne!(
                found,
                asked(&format!("?{name}={}", world.my_things[kind])),
                "{} {name}",
                operation.id
            );
        }
        seen += 1;
    }
    assert!(seen >= 12, "{seen}");
    assert_eq!(position(&operator), before, "nothing of it is recorded");
}
