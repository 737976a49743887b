//! How long things live and when they are replaced: pure functions of time.

use std::time::Duration;

use crate::clock::UnixTime;

/// How far before its making a certificate is valid already, for clocks that are late.
pub const BACKDATE: Duration = Duration::from_secs(10);

/// The longest time before its end at which the next authority is prepared.
pub const MAX_PREPARE_LEAD: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest time before its end at which the next authority takes over.
pub const MAX_ACTIVATE_LEAD: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long an authority stays in the bundle after its end.
pub const KEEP_EXPIRED_AUTHORITY: Duration = Duration::from_secs(24 * 3600);

/// Availability targets count only if this much of the lifetime is left beside them.
pub const MIN_LIFETIME_BESIDE_TARGET: Duration = Duration::from_secs(12 * 3600);

const TARGET_JITTER: Duration = Duration::from_secs(10 * 60);

/// The validity of something issued at `now` for `ttl` by an authority that ends at
/// `issuer_not_after`: never past the issuer's.
pub fn validity(now: UnixTime, ttl: Duration, issuer_not_after: UnixTime) -> (UnixTime, UnixTime) {
    let not_after = now.saturating_add(ttl).min(issuer_not_after);
    (now.saturating_sub(BACKDATE), not_after)
}

/// When an SVID is replaced: after half of its lifetime, moved by `jitter` in -1.0..=1.0 to
/// somewhere between 45 and 55 percent, so that many SVIDs do not rotate at once.
pub fn rotate_at(not_before: UnixTime, not_after: UnixTime, jitter: f64) -> UnixTime {
    let lifetime = not_after.saturating_duration_since(not_before);
    not_before.saturating_add(lifetime.mul_f64(0.5 + 0.05 * bounded(jitter)))
}

/// As [`rotate_at`], but while an SVID outlives `target` by more than
/// [`MIN_LIFETIME_BESIDE_TARGET`], it is replaced when no more than `target` and a jitter of up to
/// ten minutes is left.
pub fn rotate_at_for_availability(
    not_before: UnixTime,
    not_after: UnixTime,
    target: Duration,
    jitter: f64,
) -> UnixTime {
    let lifetime = not_after.saturating_duration_since(not_before);
    if lifetime.saturating_sub(target) <= MIN_LIFETIME_BESIDE_TARGET {
        return rotate_at(not_before, not_after, jitter);
    }
    not_after.saturating_sub(target + TARGET_JITTER.mul_f64(bounded(jitter).midpoint(1.0)))
}

/// Whether an SVID should be replaced now, by [`rotate_at`].
pub fn rotation_due(not_before: UnixTime, not_after: UnixTime, now: UnixTime, jitter: f64) -> bool {
    now >= rotate_at(not_before, not_after, jitter)
}

/// When the successor of an authority is prepared: when a half of its life is left, or thirty days.
pub fn prepare_at(issued_at: UnixTime, not_after: UnixTime) -> UnixTime {
    let lifetime = not_after.saturating_duration_since(issued_at);
    not_after.saturating_sub((lifetime / 2).min(MAX_PREPARE_LEAD))
}

/// When the successor of an authority takes over: when a sixth of its life is left, or seven days.
pub fn activate_at(issued_at: UnixTime, not_after: UnixTime) -> UnixTime {
    let lifetime = not_after.saturating_duration_since(issued_at);
    not_after.saturating_sub((lifetime / 6).min(MAX_ACTIVATE_LEAD))
}

/// A factor that is not a number counts as none.
fn bounded(jitter: f64) -> f64 {
    if jitter.is_nan() {
        0.0
    } else {
        jitter.clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn nothing_outlives_its_issuer() {
        let minute = Duration::from_secs(60);
        assert_eq!(validity(at(100), minute, at(1000)), (at(90), at(160)));
        assert_eq!(validity(at(100), minute, at(130)), (at(90), at(130)));
        let ages = Duration::from_secs(u64::MAX);
        assert_eq!(validity(at(100), ages, at(1000)), (at(90), at(1000)));
    }

    #[test]
    fn svids_rotate_around_half_of_their_life() {
        assert_eq!(rotate_at(at(0), at(1000), 0.0), at(500));
        assert_eq!(rotate_at(at(0), at(1000), -1.0), at(450));
        assert_eq!(rotate_at(at(0), at(1000), 1.0), at(550));
        assert_eq!(rotate_at(at(0), at(1000), 9.0), at(550));
        assert_eq!(rotate_at(at(0), at(1000), f64::NAN), at(500));
        assert_eq!(rotate_at(at(1000), at(0), 1.0), at(1000));
        assert!(!rotation_due(at(0), at(1000), at(499), 0.0));
        assert!(rotation_due(at(0), at(1000), at(500), 0.0));
    }

    #[test]
    fn an_availability_target_moves_the_rotation_forward() {
        let target = Duration::from_secs(24 * 3600);
        let check = |lifetime, jitter, expected| {
            let at_time = rotate_at_for_availability(at(0), at(lifetime), target, jitter);
            assert_eq!(at_time, at(expected), "{lifetime} {jitter}");
        };
        check(4 * DAY, -1.0, 3 * DAY);
        check(4 * DAY, 1.0, 3 * DAY - 600);
        check(36 * HOUR, 0.0, 18 * HOUR);
        check(36 * HOUR + 2, -1.0, 12 * HOUR + 2);
    }

    #[test]
    fn authorities_overlap_as_spires_do() {
        assert_eq!(prepare_at(at(0), at(DAY)), at(12 * HOUR));
        assert_eq!(activate_at(at(0), at(DAY)), at(20 * HOUR));
        assert_eq!(prepare_at(at(0), at(365 * DAY)), at(335 * DAY));
        assert_eq!(activate_at(at(0), at(365 * DAY)), at(358 * DAY));
    }
}
