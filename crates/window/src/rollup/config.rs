//! What an engine runs on, checked once.

/// How a metric's values of one bucket become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Arithmetic mean in f64, given as f32.
    Mean,
    /// The value of the latest event time that is not a gap.
    Last,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Slots are counted in milliseconds of a step with 32 bits.
    #[error("rollup step of {0} ms: expected 1 to {max}", max = RollupConfig::MAX_STEP_MS)]
    Step(i64),
    /// A negative grace would close a bucket before its end.
    #[error("rollup grace of {0} ms: expected 0 or more")]
    Grace(i64),
    /// A negative look-ahead would reject what arrives on time.
    #[error("rollup look-ahead of {0} ms: expected 0 or more")]
    MaxAhead(i64),
    /// Without metrics every record is without a usable value.
    #[error("no metric to roll up")]
    NoMetrics,
    /// At least one server, and few enough for 32-bit slots.
    #[error("{0} servers per open bucket: expected 1 to {max}", max = RollupConfig::MAX_SERVERS)]
    Servers(usize),
    /// At least one byte.
    #[error("server names of up to 0 bytes: expected 1 or more")]
    ServerBytes,
}

/// What an engine runs on. Shared by all partitions (`Arc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupConfig {
    pub(super) step_ms: i64,
    pub(super) grace_ms: i64,
    pub(super) max_ahead_ms: i64,
    pub(super) min_timestamp_ms: i64,
    pub(super) max_servers: usize,
    pub(super) max_server_bytes: usize,
    pub(super) num_metrics: usize,
    /// Indices of the metrics with [`Aggregate::Last`], ascending.
    pub(super) last_metrics: Vec<usize>,
}

impl RollupConfig {
    /// Greatest step, about 24 days: a slot's place in its bucket and one more fit 31 bits, so `num_records` fits i32.
    pub const MAX_STEP_MS: i64 = (1 << 31) - 2;
    /// Greatest settable number of servers per open bucket.
    pub const MAX_SERVERS: usize = 1 << 28;
    /// 2000-01-01T00:00:00Z: nothing older is accepted (a clock that was never set says 1970).
    pub const MIN_TIMESTAMP_MS: i64 = 946_684_800_000;
    /// Five minutes: how far a timestamp may be ahead of its Kafka timestamp.
    pub const MAX_AHEAD_MS: i64 = 300_000;
    /// Default servers per open bucket: 100,000 of 14 metrics take about 50 MiB; more traffic than one partition bears.
    pub const DEFAULT_MAX_SERVERS: usize = 100_000;
    /// Default length of a server's name: what a DNS name may have. Longer ones only cost memory.
    pub const DEFAULT_MAX_SERVER_BYTES: usize = 255;

    /// Steps and grace in milliseconds, one aggregate per metric in the contract's order; limits at their defaults.
    ///
    /// # Errors
    /// What is out of range.
    pub fn new(
        step_ms: i64,
        grace_ms: i64,
        aggregates: &[Aggregate],
    ) -> Result<RollupConfig, ConfigError> {
        if !(1..=Self::MAX_STEP_MS).contains(&step_ms) {
            return Err(ConfigError::Step(step_ms));
        }
        if grace_ms < 0 {
            return Err(ConfigError::Grace(grace_ms));
        }
        if aggregates.is_empty() {
            return Err(ConfigError::NoMetrics);
        }
        let last_metrics = (0..aggregates.len())
            .filter(|&metric| aggregates.get(metric) == Some(&Aggregate::Last))
            .collect();
        Ok(RollupConfig {
            step_ms,
            grace_ms,
            max_ahead_ms: Self::MAX_AHEAD_MS,
            min_timestamp_ms: Self::MIN_TIMESTAMP_MS,
            max_servers: Self::DEFAULT_MAX_SERVERS,
            max_server_bytes: Self::DEFAULT_MAX_SERVER_BYTES,
            num_metrics: aggregates.len(),
            last_metrics,
        })
    }

    /// Servers an open bucket may hold. Larger: more memory in the worst case; smaller: a fleet that does not fit loses
    /// servers to the dead letters.
    ///
    /// # Errors
    /// 0 or more than [`Self::MAX_SERVERS`].
    pub fn with_max_servers(mut self, servers: usize) -> Result<RollupConfig, ConfigError> {
        if !(1..=Self::MAX_SERVERS).contains(&servers) {
            return Err(ConfigError::Servers(servers));
        }
        self.max_servers = servers;
        Ok(self)
    }

    /// Longest server name in bytes.
    ///
    /// # Errors
    /// 0.
    pub fn with_max_server_bytes(mut self, bytes: usize) -> Result<RollupConfig, ConfigError> {
        if bytes == 0 {
            return Err(ConfigError::ServerBytes);
        }
        self.max_server_bytes = bytes;
        Ok(self)
    }

    /// How far a timestamp may be ahead of its Kafka timestamp. Larger: a wrong clock keeps more buckets open at once.
    ///
    /// # Errors
    /// Negative.
    pub fn with_max_ahead_ms(mut self, ahead_ms: i64) -> Result<RollupConfig, ConfigError> {
        if ahead_ms < 0 {
            return Err(ConfigError::MaxAhead(ahead_ms));
        }
        self.max_ahead_ms = ahead_ms;
        Ok(self)
    }

    /// Oldest accepted timestamp. What is set below half of the least i64 counts as that, so that every accepted
    /// timestamp has a bucket.
    #[must_use]
    pub fn with_min_timestamp_ms(mut self, timestamp_ms: i64) -> RollupConfig {
        self.min_timestamp_ms = timestamp_ms.max(i64::MIN / 2);
        self
    }

    /// Length of a bucket in milliseconds.
    #[must_use]
    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// Number of metrics: the length of `values` in records and rows.
    #[must_use]
    pub fn num_metrics(&self) -> usize {
        self.num_metrics
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        let mean = [Aggregate::Mean];
        let max = RollupConfig::MAX_STEP_MS;
        assert_eq!(RollupConfig::new(0, 0, &mean), Err(ConfigError::Step(0)));
        assert_eq!(
            RollupConfig::new(max + 1, 0, &mean),
            Err(ConfigError::Step(max + 1))
        );
        assert!(RollupConfig::new(max, 0, &mean).is_ok());
        assert_eq!(RollupConfig::new(1, -1, &mean), Err(ConfigError::Grace(-1)));
        assert_eq!(RollupConfig::new(1, 0, &[]), Err(ConfigError::NoMetrics));
        let config = RollupConfig::new(1, 0, &mean).unwrap();
        assert_eq!(
            config.clone().with_max_servers(0),
            Err(ConfigError::Servers(0))
        );
        assert_eq!(
            config.clone().with_max_server_bytes(0),
            Err(ConfigError::ServerBytes)
        );
        assert_eq!(config.with_max_ahead_ms(-1), Err(ConfigError::MaxAhead(-1)));
        assert_eq!(
            ConfigError::Step(0).to_string(),
            "rollup step of 0 ms: expected 1 to 2147483646"
        );
    }
}
