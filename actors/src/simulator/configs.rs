//! Pipelines as operators write them.

use crate::{
    domain::{
        endpoint::breaker::{BreakerPolicy, BreakerSetting},
        retry::{Backoff, RetryPolicy},
        step::{Control, Gone, OnExhausted, PipelineConfig, Step},
        testing::{With, pipeline, step},
    },
    testing::Dice,
};

/// Opens soon, so that a run sees it open.
const STRICT: BreakerPolicy =
    BreakerPolicy { failures: 4, resources: 2, seconds: 1, probe_seconds: 30, probe_seconds_max: 600 };

/// One to three steps, any policy, perhaps a failover, a breaker, a rate, a halt.
pub(super) fn any(dice: &mut Dice) -> PipelineConfig {
    let ids = ["a", "b", "c"];
    let first = usize::try_from(dice.roll(3)).expect("small");
    let count = 1 + usize::try_from(dice.roll(3)).expect("small");
    let steps: Vec<_> = (0..count).map(|n| any_step(ids[(first + n) % 3], dice)).collect();
    pipeline(steps).with(|config| {
        config.failover_url = dice.one_in(3).then(|| "https://failover.example/hook".into());
        config.on_exhausted = if dice.one_in(5) { OnExhausted::Halt } else { OnExhausted::Continue };
        config.rules.permanent = if dice.one_in(2) { vec![(410, 410)] } else { Vec::new() };
        config.rules.gone = Gone::Retry;
        config.control = Control {
            rate_per_second: dice.one_in(6).then_some(2),
            breaker: match dice.roll(3) {
                0 => BreakerSetting::Off,
                1 => BreakerSetting::On(STRICT),
                _ => BreakerSetting::default(),
            },
        };
    })
}

fn any_step(id: &str, dice: &mut Dice) -> Step {
    step(id).with(|step| {
        step.url = format!("https://{id}{}.example/hook", dice.roll(2));
        step.stop_on_failure = dice.one_in(2);
        step.retry = match dice.roll(4) {
            0 => RetryPolicy::default(),
            1 => RetryPolicy { attempts_max: 3, backoff: Backoff::Fixed { delay_ms: 1_500 } },
            2 => {
                let backoff = Backoff::Exponential { initial_ms: 1_000, max_ms: 60_000 };
                RetryPolicy { attempts_max: 6, backoff }
            }
            _ => {
                let backoff = Backoff::ExponentialJitter { initial_ms: 2_000, max_ms: 600_000, factor: 0.5 };
                RetryPolicy { attempts_max: 10, backoff }
            }
        };
    })
}
