//! Growing delays, spread so that many waiters do not come back at once.

use std::{hash::Hasher, time::Duration};

/// Delays that double from `first` to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay.
    pub first: Duration,
    /// No delay is longer.
    pub max: Duration,
}

impl Backoff {
    /// The delay after failure number `failures` (1, 2, …), without spread.
    pub fn plain(self, failures: u64) -> Duration {
        let doublings = u32::try_from(failures.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .min(30);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }

    /// The same delay, cut by up to a half. The cut is a function of `seed`: who waits for
    /// the same thing under different seeds comes back at different times, and a simulated
    /// run repeats itself.
    pub fn delay(self, failures: u64, seed: u64) -> Duration {
        let plain = self.plain(failures);
        let share = spread(seed, failures) % 512;
        plain - plain * u32::try_from(share).unwrap_or(0) / 1024
    }

    /// How long somebody has waited who failed `failures` times, spread left out.
    pub fn waited(self, failures: u64) -> Duration {
        let mut total = Duration::ZERO;
        for failure in 1..=failures {
            let delay = self.plain(failure);
            if delay == self.max {
                let rest = u32::try_from(failures - failure + 1).unwrap_or(u32::MAX);
                return total.saturating_add(delay.saturating_mul(rest));
            }
            total = total.saturating_add(delay);
        }
        total
    }
}

/// A number that looks random and depends on nothing but its arguments.
pub(crate) fn spread(seed: u64, step: u64) -> u64 {
    let mut x = seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A seed from a name and a number.
pub(crate) fn seed(name: &str, number: u64) -> u64 {
    // DefaultHasher::new has fixed keys: the same in every process.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.write_u64(number);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_their_limit_and_are_spread_by_seed() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            max: Duration::from_millis(1_000),
        };
        let plain: Vec<_> = (0..7).map(|n| backoff.plain(n).as_millis()).collect();
        assert_eq!(plain, [100, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.plain(u64::MAX).as_millis(), 1_000);
        assert_eq!(backoff.waited(0), Duration::ZERO);
        assert_eq!(backoff.waited(4).as_millis(), 1_500);
        assert_eq!(backoff.waited(6).as_millis(), 3_500);
        assert!(backoff.waited(u64::MAX) > Duration::from_secs(1_000_000));
        let delays: std::collections::HashSet<_> =
            (0..100).map(|seed| backoff.delay(6, seed)).collect();
        assert!(delays.len() > 50, "{}", delays.len());
        assert!(
            delays
                .iter()
                .all(|d| (500..=1_000).contains(&d.as_millis()))
        );
        assert_eq!(backoff.delay(3, 7), backoff.delay(3, 7));
        assert_ne!(seed("a", 1), seed("b", 1));
    }
}
