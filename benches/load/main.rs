//! Load generator and receiver in one small program, both raw sockets, so that they cost little beside the engine.
//!
//! ```text
//! load --engine 127.0.0.1:8080 --key lhk_… --events 100000     posts, receives, checks order, prints figures
//! load --bare 1 --events 100000                                the same posts straight to the receiver: the limit
//! ```
//! `--json 1` prints one line for programs. `scripts/bench` runs both in turn.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::struct_excessive_bools,
    reason = "figures for people"
)]

mod admin;
mod figures;
mod plan;
mod receiver;
mod sender;
mod wire;

use figures::Figures;
use plan::Plan;
use receiver::Receiver;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long nothing may arrive before the rest is given up.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let plan = Arc::new(Plan::of(std::env::args().skip(1)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let figures = runtime.block_on(run(plan.clone()));
    println!("{}", if plan.json { figures.to_json() } else { figures.to_string() });
}

async fn run(plan: Arc<Plan>) -> Figures {
    let receiver = Receiver::start(Arc::clone(&plan));
    if plan.bare {
        let (began, refused) =
            (Instant::now(), sender::post_all(&plan, receiver.address, &receiver.seen).await);
        return Figures::of(&plan, &receiver.seen, refused, began.elapsed(), began.elapsed());
    }
    let pipelines =
        if plan.again { Vec::new() } else { admin::make_pipelines(&plan, receiver.address).await };
    let mut began = Instant::now();
    let refused = sender::post_all(&plan, plan.engine, &receiver.seen).await;
    let accepted = began.elapsed();
    if plan.hold {
        // Whoever runs this looks at the backlog, or restarts the engine, and says when it goes on.
        println!("posted");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("a line");
        admin::resume(&plan, &pipelines).await;
        began = Instant::now();
    }
    if !plan.paused || plan.hold {
        wait_for((plan.events - refused) * plan.fan_out(), &receiver).await;
    }
    Figures::of(&plan, &receiver.seen, refused, accepted, began.elapsed())
}

async fn wait_for(wanted: usize, receiver: &Receiver) {
    let mut last = (0, Instant::now());
    while receiver.seen.requests() < wanted {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let now = receiver.seen.requests();
        if now != last.0 {
            last = (now, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            eprintln!("gave up waiting: {now} of {wanted} received");
            return;
        }
    }
}
