//! Measures signatures: `cargo run --release -p ledgerhook-actors --example sign_rate -- [body bytes] [rounds]`.
//!
//! What an attempt pays for `webhook-signature`, with a secret alone and with the tenant's Ed25519 key beside it, in
//! CPU time of this process, so that other work beside it does not count as waiting.

use ledgerhook_actors::{
    delivery::signing::{Signer, standard_signature},
    secrets::{new_key_pair, new_signing_secret},
};
use std::{hint::black_box, time::Duration};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let bytes: usize = arguments.next().map_or(Ok(600), |n| n.parse())?;
    let rounds: u32 = arguments.next().map_or(Ok(50_000), |n| n.parse())?;
    let body = vec![b'x'; bytes];
    let pair = new_key_pair()?;
    let (secret, key) = (Signer::new(new_signing_secret()?.expose())?, Signer::new(pair.key.expose())?);
    let sign = |signers: &[&Signer]| {
        let began = cpu_time();
        for round in 0..rounds {
            black_box(standard_signature(signers.iter().copied(), "evt_1", round.into(), &body));
        }
        (cpu_time().saturating_sub(began)).as_secs_f64() * 1e6 / f64::from(rounds)
    };
    println!("v1          {:>6.2} us", sign(&[&secret]));
    println!("v1 and v1a  {:>6.2} us", sign(&[&secret, &key]));
    let began = cpu_time();
    for _ in 0..rounds / 10 {
        black_box(Signer::new(pair.key.expose())?);
    }
    let opened = cpu_time().saturating_sub(began).as_secs_f64() * 1e7 / f64::from(rounds);
    println!("making an Ed25519 key ready  {opened:>6.2} us, once");
    Ok(())
}

/// User and system time of this process, in steps of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
    let ticks: u64 = fields.into_iter().flatten().filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
