//! Which forecasts would have been issued over a fleet's past, and these forecasts, made as they are asked for: a forecast takes 17 KB at 14
//! metrics, those of thousands of servers and some days would take gigabytes.
//!
//! As the service does, a forecast is issued at each N-th bucket of a server (`forecast.every`) whose row came, where its context has
//! enough rows.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use contract::Contract;
use contract::record::Prediction;
use drift::shift::scan::MAX_LAG;
use tft::eval::MIN_CONTEXT_ROWS;

use super::context_at;
use crate::roles::forecast::prediction;

/// Most forecasts that tell a model's errors on held-out days. Fewer would leave fleets of more than a thousand servers without some of
/// them, more would let a night's training end in the morning where there is no GPU.
pub(super) const MAX_FORECASTS: usize = 150_000;

/// Contexts in one call of the model.
const BATCH: usize = 256;

/// A server, and the step behind the last row that it is forecast from.
pub(super) type Due<'a> = (&'a tft::Series, usize);

/// What is issued when.
pub(super) struct Plan<'a> {
    servers: Vec<&'a tft::Series>,
    /// The first bucket whose row may be the last of a context.
    from_ms: i64,
    /// Behind the last.
    to_ms: i64,
    /// A forecast at each N-th bucket.
    stride: usize,
    step_ms: i64,
    metrics: usize,
    context_steps: usize,
}

impl<'a> Plan<'a> {
    /// All servers at each `every`-th bucket from `from_ms` on.
    pub(super) fn new(
        contract: &Contract,
        data: &'a tft::Dataset,
        from_ms: i64,
        every: u64,
    ) -> Plan<'a> {
        let (step_ms, metrics) = (contract.step_ms(), contract.num_metrics().max(1));
        let end = |series: &tft::Series| {
            let steps = i64::try_from(series.values.len() / metrics).unwrap_or(i64::MAX);
            series
                .start_ms
                .saturating_add(steps.saturating_mul(step_ms))
        };
        Plan {
            servers: data.series.iter().collect(),
            from_ms,
            to_ms: data.series.iter().map(end).max().unwrap_or(from_ms),
            stride: usize::try_from(every).unwrap_or(usize::MAX).max(1),
            step_ms,
            metrics,
            context_steps: contract.context_steps,
        }
    }

    /// Issued at so many buckets.
    fn num_times(&self) -> usize {
        let steps = (self.to_ms - self.from_ms).max(0) / self.step_ms;
        usize::try_from(steps)
            .unwrap_or(usize::MAX)
            .div_ceil(self.stride)
    }

    /// At each second, third, … of these buckets where all would be more than `limit` forecasts; an hour apart at most, as far as errors
    /// can be watched.
    pub(super) fn rarer(mut self, limit: usize) -> Plan<'a> {
        let every = self.stride;
        while self.num_times().saturating_mul(self.servers.len()) > limit
            && self.stride.saturating_add(every) <= MAX_LAG
        {
            self.stride += every;
        }
        self
    }

    /// Of fewer servers where all would be more than `limit` forecasts: the same share of each profile, chosen by a hash of the name. The mean
    /// error of fewer varies more, so that more of it is taken for noise.
    pub(super) fn of_fewer(mut self, limit: usize) -> Plan<'a> {
        let all = self.num_times().saturating_mul(self.servers.len());
        if all <= limit {
            return self;
        }
        let mut profiles: BTreeMap<usize, Vec<&tft::Series>> = BTreeMap::new();
        for series in self.servers {
            profiles.entry(series.profile).or_default().push(series);
        }
        let mut kept = Vec::new();
        for (_, mut servers) in profiles {
            servers.sort_by_key(|series| (contract::server_id(&series.server), &series.server));
            servers.truncate((servers.len() * limit / all).max(1));
            kept.append(&mut servers);
        }
        self.servers = kept;
        self
    }

    /// The same from a later time on.
    pub(super) fn from(self, from_ms: i64) -> Plan<'a> {
        Plan {
            from_ms: from_ms.max(self.from_ms),
            ..self
        }
    }

    /// By time of issue.
    pub(super) fn due(self) -> impl Iterator<Item = Due<'a>> + 'a {
        let stride = i64::try_from(self.stride).unwrap_or(i64::MAX);
        let stride_ms = self.step_ms.saturating_mul(stride);
        let ahead = (-self.from_ms).rem_euclid(stride_ms);
        let first = self.from_ms.saturating_add(ahead);
        let times = (first..self.to_ms).step_by(usize::try_from(stride_ms).unwrap_or(usize::MAX));
        let servers = self.servers.len();
        let pairs = times.flat_map(move |bucket| (0..servers).map(move |at| (bucket, at)));
        pairs.filter_map(move |(bucket, at)| {
            let series = *self.servers.get(at)?;
            let behind = (bucket - series.start_ms) / self.step_ms + 1;
            let end = usize::try_from(behind).ok().filter(|&end| end > 0)?;
            self.is_issued(series, end).then_some((series, end))
        })
    }

    fn is_issued(&self, series: &tft::Series, end: usize) -> bool {
        let has_value = |step: &usize| {
            let row = series
                .values
                .get(step * self.metrics..(step + 1) * self.metrics);
            row.is_some_and(|row| row.iter().any(|value| value.is_finite()))
        };
        let context = end.saturating_sub(self.context_steps)..end;
        let rows = context.filter(has_value).take(MIN_CONTEXT_ROWS);
        has_value(&(end - 1)) && rows.count() >= MIN_CONTEXT_ROWS
    }
}

/// Makes some of them.
type Make<'a> = dyn FnMut(&[Due<'a>]) -> Result<Vec<Prediction>> + 'a;

/// The forecasts of a plan, by time of issue. It ends where one cannot be made; ask [`Self::finish`] afterwards.
pub(super) struct Issued<'a> {
    due: Box<dyn Iterator<Item = Due<'a>> + 'a>,
    make: Box<Make<'a>>,
    made: std::vec::IntoIter<Prediction>,
    failed: Option<anyhow::Error>,
}

impl<'a> Issued<'a> {
    /// Made by `make`, some at a time, in their order.
    pub(super) fn new(
        due: impl Iterator<Item = Due<'a>> + 'a,
        make: impl FnMut(&[Due<'a>]) -> Result<Vec<Prediction>> + 'a,
    ) -> Issued<'a> {
        Issued {
            due: Box::new(due),
            make: Box::new(make),
            made: Vec::new().into_iter(),
            failed: None,
        }
    }

    /// Made by a model.
    pub(super) fn by_model(
        contract: &'a Contract,
        model: &'a tft::Model,
        version: &'a str,
        due: impl Iterator<Item = Due<'a>> + 'a,
    ) -> Issued<'a> {
        Issued::new(due, |batch| {
            let contexts = batch.iter();
            let contexts: Vec<_> = contexts
                .map(|&(series, end)| context_at(contract, series, end))
                .collect();
            let made = model
                .predict(&contexts)
                .context("forecast the held-out days")?;
            let made = contexts.iter().zip(&made);
            Ok(made
                .map(|(context, forecast)| {
                    prediction(contract, version, context, contract.context_steps, forecast)
                })
                .collect())
        })
    }

    /// Why it ended before its plan did.
    pub(super) fn finish(self) -> Result<()> {
        self.failed.map_or(Ok(()), Err)
    }
}

impl Iterator for Issued<'_> {
    type Item = Prediction;

    fn next(&mut self) -> Option<Prediction> {
        loop {
            if let Some(made) = self.made.next() {
                return Some(made);
            }
            let batch: Vec<Due<'_>> = self.due.by_ref().take(BATCH).collect();
            if batch.is_empty() || self.failed.is_some() {
                return None;
            }
            match (self.make)(&batch) {
                Ok(made) => self.made = made.into_iter(),
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    const STEP_MS: i64 = 300_000;
    /// Midnight of a Monday, UTC.
    const START_MS: i64 = 1_767_571_200_000;

    /// Servers of two profiles, three of four in the first, with a value at each of `steps` steps but the third.
    fn fleet(contract: &Contract, servers: usize, steps: usize) -> tft::Dataset {
        let metrics = contract.num_metrics();
        let series = (0..servers).map(|server| {
            let mut values = vec![1.0; steps * metrics];
            values[2 * metrics..3 * metrics].fill(f32::NAN);
            tft::Series {
                server: format!("s{server}"),
                profile: usize::from(server % 4 == 3),
                start_ms: START_MS,
                values,
                states: None,
            }
        });
        tft::Dataset {
            series: series.collect(),
        }
    }

    fn linborg() -> Contract {
        Contract::shipped("linborg").expect("a shipped contract")
    }

    #[test]
    fn issued_as_the_service_does() {
        let contract = linborg();
        let data = fleet(&contract, 2, 40);
        let due = |every, from_step: i64| -> Vec<(String, usize)> {
            let plan = Plan::new(&contract, &data, START_MS + from_step * STEP_MS, every);
            plan.due()
                .map(|(series, end)| (series.server.clone(), end))
                .collect()
        };
        let of = |ends: &[usize]| -> Vec<(String, usize)> {
            let pairs = ends.iter().flat_map(|&end| [("s0", end), ("s1", end)]);
            pairs
                .map(|(server, end)| (server.to_owned(), end))
                .collect()
        };
        // Twelve rows are there behind the thirteenth step, since the third has none.
        assert_eq!(due(1, 0), of(&(13..=40).collect::<Vec<_>>()));
        assert_eq!(due(1, 37), of(&[38, 39, 40]));
        // START_MS is a multiple of twelve steps: behind each twelfth bucket.
        assert_eq!(due(12, 0), of(&[13, 25, 37]));
        assert_eq!(due(12, 13), of(&[25, 37]));
        assert_eq!(due(u64::MAX, 1), of(&[]));
    }

    #[test]
    fn too_many_are_first_rarer_then_of_fewer_servers() {
        let contract = linborg();
        let data = fleet(&contract, 40, 288);
        let plan = |every, limit| {
            let plan = Plan::new(&contract, &data, START_MS, every);
            let plan = plan.rarer(limit).of_fewer(limit);
            (plan.stride, plan.servers.len())
        };
        assert_eq!(plan(1, 40 * 288), (1, 40));
        assert_eq!(plan(1, 40 * 288 - 1), (2, 40));
        assert_eq!(plan(5, 1_200), (10, 40));
        // Once an hour and no rarer: half of the servers, of each profile alike.
        assert_eq!(plan(1, 20 * 24), (12, 20));
        assert_eq!(plan(20, 300), (20, 20));
        let few = Plan::new(&contract, &data, START_MS, 1)
            .rarer(480)
            .of_fewer(480);
        let second = few.servers.iter().filter(|series| series.profile == 1);
        assert_eq!(second.count(), 5);
    }

    #[test]
    fn made_as_they_are_asked_for() {
        let contract = linborg();
        let data = fleet(&contract, 300, 20);
        let calls = std::cell::Cell::new(0);
        let plan = Plan::new(&contract, &data, START_MS, 1);
        let mut issued = Issued::new(plan.due(), |batch| {
            assert!(batch.len() <= BATCH);
            calls.set(calls.get() + 1);
            anyhow::ensure!(calls.get() < 3, "no more");
            Ok(Vec::new())
        });
        assert_eq!(calls.get(), 0);
        assert!(issued.next().is_none() && issued.next().is_none());
        assert_eq!(calls.get(), 3);
        let failed = issued.finish().expect_err("the third call fails");
        assert_eq!(failed.to_string(), "no more");
    }
}
