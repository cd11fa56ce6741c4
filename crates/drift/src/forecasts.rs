//! The forecasts whose time has not come yet: P50 at the four horizons, per server, for eight hours.
//!
//! A forecast of step k, issued at t, is for the bucket that starts at t + (k − 1) · step; the horizon of 30 minutes is
//! the step that ends 30 minutes after t. Each server has one queue per horizon, in order of the bucket.
//!
//! Invariants: at most [`MAX_SERVERS`] servers, and per server and horizon at most as many forecasts as come due within it
//! and [`MAX_AHEAD_STEPS`] more; the first forecast for a (server, horizon, bucket) wins, later ones are repeats. It is not a store of forecasts: the other 92 steps are not kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use contract::record::Prediction;
use contract::{Contract, Metric};

use crate::sums::{HORIZON_MINUTES, NUM_HORIZONS};

/// Most servers of one partition whose forecasts are kept, some 20 KiB each at 14 metrics. More would let invented
/// names fill the memory; fewer would leave real servers of a large fleet without errors.
pub const MAX_SERVERS: usize = 20_000;

/// How far predictions may be ahead of rows, in buckets: a day at 5 minutes. They are when a backlog of both is read; more
/// would cost memory then, fewer would lose errors.
pub const MAX_AHEAD_STEPS: i64 = 288;

/// Model versions kept apart by name at a time.
const MAX_KNOWN_VERSIONS: usize = 16;

/// What became of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForecastOutcome {
    /// Kept until its time comes (or it was there already).
    Kept,
    /// Of another contract: not comparable.
    OtherContract,
    /// Its step or its time is not on the contract's grid.
    OffGrid,
    /// Its time has passed.
    Late,
    /// As many servers as allowed are kept.
    TooManyServers,
    /// Too far ahead of the rows: as many forecasts as allowed wait. Give it again after more rows.
    TooFarAhead,
}

#[derive(Debug)]
struct Slot {
    bucket: i64,
    version: Arc<str>,
    /// `[metric]`, NaN where nothing was forecast.
    p50: Box<[f32]>,
    /// `[metric]`: whether anything of the whole forecast was outside of the valid range; for the first horizon only.
    out_of_range: Box<[bool]>,
}

#[derive(Debug)]
struct Server {
    /// By horizon; in order of the bucket.
    queues: [VecDeque<Slot>; NUM_HORIZONS],
}

/// One forecast that came due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due<'a> {
    /// Index in [`HORIZON_MINUTES`].
    pub(crate) horizon: usize,
    pub(crate) version: &'a Arc<str>,
    pub(crate) p50: &'a [f32],
    /// Empty but for the first horizon.
    pub(crate) out_of_range: &'a [bool],
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Forecasts {
    contract: Arc<Contract>,
    step_ms: i64,
    /// The step of each horizon, from 1.
    steps: [i64; NUM_HORIZONS],
    servers: HashMap<String, Server>,
    versions: Vec<Arc<str>>,
}

impl Forecasts {
    pub(crate) fn new(contract: Arc<Contract>) -> Forecasts {
        let step_ms = contract.step_ms().max(1);
        let steps = HORIZON_MINUTES.map(|minutes| (i64::from(minutes) * 60_000 / step_ms).max(1));
        Forecasts {
            contract,
            step_ms,
            steps,
            servers: HashMap::new(),
            versions: Vec::new(),
        }
    }

    /// Keeps what is needed of a prediction. What is for buckets before `closed_before` is late.
    pub(crate) fn offer(
        &mut self,
        prediction: &Prediction,
        closed_before: Option<i64>,
    ) -> ForecastOutcome {
        let step_ms = self.step_ms;
        if prediction.contract != self.contract.fingerprint() {
            return ForecastOutcome::OtherContract;
        }
        if i64::from(prediction.step_seconds) * 1_000 != step_ms
            || prediction.issued_at.rem_euclid(step_ms) != 0
        {
            return ForecastOutcome::OffGrid;
        }
        let Some(last) = self.bucket_of(prediction.issued_at, NUM_HORIZONS - 1) else {
            return ForecastOutcome::OffGrid;
        };
        if closed_before.is_some_and(|closed| last < closed) {
            return ForecastOutcome::Late;
        }
        if !self.servers.contains_key(&prediction.server) && self.servers.len() >= MAX_SERVERS {
            return ForecastOutcome::TooManyServers;
        }
        if self.is_full(&prediction.server) {
            return ForecastOutcome::TooFarAhead;
        }
        let version = self.version_of(&prediction.model_version);
        let out_of_range = self.ranges(prediction);
        for horizon in 0..NUM_HORIZONS {
            let marks: &[bool] = if horizon == 0 { &out_of_range } else { &[] };
            self.keep(prediction, horizon, &version, marks, closed_before);
        }
        ForecastOutcome::Kept
    }

    /// Whether one more forecast of a server could be one too many.
    fn is_full(&self, server: &str) -> bool {
        let limit = |step: i64| usize::try_from(step + MAX_AHEAD_STEPS).unwrap_or(usize::MAX);
        self.servers.get(server).is_some_and(|server| {
            server
                .queues
                .iter()
                .zip(self.steps)
                .any(|(queue, step)| queue.len() >= limit(step))
        })
    }

    /// The bucket that a forecast of a horizon is for; `None` beyond the calendar.
    fn bucket_of(&self, issued_at: i64, horizon: usize) -> Option<i64> {
        let ahead = (self.steps.get(horizon)? - 1).checked_mul(self.step_ms)?;
        issued_at.checked_add(ahead)
    }

    fn keep(
        &mut self,
        prediction: &Prediction,
        horizon: usize,
        version: &Arc<str>,
        out_of_range: &[bool],
        closed_before: Option<i64>,
    ) {
        let (Some(bucket), Some(&step)) = (
            self.bucket_of(prediction.issued_at, horizon),
            self.steps.get(horizon),
        ) else {
            return;
        };
        if closed_before.is_some_and(|closed| bucket < closed) {
            return;
        }
        let server = self
            .servers
            .entry(prediction.server.clone())
            .or_insert_with(|| Server {
                queues: Default::default(),
            });
        let Some(queue) = server.queues.get_mut(horizon) else {
            return;
        };
        let Err(place) = queue.binary_search_by_key(&bucket, |slot| slot.bucket) else {
            return;
        };
        let index = usize::try_from(step - 1).unwrap_or(usize::MAX);
        let mut p50 = vec![f32::NAN; self.contract.num_metrics()].into_boxed_slice();
        for forecast in &prediction.forecasts {
            let place = self
                .contract
                .metric_index(&forecast.metric)
                .and_then(|metric| p50.get_mut(metric));
            if let (Some(place), Some(&value)) = (place, forecast.p50.get(index)) {
                *place = value;
            }
        }
        let slot = Slot {
            bucket,
            version: Arc::clone(version),
            p50,
            out_of_range: out_of_range.into(),
        };
        queue.insert(place, slot);
    }

    /// Per metric whether any value of the forecast is outside of the valid range.
    fn ranges(&self, prediction: &Prediction) -> Vec<bool> {
        let mut out = vec![false; self.contract.num_metrics()];
        for forecast in &prediction.forecasts {
            let Some(index) = self.contract.metric_index(&forecast.metric) else {
                continue;
            };
            let (Some(metric), Some(out)) = (self.contract.metrics.get(index), out.get_mut(index))
            else {
                continue;
            };
            *out = [&forecast.p10, &forecast.p50, &forecast.p90]
                .into_iter()
                .any(|values| {
                    values
                        .iter()
                        .take(self.contract.horizon_steps)
                        .any(|&value| !in_range(metric, value))
                });
        }
        out
    }

    /// The same allocation for the same name; the oldest name is forgotten when there are too many.
    fn version_of(&mut self, name: &str) -> Arc<str> {
        if let Some(held) = self.versions.iter().find(|held| held.as_ref() == name) {
            return Arc::clone(held);
        }
        if self.versions.len() >= MAX_KNOWN_VERSIONS {
            self.versions.remove(0);
        }
        let version: Arc<str> = Arc::from(name);
        self.versions.push(Arc::clone(&version));
        version
    }

    /// The forecasts of a server for a bucket, nearest horizon first.
    pub(crate) fn due<'a>(&'a self, server: &str, bucket: i64) -> impl Iterator<Item = Due<'a>> {
        self.servers
            .get(server)
            .into_iter()
            .flat_map(move |server| {
                server
                    .queues
                    .iter()
                    .enumerate()
                    .filter_map(move |(horizon, queue)| {
                        let slot = queue.get(
                            queue
                                .binary_search_by_key(&bucket, |slot| slot.bucket)
                                .ok()?,
                        )?;
                        Some(Due {
                            horizon,
                            version: &slot.version,
                            p50: &slot.p50,
                            out_of_range: &slot.out_of_range,
                        })
                    })
            })
    }

    /// Forgets forecasts for buckets before `bucket`, and servers without any other.
    pub(crate) fn forget_before(&mut self, bucket: i64) {
        self.servers.retain(|_, server| {
            for queue in &mut server.queues {
                let past = queue.partition_point(|slot| slot.bucket < bucket);
                queue.drain(..past);
            }
            server.queues.iter().any(|queue| !queue.is_empty())
        });
    }

    pub(crate) fn num_servers(&self) -> usize {
        self.servers.len()
    }
}

fn in_range(metric: &Metric, value: f32) -> bool {
    value.is_finite()
        && metric.min.is_none_or(|min| value >= min)
        && metric.max.is_none_or(|max| value <= max)
}
