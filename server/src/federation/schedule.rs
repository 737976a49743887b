//! When an endpoint is looked at again: pure functions of what the last look found.

use std::time::Duration;

use identity::bundle::Bundle;

/// The wait after a look that found `bundle`: a quarter of the time that it asks for, so that there
/// are four tries before that has passed (SPIRE's rule).
pub(super) fn after_success(bundle: &Bundle) -> Duration {
    let hint = match u64::try_from(bundle.refresh_hint_s) {
        Ok(0) | Err(_) => return UNASKED,
        Ok(hint_s) => Duration::from_secs(hint_s),
    };
    hint.clamp(SHORTEST_HINT, LONGEST_HINT) / TRIES_PER_HINT
}

/// The wait after the `failures`th look in a row that found nothing: twice the one before, until it
/// is that of a success. Without a bundle everything depends on the next look, so it comes soon.
pub(super) fn after_failure(failures: u32, held: Option<&Bundle>) -> Duration {
    let longest = held.map_or(SHORTEST_HINT, after_success);
    let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
    (FIRST_RETRY * 2_u32.pow(doublings)).min(longest)
}

/// `wait`, a tenth more or less by `random`, so that those who failed together do not come again
/// together.
pub(super) fn jittered(wait: Duration, random: u8) -> Duration {
    wait.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u8::MAX))
}

/// The wait if the bundle says nothing, as in SPIRE.
const UNASKED: Duration = Duration::from_secs(5 * 60);

const TRIES_PER_HINT: u32 = 4;

/// No endpoint is asked more often than every 15 seconds, whatever it says.
const SHORTEST_HINT: Duration = Duration::from_secs(60);

/// Who asks for a year is looked at every six hours: nobody knows today when keys must be replaced.
const LONGEST_HINT: Duration = Duration::from_secs(24 * 3600);

const FIRST_RETRY: Duration = Duration::from_secs(15);

const MAX_DOUBLINGS: u32 = 16;

#[cfg(test)]
mod tests {
    use identity::trust_domain::TrustDomain;

    use super::*;

    fn hinting(refresh_hint_s: i64) -> Bundle {
        Bundle {
            refresh_hint_s,
            ..Bundle::empty(TrustDomain::parse("partner.example").unwrap())
        }
    }

    #[test]
    fn hints_are_followed_within_bounds() {
        for (hint_s, wait_s) in [
            (0, 300),
            (-5, 300),
            (1, 15),
            (60, 15),
            (61, 15),
            (300, 75),
            (86_400, 21_600),
            (i64::MAX, 21_600),
        ] {
            let wait = after_success(&hinting(hint_s));
            assert_eq!(wait.as_secs(), wait_s, "{hint_s}");
        }
    }

    #[test]
    fn failures_are_tried_again_ever_later() {
        let waits = |held: Option<Bundle>| {
            [1, 2, 3, 4, 5, u32::MAX]
                .map(|failures| after_failure(failures, held.as_ref()).as_secs())
        };
        assert_eq!(waits(None), [15, 30, 60, 60, 60, 60]);
        assert_eq!(waits(Some(hinting(300))), [15, 30, 60, 75, 75, 75]);
        assert_eq!(waits(Some(hinting(1))), [15; 6]);
        let day = after_failure(40, Some(&hinting(86_400)));
        assert_eq!(day.as_secs(), 21_600);
    }

    #[test]
    fn jitter_is_a_tenth() {
        let wait = Duration::from_secs(100);
        assert_eq!(jittered(wait, 0).as_secs(), 90);
        assert_eq!(jittered(wait, u8::MAX).as_secs(), 110);
    }
}
