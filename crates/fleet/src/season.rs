//! What time it is where the servers stand, and how much work that hour brings.
//!
//! A curve is a table over the hours of the week, shifted to mean 0, so that a profile's stated mean is its weekly mean.
//! Times are turned from UTC to local, which is defined at every moment: a change of clocks repeats or skips an hour of
//! the table and nothing else.
//!
//! It is not: a calendar of holidays.

use chrono::{DateTime, Datelike, Offset, TimeZone, Timelike};

/// Hours of a week.
pub(crate) const HOURS_OF_WEEK: f64 = 168.0;
/// Table entries an hour.
const PER_HOUR: usize = 12;
const ENTRIES: usize = 168 * PER_HOUR;

/// Hours since Monday 00:00, local time, in `[0, 168)`; 0 where the time cannot be represented.
pub(crate) fn hour_of_week<Z: TimeZone>(zone: &Z, timestamp_ms: i64) -> f64 {
    let Some(utc) = DateTime::from_timestamp_millis(timestamp_ms) else {
        return 0.0;
    };
    let local = utc.with_timezone(zone).naive_local();
    let day = local.weekday().num_days_from_monday();
    let seconds =
        f64::from(local.num_seconds_from_midnight()) + f64::from(local.nanosecond()) * 1e-9;
    f64::from(day) * 24.0 + seconds / 3600.0
}

/// Milliseconds that local time is ahead of UTC at a moment.
pub(crate) fn offset_ms<Z: TimeZone>(zone: &Z, timestamp_ms: i64) -> i64 {
    DateTime::from_timestamp_millis(timestamp_ms).map_or(0, |utc| {
        let offset = zone.offset_from_utc_datetime(&utc.naive_utc()).fix();
        i64::from(offset.local_minus_utc()) * 1000
    })
}

/// When a profile works. The hours are those of the contract note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Training jobs: evening and night, less at the weekend.
    EveningAndNight,
    /// Office hours, and the reports of 16 to 19 h on top.
    Reports,
    /// 9:30 to 16 h, with a peak of log-ins at its start.
    Web,
    /// Job scheduling: batches in the evening and before dawn.
    Batches,
    /// Feeds in trading hours, end-of-day files after them.
    Feeds,
    /// Office hours.
    Office,
}

impl Shape {
    /// Work at an hour (0–24) of a day (Monday = 0), about 0 to 1.
    fn at(self, day: usize, hour: f64) -> f64 {
        let weekend = day >= 5;
        let scale = |weekday: f64, share: f64| if weekend { weekday * share } else { weekday };
        match self {
            Shape::EveningAndNight => {
                let night = rise(hour, 15.5, 17.5) + fall(hour, 5.0, 8.0);
                scale(night, 0.8)
            }
            Shape::Reports => {
                let office = plateau(hour, 7.0, 9.0, 18.0, 20.0);
                let reports = plateau(hour, 15.5, 16.25, 18.75, 19.5);
                scale(0.3 * office + 0.7 * reports, 0.25)
            }
            Shape::Web => {
                let day = plateau(hour, 6.0, 9.0, 18.0, 23.0);
                let busy = plateau(hour, 9.0, 9.5, 16.0, 19.0);
                let log_ins = plateau(hour, 9.25, 9.5, 9.75, 10.5);
                scale(0.3 * day + 0.7 * busy + 0.25 * log_ins, 0.4)
            }
            Shape::Batches => {
                let evening = plateau(hour, 18.0, 19.0, 22.0, 23.0);
                let dawn = plateau(hour, 2.0, 3.0, 5.0, 6.0);
                let office = plateau(hour, 8.0, 9.0, 18.0, 19.0);
                scale(evening + 0.8 * dawn + 0.5 * office, 0.6)
            }
            Shape::Feeds => {
                let trading = plateau(hour, 9.0, 9.5, 16.0, 16.5);
                let end_of_day = plateau(hour, 16.5, 17.0, 19.5, 20.5);
                scale(trading + 0.9 * end_of_day, 0.2)
            }
            Shape::Office => scale(plateau(hour, 7.0, 9.0, 18.0, 20.0), 0.3),
        }
    }
}

/// 0 before `from`, 1 after `to`, smooth in between.
fn rise(hour: f64, from: f64, to: f64) -> f64 {
    let x = ((hour - from) / (to - from)).clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// 1 before `from`, 0 after `to`, smooth in between.
fn fall(hour: f64, from: f64, to: f64) -> f64 {
    1.0 - rise(hour, from, to)
}

/// 1 from `full` to `wane`, 0 outside `start` to `end`.
fn plateau(hour: f64, start: f64, full: f64, wane: f64, end: f64) -> f64 {
    rise(hour, start, full) * fall(hour, wane, end)
}

/// A shape over the week, of mean 0.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    table: Vec<f64>,
    variance: f64,
}

impl Curve {
    /// Tabulates a shape every five minutes.
    pub(crate) fn new(shape: Shape) -> Self {
        let at = |i: usize| {
            shape.at(
                i / (24 * PER_HOUR),
                (i % (24 * PER_HOUR)) as f64 / PER_HOUR as f64,
            )
        };
        let mut table: Vec<f64> = (0..ENTRIES).map(at).collect();
        let mean = table.iter().sum::<f64>() / ENTRIES as f64;
        table.iter_mut().for_each(|v| *v -= mean);
        let variance = table.iter().map(|v| v * v).sum::<f64>() / ENTRIES as f64;
        Curve { table, variance }
    }

    /// Variance over the week.
    pub(crate) fn variance(&self) -> f64 {
        self.variance
    }

    /// Value at an hour of the week, any real number (the week repeats), between entries linear.
    pub(crate) fn at(&self, hour_of_week: f64) -> f64 {
        let place = hour_of_week.rem_euclid(HOURS_OF_WEEK) * PER_HOUR as f64;
        let entry = place as usize;
        let share = place - entry as f64;
        let value = |i: usize| self.table.get(i % ENTRIES).copied().unwrap_or(0.0);
        value(entry) * (1.0 - share) + value(entry + 1) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{FixedOffset, Utc};

    #[test]
    fn the_epoch_was_a_thursday() {
        assert_eq!(hour_of_week(&Utc, 0), 72.0);
        assert_eq!(hour_of_week(&Utc, -1_800_000), 71.5);
        assert_eq!(hour_of_week(&Utc, i64::MAX), 0.0);
    }

    #[test]
    fn local_time_is_used() {
        let zone = FixedOffset::west_opt(5 * 3600).unwrap_or(Utc.fix());
        assert_eq!(hour_of_week(&zone, 0), 67.0);
        assert_eq!(offset_ms(&zone, 0), -5 * 3_600_000);
    }

    #[test]
    fn curves_have_mean_zero_and_the_stated_peaks() {
        let check = |shape, busy: f64, quiet: f64| {
            let curve = Curve::new(shape);
            let mean = curve.table.iter().sum::<f64>() / ENTRIES as f64;
            assert!(mean.abs() < 1e-12);
            for weekday in 0..5 {
                let day = f64::from(weekday) * 24.0;
                assert!(
                    curve.at(day + busy) > curve.at(day + quiet) + 0.5,
                    "{shape:?}"
                );
            }
        };
        check(Shape::EveningAndNight, 22.0, 12.0);
        check(Shape::EveningAndNight, 3.0, 12.0);
        check(Shape::Reports, 17.5, 3.0);
        check(Shape::Web, 11.0, 3.0);
        check(Shape::Batches, 20.0, 12.0 + 11.5);
        check(Shape::Feeds, 12.0, 3.0);
        check(Shape::Office, 12.0, 3.0);
        let web = Curve::new(Shape::Web);
        assert!(
            web.at(11.0) > web.at(5.0 * 24.0 + 11.0) + 0.3,
            "weekends are quieter"
        );
    }

    #[test]
    fn the_week_repeats() {
        let curve = Curve::new(Shape::Web);
        assert!((curve.at(10.0) - curve.at(178.0)).abs() < 1e-9);
        assert!((curve.at(-1.0) - curve.at(167.0)).abs() < 1e-9);
        assert!((curve.at(167.9999) - curve.at(0.0)).abs() < 0.01);
    }
}
