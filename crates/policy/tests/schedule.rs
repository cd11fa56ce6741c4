//! Cron in a time zone, on days of 23 and 25 hours too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use chrono::DateTime;
use chrono_tz::Tz;
use policy::{Schedule, ScheduleError};

fn ms(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text)
        .unwrap()
        .timestamp_millis()
}

/// The times after `from`, one after the other.
#[track_caller]
fn check(cron: &str, zone: Tz, from: &str, expected: &[&str]) {
    let schedule = Schedule::parse(cron, zone).unwrap();
    let mut at = ms(from);
    for expected in expected {
        at = schedule.next_after(at).unwrap();
        let found = DateTime::from_timestamp_millis(at).unwrap().to_rfc3339();
        assert_eq!(at, ms(expected), "{cron}: {found}, not {expected}");
    }
}

#[test]
fn two_at_night_in_new_york() {
    let expected = ["2026-01-06T07:00:00Z", "2026-01-07T07:00:00Z"];
    check(
        "0 2 * * *",
        Tz::America__New_York,
        "2026-01-06T06:59:59Z",
        &expected,
    );
    // What is due now is not after now.
    check(
        "0 2 * * *",
        Tz::America__New_York,
        "2026-01-06T07:00:00Z",
        &expected[1..],
    );
    check(
        "30 3 * * 1",
        Tz::UTC,
        "2026-01-06T00:00:00Z",
        &["2026-01-12T03:30:00Z"],
    );
}

/// 2026-03-08: 02:00 EST is 03:00 EDT.
#[test]
fn a_day_of_23_hours_skips_half_past_two_and_makes_up_for_it_once() {
    let expected = [
        "2026-03-07T07:30:00Z",
        "2026-03-08T07:00:00Z",
        "2026-03-09T06:30:00Z",
    ];
    check(
        "30 2 * * *",
        Tz::America__New_York,
        "2026-03-07T00:00:00Z",
        &expected,
    );
    // In Berlin 02:00 is 03:00 on 2026-03-29.
    let expected = [
        "2026-03-28T01:30:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-30T00:30:00Z",
    ];
    check(
        "30 2 * * *",
        Tz::Europe__Berlin,
        "2026-03-28T00:00:00Z",
        &expected,
    );
}

/// 2026-11-01: 02:00 EDT is 01:00 EST.
#[test]
fn a_day_of_25_hours_has_half_past_one_twice_and_uses_it_once() {
    let expected = [
        "2026-10-31T05:30:00Z",
        "2026-11-01T05:30:00Z",
        "2026-11-02T06:30:00Z",
    ];
    check(
        "30 1 * * *",
        Tz::America__New_York,
        "2026-10-31T00:00:00Z",
        &expected,
    );
    // Asked between the two, too.
    check(
        "30 1 * * *",
        Tz::America__New_York,
        "2026-11-01T05:45:00Z",
        &expected[2..],
    );
    // A distance goes on by the clock: every half hour of both hours.
    let expected = [
        "2026-11-01T05:00:00Z",
        "2026-11-01T05:30:00Z",
        "2026-11-01T06:00:00Z",
        "2026-11-01T06:30:00Z",
        "2026-11-01T07:00:00Z",
    ];
    check(
        "*/30 * * * *",
        Tz::America__New_York,
        "2026-11-01T04:30:00Z",
        &expected,
    );
}

#[test]
fn what_does_not_parse_or_never_fires_is_refused_in_words() {
    for text in [
        "",
        "0 2 * *",
        "0 2 * * * *",
        "61 2 * * *",
        "a b c d e",
        "0 0 0 * *",
        "@daily",
    ] {
        let error = Schedule::parse(text, Tz::UTC).unwrap_err();
        assert!(
            matches!(error, ScheduleError::Unreadable(_)),
            "{text}: {error}"
        );
        assert!(error.to_string().contains("\"0 2 * * *\""), "{error}");
    }
    for text in ["0 2 30 2 *", "0 0 31 4,6,9,11 *"] {
        let error = Schedule::parse(text, Tz::UTC).unwrap_err();
        assert_eq!(error, ScheduleError::NeverFires, "{text}");
        assert!(error.to_string().starts_with("never fires"), "{error}");
    }
    // Rare is not never.
    check(
        "0 0 29 2 *",
        Tz::UTC,
        "2026-01-01T00:00:00Z",
        &["2028-02-29T00:00:00Z"],
    );
}

#[test]
fn it_is_shown_with_its_zone() {
    let schedule = Schedule::parse(" 0  2 * * *", Tz::America__New_York).unwrap();
    assert_eq!(schedule.to_string(), "0 2 * * * America/New_York");
    assert_eq!(
        schedule,
        Schedule::parse("0 2 * * *", Tz::America__New_York).unwrap()
    );
    assert_ne!(schedule, Schedule::parse("0 2 * * *", Tz::UTC).unwrap());
    assert_eq!(
        (schedule.as_str(), schedule.zone()),
        ("0 2 * * *", Tz::America__New_York)
    );
}
