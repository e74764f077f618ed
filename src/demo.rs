//! `ledgerhook demo`: the whole product on one screen, within a minute. Real server, real receivers, real log; only
//! the retry delays are divided by `--speed`.

mod client;
mod receiver;
mod screen;

use crate::{
    app::{self, Http},
    config::{Config, Server},
    door::Door,
    offline,
};
use actix_web::rt::{System, time};
use anyhow::{Context as _, bail, ensure};
use client::Client;
use ledgerhook_actors::engine::{self, EngineConfig};
use receiver::{Behaviour, Receiver};
use screen::Screen;
use serde_json::{Value, json};
use std::{
    future::Future,
    path::Path,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

/// The demo gives up, and says so, after this.
const PATIENCE: Duration = Duration::from_secs(58);
/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// Events posted per kind.
const ROUNDS: usize = 12;
/// Different things that the events of a kind are about.
const RESOURCES: usize = 3;

/// Every documented event with a payload, and the field that says what it is about.
const SAMPLES: [(&str, &str); 4] = [
    (include_str!("../tests/fixtures/afftok/overview_click_tracked.json"), "click_id"),
    (include_str!("../tests/fixtures/afftok/overview_conversion_created.json"), "conversion_id"),
    (include_str!("../tests/fixtures/afftok/overview_conversion_approved.json"), "conversion_id"),
    (include_str!("../tests/fixtures/afftok/overview_fraud_detected.json"), "tracking_code"),
];

/// Runs the demo; an error says what did not go as promised.
pub(crate) fn run(speed: f64) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot make a folder for the demo")?;
    let data_dir = folder.path().join("data");
    System::new().block_on(async {
        let told = time::timeout(PATIENCE, tell(&data_dir, speed)).await;
        told.context("the demo did not end within a minute")?
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The receivers of the story.
struct Cast {
    healthy: Receiver,
    flaky: Receiver,
    dead: Receiver,
    backup: Receiver,
}

async fn tell(data_dir: &Path, speed: f64) -> anyhow::Result<()> {
    let screen = Rc::new(Screen::new(speed));
    let cast = Cast {
        healthy: Receiver::start("healthy", Behaviour::Healthy, &screen)?,
        flaky: Receiver::start("flaky", Behaviour::Flaky, &screen)?,
        dead: Receiver::reserve("dead", &screen)?,
        backup: Receiver::start("backup", Behaviour::Healthy, &screen)?,
    };
    let door = Door::at(([127, 0, 0, 1], 0).into())?;
    let (engine, report) = engine::start(EngineConfig {
        listens_at: Some(door.address),
        allow_http: true,
        egress_allow: vec!["127.0.0.1".into()],
        speed,
        ..EngineConfig::new(data_dir.to_owned())
    })?;
    let settings = Server { workers: 1, ..Config::default().server };
    let http = Http::start(&settings, door, engine.clone())?;
    let key = report.new_operator_key.context("a new data folder has a new key")?;
    let client = Rc::new(Client::new(http.address, key));

    let painter = actix_web::rt::spawn({
        let (screen, client) = (Rc::clone(&screen), Rc::clone(&client));
        async move {
            loop {
                screen.draw(&client).await;
                time::sleep(FRAME).await;
            }
        }
    });
    let state = play(&client, &screen, cast).await;
    painter.abort();
    screen.leave(); // also where the story broke off
    let state = state?;

    app::stop(&engine, http, Duration::from_secs(5)).await?;
    let replayed = serde_json::to_value(offline::replay(data_dir, state["position"].as_u64())?)?;
    ensure!(replayed == state, "the log folds to another state: {replayed} instead of {state}");
    let proof = offline::verify(data_dir)?;
    ensure!(proof.problems.is_empty(), "{proof}");
    println!("\nlog verify\n{proof}");
    println!(
        "digest {}: the running engine and a replay of the log agree",
        state["digest"].as_str().unwrap_or("?")
    );
    Ok(())
}

/// The story itself; answers with the final state once everything in it has come true.
async fn play(client: &Client, screen: &Rc<Screen>, cast: Cast) -> anyhow::Result<Value> {
    let Cast { healthy, flaky, mut dead, backup } = cast;
    let short = json!({"max_attempts": 3, "backoff_type": "exponential", "initial_delay_seconds": 5});
    let long = json!({"max_attempts": 8, "backoff_type": "exponential", "initial_delay_seconds": 5});
    screen.say("four pipelines: a healthy receiver, a flaky one, a dead one, a dead one with a failover");
    let pipelines = [
        ("CRM", "click", &healthy, &long, None),
        ("Fraud desk", "fraud", &flaky, &long, None),
        ("Partner", "conversion", &dead, &short, None),
        ("Ledger", "conversion_approved", &dead, &short, Some(backup.url())),
    ];
    for (name, trigger, receiver, policy, failover) in pipelines {
        let pipeline = json!({
            "name": name,
            "trigger_type": trigger,
            "steps": [{
                "name": "Send",
                "order": 1,
                "url": receiver.url(),
                "retry_policy": policy,
                "signature_mode": "hmac",
                "signing_key": receiver::SIGNING_KEY,
            }],
            "failover_url": failover,
        });
        let made = client.post("/api/admin/webhooks/pipelines", &pipeline).await?;
        let id = made["id"].as_str().context("a pipeline has an id")?;
        screen.watch(id, name, receiver.name);
    }

    screen.say(&format!("{} of the documents' events, about {} things of each kind", posts(), RESOURCES));
    for n in 0..ROUNDS {
        for (text, key) in SAMPLES {
            let event = event(text, key, n)?;
            client.post("/api/events", &event).await?;
            time::sleep(FRAME / 2).await;
        }
    }

    until("the flaky receiver has everything", async || Ok((flaky.succeeded() >= ROUNDS).then_some(())))
        .await?;
    ensure!(flaky.refused() > 0, "the flaky receiver refused nothing, so nothing was retried");
    screen.say(&format!("retry: {} refused requests came again and were taken", flaky.refused()));
    until("the failover has everything", async || Ok((backup.succeeded() >= ROUNDS).then_some(()))).await?;
    screen.say("failover: the dead receiver's events went to the backup, same bytes, signed again");
    let items = until("the dead letters", async || {
        let listed = client.get("/api/admin/webhooks/logs/dlq?limit=100").await?;
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        Ok((items.len() >= ROUNDS).then_some(items))
    })
    .await?;
    screen.say(&format!("dead letters: {} events used up their attempts", items.len()));

    dead.revive(Behaviour::Healthy)?;
    screen.say("the dead receiver is back: its dead letters are retried");
    for item in items.iter().rev() {
        let id = item["id"].as_str().context("a dead letter has an id")?;
        client.post(&format!("/api/admin/webhooks/logs/dlq/{id}/retry"), &Value::Null).await?;
    }
    until("the dead letters arrive", async || Ok((dead.succeeded() >= ROUNDS).then_some(()))).await?;
    let state = until("the engine has recorded it all", async || {
        let state = client.get("/api/state").await?;
        Ok((state["deliveries"]["delivered"] == posts()).then_some(state))
    })
    .await?;

    screen.leave();
    let receivers = [&healthy, &flaky, &dead, &backup];
    screen.summary(&receivers, &state);
    for receiver in receivers {
        receiver.check()?;
    }
    Ok(state)
}

/// Events in all.
fn posts() -> usize {
    ROUNDS * SAMPLES.len()
}

/// A documented event, made number `n` of its kind and about one of a few things.
fn event(text: &str, key: &str, n: usize) -> anyhow::Result<Value> {
    let mut event: Value = serde_json::from_str(text)?;
    let resource = format!("{}_{}", event["data"][key].as_str().unwrap_or("it"), n % RESOURCES);
    event["id"] = format!("{}_{n}", event["id"].as_str().unwrap_or("evt")).into();
    event["data"][key] = resource.into();
    Ok(event)
}

/// Looks again and again until something is there; the demo's deadline ends a wait in vain.
async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if started.elapsed() > PATIENCE {
            bail!("waited in vain: {what}");
        }
        time::sleep(FRAME / 2).await;
    }
}
