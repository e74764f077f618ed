//! The one file that draws lots: ids and jitter.

use std::cell::Cell;

/// Letters of minted ids: what can be read aloud, and no two that look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A random id: `prefix_` and `length` letters of five bits each, from the system's generator.
///
/// # Panics
/// If the system has no randomness to give; nothing can be minted then.
#[must_use]
pub fn id(prefix: &str, length: usize) -> String {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system gives randomness");
    let letters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    format!("{prefix}_{}", letters.collect::<String>())
}

/// A number in 0..1 for jitter. Quick, and not for secrets.
#[must_use]
pub fn roll() -> f64 {
    thread_local!(static STATE: Cell<u64> = Cell::new(seed()));
    STATE.with(|state| {
        // xorshift64*; its upper 53 bits make the fraction.
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
        let fraction = (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    })
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).ok();
    u64::from_le_bytes(bytes) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolls_lie_in_range_and_differ() {
        let rolls: Vec<_> = (0..1000).map(|_| roll()).collect();
        assert!(rolls.iter().all(|r| (0.0..1.0).contains(r)));
        assert!(rolls.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 0.1));
    }

    /// ING.6
    #[test]
    fn ids_do_not_repeat() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| id("evt", 26)).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
