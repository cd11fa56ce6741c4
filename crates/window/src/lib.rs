//! What time it is in the stream.
//!
//! * [`rollup`]: the engine of one partition of `metrics`: watermark, buckets, counting, what to commit.
//! * [`context`]: which offset lets a role that needs the last N hours read them again after a restart.
//! * [`align`]: holds rollups back until the forecasts they are compared with have been read.
//! * [`chain`]: the algebra of the archive's offset ranges.
//! * [`metadata`]: the text beside a committed offset.
//!
//! Invariants:
//! * Time comes only out of records: nothing here reads a clock, does I/O, logs or spawns.
//! * The same records in the same order give the same result, however they are cut into batches.
//! * Whatever comes from outside (times, offsets, names, metadata) may be any value: arithmetic on it saturates.
//!
//! It is not: a consumer (`bus`), a wire format (`contract`), or a judge of values (`contract` cleans them first).
//!
//! Times are milliseconds since the epoch, UTC. A *bucket* is named by its start, a multiple of the step.

pub mod align;
pub mod chain;
pub mod context;
pub mod metadata;
pub mod rollup;

/// Start of the bucket that holds `timestamp_ms`: rounded down to a multiple of `step_ms`, also before the epoch.
///
/// Saturates at the least multiple that fits. `step_ms` below 1 counts as 1.
///
/// ```
/// assert_eq!(window::bucket_of(299_999, 300_000), 0);
/// assert_eq!(window::bucket_of(300_000, 300_000), 300_000);
/// assert_eq!(window::bucket_of(-1, 300_000), -300_000);
/// ```
#[must_use]
#[inline]
pub fn bucket_of(timestamp_ms: i64, step_ms: i64) -> i64 {
    let step = step_ms.max(1);
    let into = timestamp_ms.rem_euclid(step);
    timestamp_ms
        .checked_sub(into)
        .unwrap_or(i64::MIN - i64::MIN % step)
}

#[cfg(test)]
mod tests {
    use super::bucket_of;

    #[test]
    fn buckets_round_down_on_both_sides_of_the_epoch() {
        assert_eq!(bucket_of(0, 10), 0);
        assert_eq!(bucket_of(9, 10), 0);
        assert_eq!(bucket_of(10, 10), 10);
        assert_eq!(bucket_of(-1, 10), -10);
        assert_eq!(bucket_of(-10, 10), -10);
        assert_eq!(bucket_of(-11, 10), -20);
    }

    #[test]
    fn extremes_do_not_overflow() {
        assert_eq!(bucket_of(i64::MAX, 10), i64::MAX - 7);
        assert_eq!(bucket_of(i64::MIN, 10), i64::MIN + 8);
        assert_eq!(bucket_of(7, 0), 7);
    }
}
