//! Time, handed in: the wall clock, or the stream's own time at a chosen speed.
//!
//! Below the role loops nobody asks what time it is. In the demo and in replays the stream's time
//! runs `speed` times as fast as the wall's, so that "6 h since the last training" passes in 6 s
//! at 3600×. This file is the only one that reads the system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A source of stream time. Cheap to clone; clones agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Kind);

#[derive(Debug, Clone, Copy)]
enum Kind {
    Wall,
    Scaled {
        wall_origin: Instant,
        stream_origin_ms: i64,
        speed: f64,
    },
}

impl Clock {
    /// The wall clock: stream time is UTC.
    pub(crate) fn wall() -> Self {
        Self(Kind::Wall)
    }

    /// Stream time begins now at `stream_origin_ms` and runs `speed` times as fast as the wall's.
    /// A speed that is not above zero counts as 1.
    pub(crate) fn scaled(stream_origin_ms: i64, speed: f64) -> Self {
        Self(Kind::Scaled {
            wall_origin: Instant::now(),
            stream_origin_ms,
            speed: if speed > 0.0 && speed.is_finite() {
                speed
            } else {
                1.0
            },
        })
    }

    /// Stream time in milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        match self.0 {
            Kind::Wall => wall_now_ms(),
            Kind::Scaled {
                wall_origin,
                stream_origin_ms,
                speed,
            } => stream_ms(stream_origin_ms, speed, wall_origin.elapsed()),
        }
    }

    /// How many times as fast as the wall's this clock runs.
    pub(crate) fn speed(self) -> f64 {
        match self.0 {
            Kind::Wall => 1.0,
            Kind::Scaled { speed, .. } => speed,
        }
    }

    /// The wall time that a stretch of stream time takes.
    pub(crate) fn to_wall(self, stream: Duration) -> Duration {
        Duration::try_from_secs_f64(stream.as_secs_f64() / self.speed()).unwrap_or(Duration::MAX)
    }

    /// Waits for a stretch of stream time.
    pub(crate) async fn sleep(&self, stream: Duration) {
        tokio::time::sleep(self.to_wall(stream)).await;
    }

    /// Waits until stream time has reached `stream_ms`; returns at once where it has.
    pub(crate) async fn sleep_until_ms(&self, stream_ms: i64) {
        let left = stream_ms.saturating_sub(self.now_ms());
        if let Ok(left) = u64::try_from(left) {
            self.sleep(Duration::from_millis(left)).await;
        }
    }
}

/// Where stream time stands when the wall's has gone on by `elapsed` since the origin.
fn stream_ms(stream_origin_ms: i64, speed: f64, elapsed: Duration) -> i64 {
    let passed_ms = elapsed.as_secs_f64() * 1_000.0 * speed;
    stream_origin_ms.saturating_add(passed_ms as i64)
}

/// UTC in milliseconds since the epoch; 0 for a clock that is set before it.
#[allow(clippy::disallowed_methods)] // The one place that reads the system's clock.
fn wall_now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_clock_runs_at_its_speed() {
        let two_seconds = Duration::from_secs(2);
        assert_eq!(stream_ms(1_000_000, 60.0, two_seconds), 1_120_000);
        assert_eq!(stream_ms(i64::MAX, 60.0, two_seconds), i64::MAX);
        let clock = Clock::scaled(1_000_000, 60.0);
        assert_eq!(
            clock.to_wall(Duration::from_secs(3_600)),
            Duration::from_secs(60)
        );
        assert!(clock.now_ms() >= 1_000_000);
        assert_eq!(Clock::wall().to_wall(two_seconds), two_seconds);
    }

    #[tokio::test]
    async fn what_has_passed_is_not_waited_for() {
        let clock = Clock::scaled(1_000_000, 1e-6);
        clock.sleep_until_ms(999_999).await;
        clock.sleep_until_ms(i64::MIN).await;
    }

    #[test]
    fn the_wall_clock_is_utc_milliseconds() {
        // Between 2020 and 2100.
        let now = Clock::wall().now_ms();
        assert!((1_577_836_800_000..4_102_444_800_000).contains(&now));
    }

    #[tokio::test]
    async fn a_speed_that_is_none_counts_as_one() {
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Clock::scaled(0, speed).speed(), 1.0);
        }
    }
}
