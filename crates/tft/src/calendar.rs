//! Calendar inputs: hour of day, day of week and weekend in the contract's time zone.
//!
//! Periods are given as sine and cosine, so that midnight and Sunday have no edge. The offset to UTC is looked up
//! once per token: a change to summer time inside a token is felt one token late. It is not a holiday calendar.

use chrono::{Offset, TimeZone, Utc};
use chrono_tz::Tz;
use std::f32::consts::TAU;

/// Number of calendar inputs of a token.
pub(crate) const CALENDAR: usize = 8;

/// Calendar inputs of the instant `at_ms`: hour (two harmonics), weekday, weekend, and `position` (0…1) of the token in
/// its sequence.
pub(crate) fn calendar(at_ms: i64, zone: Tz, position: f32) -> [f32; CALENDAR] {
    let offset_ms = match Utc.timestamp_millis_opt(at_ms).single() {
        Some(utc) => {
            i64::from(
                zone.offset_from_utc_datetime(&utc.naive_utc())
                    .fix()
                    .local_minus_utc(),
            ) * 1000
        }
        None => 0,
    };
    let local = at_ms.saturating_add(offset_ms);
    let day = 86_400_000;
    let hour = TAU * (local.rem_euclid(day) as f32 / day as f32);
    // The first of January 1970 was a Thursday: day 3 of a week that starts on Monday.
    let weekday = (local.div_euclid(day) + 3).rem_euclid(7);
    let week = TAU * (weekday as f32 + hour / TAU) / 7.0;
    [
        hour.sin(),
        hour.cos(),
        (2.0 * hour).sin(),
        (2.0 * hour).cos(),
        week.sin(),
        week.cos(),
        if weekday >= 5 { 1.0 } else { 0.0 },
        position,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(at_ms: i64, zone: Tz, hour: f32, weekend: f32) {
        let c = calendar(at_ms, zone, 0.25);
        let angle = TAU * hour / 24.0;
        assert!((c[0] - angle.sin()).abs() < 1e-4, "{c:?}");
        assert!((c[1] - angle.cos()).abs() < 1e-4, "{c:?}");
        assert_eq!(c[6], weekend);
        assert_eq!(c[7], 0.25);
    }

    #[test]
    fn hours_are_local() {
        // 2013-08-20 12:00 UTC, a Tuesday: 14 h in Amsterdam, 8 h in New York.
        let noon = 1_377_000_000_000;
        check(noon, Tz::UTC, 12.0, 0.0);
        check(noon, chrono_tz::Europe::Amsterdam, 14.0, 0.0);
        check(noon, chrono_tz::America::New_York, 8.0, 0.0);
        // In winter Amsterdam is one hour ahead: 2013-12-20 12:00 UTC.
        check(1_387_540_800_000, chrono_tz::Europe::Amsterdam, 13.0, 0.0);
        // 2013-08-25 02:00 UTC is Sunday there and still Saturday evening, 22 h, in New York.
        check(1_377_396_000_000, chrono_tz::America::New_York, 22.0, 1.0);
    }

    #[test]
    fn absurd_times_do_not_panic() {
        for at in [i64::MIN, i64::MAX, -1, 0] {
            assert!(
                calendar(at, chrono_tz::America::New_York, 0.0)
                    .iter()
                    .all(|v| v.is_finite())
            );
        }
    }
}
