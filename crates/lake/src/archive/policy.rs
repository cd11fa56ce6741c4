//! When a buffer is written: by rows, bytes or age, whichever comes first. Pure; the age is handed in.

/// Limits of one partition's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushPolicy {
    /// Rows. Larger: fewer, larger objects and more memory (a flush needs about three times the buffer).
    pub max_rows: usize,
    /// Bytes of the buffer as held in memory.
    pub max_bytes: usize,
    /// Milliseconds since the first buffered record came in. Smaller: fresher archive, more and smaller objects.
    pub max_age_ms: i64,
}

impl Default for FlushPolicy {
    /// 1 million rows, 128 MiB, 10 minutes.
    fn default() -> Self {
        FlushPolicy {
            max_rows: 1_000_000,
            max_bytes: 128 << 20,
            max_age_ms: 600_000,
        }
    }
}

impl FlushPolicy {
    /// Whether a buffer of `rows` and `bytes`, whose first record came in `age_ms` ago, is to be written now.
    /// An empty buffer never is.
    #[must_use]
    pub fn is_due(&self, rows: usize, bytes: usize, age_ms: i64) -> bool {
        rows > 0 && (rows >= self.max_rows || bytes >= self.max_bytes || age_ms >= self.max_age_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rows: usize, bytes: usize, age_ms: i64, expected: bool) {
        let policy = FlushPolicy {
            max_rows: 10,
            max_bytes: 1000,
            max_age_ms: 60_000,
        };
        assert_eq!(policy.is_due(rows, bytes, age_ms), expected);
    }

    #[test]
    fn any_limit_suffices_and_reaching_it_counts() {
        check(0, 5000, 90_000, false);
        check(1, 999, 59_999, false);
        check(10, 0, 0, true);
        check(9, 1000, 0, true);
        check(9, 999, 60_000, true);
        // A clock set back does not flush.
        check(9, 999, -5, false);
    }
}
