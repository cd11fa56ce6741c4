//! Durations and times as people say them at 3 a.m.

/// `30 d`, `9 h 12 min`, `45 min`, `30 s`; a negative one is none. Days from the third on.
pub(crate) fn duration(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    let (hours, minutes) = (seconds / 3_600, seconds % 3_600 / 60);
    match (hours, minutes) {
        (72.., _) if hours % 24 == 0 => format!("{} d", hours / 24),
        (72.., _) => format!("{} d {} h", hours / 24, hours % 24),
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_said_in_two_units_at_most() {
        assert_eq!(duration(33_120_000), "9 h 12 min");
        assert_eq!(duration(21_600_000), "6 h");
        assert_eq!(duration(2_700_000), "45 min");
        assert_eq!(duration(30_000), "30 s");
        assert_eq!(duration(30 * 86_400_000 + 5), "30 d");
        assert_eq!(duration(77 * 3_600_000), "3 d 5 h");
        assert_eq!(duration(-5), "0 s");
    }
}
