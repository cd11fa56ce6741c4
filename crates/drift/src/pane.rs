//! From rows and forecasts to panes: what one partition saw of each profile in each 5-minute bucket.
//!
//! Rows come in the order of the partition; a bucket is closed when its owner says so, and gives one pane per profile that
//! had a row. A bucket is counted with one baseline, the one in force when its first row came, even if another is set
//! meanwhile.
//!
//! Invariants: the first row of a (server, bucket) counts, repeats do not; a pane depends on the rows and forecasts given,
//! not on the order of rows within the bucket; at most [`MAX_OPEN_BUCKETS`] are open. O(1) a value.
//! It is not: a reader of topics (forecasts must be given before the rows they are compared with), or a clock.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use contract::Contract;
use contract::record::{Pane, Prediction};

use crate::baseline::{Baseline, BaselineError};
use crate::forecasts::{ForecastOutcome, Forecasts};
use crate::servers::Seen;
use crate::shift::season::bucket_hour;
use crate::sums::{LoadSums, MAX_VERSIONS, MetricSums};

/// Most buckets that are open at a time: two hours at 5 minutes. Rows of a partition come in the order of their buckets,
/// so that more are open only where something is broken; fewer could refuse rows after a long pause of the owner.
pub const MAX_OPEN_BUCKETS: usize = 24;

/// Most servers counted in one bucket of one partition.
pub const MAX_BUCKET_SERVERS: usize = 100_000;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOutcome {
    /// Counted.
    Counted,
    /// The server has a row in this bucket already.
    Repeat,
    /// The bucket is closed.
    Late,
    /// The profile or the number of values is not the contract's, or the time is not on its grid.
    NotOfContract,
    /// As many buckets are open, or servers in this bucket, as allowed: close first.
    Full,
}

#[derive(Debug)]
struct Open {
    baseline: Arc<Baseline>,
    seen: HashSet<Box<str>>,
    /// By profile.
    profiles: BTreeMap<usize, OpenProfile>,
}

#[derive(Debug)]
struct OpenProfile {
    position: i64,
    rows: i64,
    cpu: LoadSums,
    memory: LoadSums,
    metrics: Vec<MetricSums>,
    servers: Seen,
}

impl OpenProfile {
    /// Nothing yet; `usual` is what its metrics are at the bucket's hour.
    fn new(usual: Vec<f64>) -> OpenProfile {
        OpenProfile {
            position: 0,
            rows: 0,
            cpu: LoadSums::default(),
            memory: LoadSums::default(),
            metrics: vec![MetricSums::default(); usual.len()],
            servers: Seen::new(usual),
        }
    }

    fn count_load(&mut self, contract: &Contract, values: &[f32]) {
        let load = &contract.load;
        self.cpu
            .count(load.cpu.and_then(|metric| values.get(metric)));
        self.memory
            .count(load.memory.and_then(|metric| values.get(metric)));
    }
}

/// See the module.
#[derive(Debug)]
pub struct PaneBuilder {
    contract: Arc<Contract>,
    baseline: Arc<Baseline>,
    partition: i32,
    step_ms: i64,
    judged: Vec<bool>,
    forecasts: Forecasts,
    open: BTreeMap<i64, Open>,
    closed_before: Option<i64>,
}

impl PaneBuilder {
    /// Counts nothing yet. After a restart, `closed_before` is the first bucket whose panes have not been handed on:
    /// rows before it are late (their forecasts are still taken in).
    ///
    /// # Errors
    /// [`BaselineError::OtherContract`].
    pub fn new(
        contract: Arc<Contract>,
        baseline: Arc<Baseline>,
        partition: i32,
        closed_before: Option<i64>,
    ) -> Result<PaneBuilder, BaselineError> {
        baseline.check_contract(&contract)?;
        Ok(PaneBuilder {
            step_ms: contract.step_ms().max(1),
            judged: contract
                .metrics
                .iter()
                .map(|metric| !metric.monotone)
                .collect(),
            forecasts: Forecasts::new(Arc::clone(&contract)),
            contract,
            baseline,
            partition,
            open: BTreeMap::new(),
            closed_before,
        })
    }

    /// Takes another baseline for the buckets that open from now on; forecasts that wait are kept.
    ///
    /// # Errors
    /// [`BaselineError::OtherContract`]; the one in force stays.
    pub fn set_baseline(&mut self, baseline: Arc<Baseline>) -> Result<(), BaselineError> {
        baseline.check_contract(&self.contract)?;
        self.baseline = baseline;
        Ok(())
    }

    /// Keeps a forecast until its buckets come: P50 at 30 minutes, 1, 4 and 8 hours. What is a day ahead of the rows may be
    /// refused, see [`Self::is_too_far_ahead`].
    pub fn forecast(&mut self, prediction: &Prediction) -> ForecastOutcome {
        self.forecasts.offer(prediction, self.closed_before)
    }

    /// Whether a prediction issued at `issued_at` should wait until more rows were given.
    #[must_use]
    pub fn is_too_far_ahead(&self, issued_at: i64) -> bool {
        let newest = self
            .open
            .last_key_value()
            .map(|(&bucket, _)| bucket)
            .or(self.closed_before);
        newest.is_some_and(|newest| {
            issued_at > newest.saturating_add(crate::MAX_AHEAD_STEPS * self.step_ms)
        })
    }

    /// Counts a row of rollups. `bucket` is its start, `position` the offset after it, `values` are in the contract's order,
    /// NaN for a gap.
    pub fn row(
        &mut self,
        server: &str,
        profile: usize,
        bucket: i64,
        position: i64,
        values: &[f32],
    ) -> RowOutcome {
        if self.closed_before.is_some_and(|closed| bucket < closed) {
            return RowOutcome::Late;
        }
        if !self.is_of_contract(profile, bucket, values) {
            return RowOutcome::NotOfContract;
        }
        if !self.open.contains_key(&bucket) && self.open.len() >= MAX_OPEN_BUCKETS {
            return RowOutcome::Full;
        }
        let open = self.open.entry(bucket).or_insert_with(|| Open {
            baseline: Arc::clone(&self.baseline),
            seen: HashSet::new(),
            profiles: BTreeMap::new(),
        });
        if open.seen.contains(server) {
            return RowOutcome::Repeat;
        }
        if open.seen.len() >= MAX_BUCKET_SERVERS {
            return RowOutcome::Full;
        }
        open.seen.insert(server.into());
        let baseline = &open.baseline;
        let pane = open.profiles.entry(profile).or_insert_with(|| {
            let (hour, _) = bucket_hour(self.contract.time_zone, bucket, self.step_ms);
            OpenProfile::new(baseline.usual_at(profile, hour))
        });
        pane.position = pane.position.max(position);
        pane.rows += 1;
        pane.count_load(&self.contract, values);
        for (metric, (sums, &value)) in pane.metrics.iter_mut().zip(values).enumerate() {
            let is_judged = self.judged.get(metric).copied().unwrap_or(false);
            if let Some(cell) = baseline
                .cell(profile, metric)
                .filter(|_| is_judged && value.is_finite())
            {
                sums.count_value(value, cell.bin(value), cell.is_outlier(value));
            }
        }
        let known = baseline.servers.of(profile, server);
        pane.servers.count(known, server, values);
        count_errors(
            &self.contract,
            &self.judged,
            &self.forecasts,
            server,
            bucket,
            values,
            &mut pane.metrics,
        );
        RowOutcome::Counted
    }

    fn is_of_contract(&self, profile: usize, bucket: i64, values: &[f32]) -> bool {
        profile < self.contract.profiles.len()
            && values.len() == self.contract.num_metrics()
            && bucket.rem_euclid(self.step_ms) == 0
    }

    /// Closes all buckets before `bucket` and gives their panes, by bucket and profile. Rows for them are late from
    /// now on.
    pub fn close_before(&mut self, bucket: i64) -> Vec<Pane> {
        if self.closed_before.is_some_and(|closed| bucket <= closed) {
            return Vec::new();
        }
        let still_open = self.open.split_off(&bucket);
        let closing = std::mem::replace(&mut self.open, still_open);
        self.closed_before = Some(bucket);
        self.forecasts.forget_before(bucket);
        let mut panes = Vec::new();
        for (bucket, open) in closing {
            let of_profiles = open.profiles.into_iter();
            let of_profiles = of_profiles.filter_map(|(profile, counted)| {
                self.pane(bucket, &open.baseline, profile, counted)
            });
            let of_bucket: Vec<Pane> = of_profiles.collect();
            let num_panes = i32::try_from(of_bucket.len()).unwrap_or(i32::MAX);
            panes.extend(of_bucket.into_iter().map(|pane| Pane { num_panes, ..pane }));
        }
        panes
    }

    fn pane(
        &self,
        bucket: i64,
        baseline: &Baseline,
        profile: usize,
        counted: OpenProfile,
    ) -> Option<Pane> {
        let mut metrics = Vec::with_capacity(counted.metrics.len());
        for (index, sums) in counted.metrics.into_iter().enumerate() {
            if !self.judged.get(index).copied().unwrap_or(false) {
                continue;
            }
            let cell = baseline.cell(profile, index)?;
            metrics.push(sums.into_record(
                &self.contract.metrics.get(index)?.name,
                cell.edges.len() + 1,
                counted.servers.metric(index)?,
            ));
        }
        let (new_servers, new_names) = counted.servers.new_servers();
        Some(Pane {
            partition: self.partition,
            profile: self.contract.profiles.get(profile)?.name.clone(),
            bucket,
            baseline: baseline.id.clone(),
            contract: self.contract.fingerprint().to_owned(),
            position: counted.position,
            // One row per server and bucket is counted.
            servers: i32::try_from(counted.rows).unwrap_or(i32::MAX),
            rows: counted.rows,
            cpu_load: counted.cpu.to_record(),
            mem_load: counted.memory.to_record(),
            metrics,
            new_servers,
            new_names: new_names.to_vec(),
            // Known when the bucket closes.
            num_panes: 0,
        })
    }

    /// The earliest bucket that is open.
    #[must_use]
    pub fn oldest_open(&self) -> Option<i64> {
        self.open.first_key_value().map(|(&bucket, _)| bucket)
    }

    /// Buckets before it are closed.
    #[must_use]
    pub fn closed_before(&self) -> Option<i64> {
        self.closed_before
    }

    /// Servers whose forecasts wait for their time.
    #[must_use]
    pub fn num_waiting_servers(&self) -> usize {
        self.forecasts.num_servers()
    }
}

/// Compares a row with the forecasts that were made for it. A forecast as a whole is counted once, when its first
/// horizon comes due.
fn count_errors(
    contract: &Contract,
    judged: &[bool],
    forecasts: &Forecasts,
    server: &str,
    bucket: i64,
    values: &[f32],
    metrics: &mut [MetricSums],
) {
    for due in forecasts.due(server, bucket) {
        for (index, sums) in metrics.iter_mut().enumerate() {
            let (Some(&value), Some(&p50), Some(metric)) = (
                values.get(index),
                due.p50.get(index),
                contract.metrics.get(index),
            ) else {
                continue;
            };
            if !judged.get(index).copied().unwrap_or(false) {
                continue;
            }
            let out_of_range = due.out_of_range.get(index).copied();
            // NaN and in range: the metric was not forecast.
            if let Some(out_of_range) = out_of_range.filter(|&out| out || !p50.is_nan()) {
                sums.forecasts += 1;
                sums.out_of_range += i64::from(out_of_range);
            }
            if value.is_finite()
                && p50.is_finite()
                && let Some(errors) = sums.errors_of(due.version, MAX_VERSIONS)
                && let Some(horizon) = errors.get_mut(due.horizon)
            {
                horizon.count(p50, value, metric.per_floor);
            }
        }
    }
}
