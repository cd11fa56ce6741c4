//! Hours of the week on a zone's clock: what is usual at which hour is learnt in several places, by the same hours.

use chrono::{DateTime, Datelike as _, Timelike as _};
use chrono_tz::Tz;

/// Hours of a week.
pub const HOURS_OF_WEEK: usize = 168;
const HOURS_OF_DAY: usize = 24;

/// Hour of the week (0 is Monday 00:00) and what share of it has passed. A repeated hour (25-hour day) is twice the same, a skipped
/// one never comes. `None` beyond the calendar.
#[must_use]
pub fn hour_of_week(zone: Tz, at_ms: i64) -> Option<(usize, f64)> {
    let local = DateTime::from_timestamp_millis(at_ms)?.with_timezone(&zone);
    let day = local.weekday().num_days_from_monday() as usize;
    let passed = f64::from(local.minute() * 60 + local.second()) / 3_600.0;
    Some((
        (day * HOURS_OF_DAY + local.hour() as usize) % HOURS_OF_WEEK,
        passed,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sunday, 2026-11-01T05:30:00Z: 01:30 in New York, where the hour from 01:00 comes twice that day.
    const REPEATED_MS: i64 = 1_793_511_000_000;
    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn an_hour_has_a_day_and_a_share() {
        // The epoch was a Thursday.
        assert_eq!(hour_of_week(Tz::UTC, 0), Some((72, 0.0)));
        assert_eq!(hour_of_week(Tz::UTC, HOUR_MS / 4), Some((72, 0.25)));
        assert_eq!(hour_of_week(Tz::UTC, -1_000), Some((71, 3_599.0 / 3_600.0)));
        assert_eq!(hour_of_week(Tz::America__New_York, 0), Some((67, 0.0)));
        assert_eq!(hour_of_week(Tz::UTC, i64::MAX), None);
    }

    #[test]
    fn days_of_25_and_23_hours() {
        let zone = Tz::America__New_York;
        let hours = |from: i64| {
            (0..3).map(move |hour| hour_of_week(zone, from + hour * HOUR_MS).map(|(at, _)| at))
        };
        let sunday = |hour: usize| Some(6 * 24 + hour);
        let repeated: Vec<_> = hours(REPEATED_MS).collect();
        assert_eq!(repeated, [sunday(1), sunday(1), sunday(2)]);
        // Sunday, 2026-03-08T06:30:00Z: 01:30, and 02:00 does not come.
        let skipped: Vec<_> = hours(1_772_951_400_000).collect();
        assert_eq!(skipped, [sunday(1), sunday(3), sunday(4)]);
    }
}
