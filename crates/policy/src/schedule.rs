//! Trainings by the clock: a cron expression of five fields in a time zone.
//!
//! Daylight saving: a time of day that a change of the clocks skips fires once, right after the gap; one that comes twice
//! fires the first time only. A pattern with a wildcard in its minute or hour is a distance, not a time of day: it goes on
//! by the clock on the wall (so it is with Vixie cron).

use std::fmt;

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use thiserror::Error;

/// Why a cron expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// It is not five fields that can be read.
    #[error(
        "not a cron expression ({0}); write minute, hour, day of the month, month and day of the week, like \"0 2 * * *\""
    )]
    Unreadable(String),
    /// No date is ever one of its.
    #[error("never fires: no date fits it (like 30 February)")]
    NeverFires,
}

/// When trainings are due by the clock.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: Tz,
}

impl Schedule {
    /// Reads five fields; `zone` is whose clock they are of.
    ///
    /// # Errors
    /// [`ScheduleError`], in words for whoever wrote it.
    pub fn parse(text: &str, zone: Tz) -> Result<Schedule, ScheduleError> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let fields = text.split(' ').filter(|field| !field.is_empty()).count();
        if fields != NUM_FIELDS {
            return Err(ScheduleError::Unreadable(format!("{fields} fields")));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(&text)
            .map_err(|error| ScheduleError::Unreadable(error.to_string()))?;
        let schedule = Schedule { text, cron, zone };
        match schedule.next_after(A_DATE_MS) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::NeverFires),
        }
    }

    /// The first time after `ms` at which a training is due, ms; `None` beyond the dates that there are.
    #[must_use]
    pub fn next_after(&self, ms: i64) -> Option<i64> {
        let after = DateTime::from_timestamp_millis(ms)?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp_millis())
    }

    /// Whose clock it goes by.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The five fields.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Schedule) -> bool {
        (self.text.as_str(), self.zone) == (other.text.as_str(), other.zone)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.zone)
    }
}

const NUM_FIELDS: usize = 5;
/// 2024-01-01: any date does to see whether one ever fits, 29 February on a Monday too.
const A_DATE_MS: i64 = 1_704_067_200_000;
