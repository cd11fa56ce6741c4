//! From the rows of a training window to a [`Baseline`].
//!
//! The rows are gone over three times: for the bins and means, then by hour of the week at these bins and around these means, then by server
//! against what is usual at the hour. All sums are integers and fixed point: rows in any order, and in parts that are merged, give the same
//! bits. Memory is bounded by profiles × metrics ([`Sketch`], [`History`]) and by
//! [`crate::MAX_KNOWN_SERVERS`], whatever the number of rows and of servers.

use contract::Contract;

use crate::baseline::{Baseline, Cell, Row};
use crate::fixed::{float, term};
use crate::hours::HourSums;
use crate::servers::ServerSums;
use crate::shift::history::{History, Signal};
use crate::shift::learn::{DAY_MS, resolution};
use crate::shift::season::{self, HOURS, bucket_hour};
use crate::sketch::Sketch;

impl Baseline {
    /// The baseline of a training window, not yet calibrated, and what [`crate::calibrate()`] needs beside it. Rows of profiles that the
    /// contract does not have are left out; `rows` is gone over three times.
    #[must_use]
    pub fn learn<'a, I>(id: &str, contract: &Contract, rows: I) -> (Baseline, History)
    where
        I: Iterator<Item = Row<'a>> + Clone + Sync,
    {
        Baseline::learn_parts(id, contract, &[rows])
    }

    /// The same of rows in several parts, each gone over by a thread of its own, which takes some 50 MB for a month of 14 metrics. How they
    /// are divided changes no bit.
    #[must_use]
    pub fn learn_parts<'a, I>(id: &str, contract: &Contract, parts: &[I]) -> (Baseline, History)
    where
        I: Iterator<Item = Row<'a>> + Clone + Sync,
    {
        let gathered = of_parts(parts, |rows| {
            let mut gathered = Gathered::new(contract);
            rows.for_each(|row| gathered.add(&row));
            gathered
        });
        let gathered = merged(Gathered::new(contract), gathered, Gathered::merge);
        let mut baseline = Baseline {
            id: id.to_owned(),
            contract: contract.fingerprint().to_owned(),
            detector: None,
            cells: gathered.cells(),
            servers: Default::default(),
        };
        let hours = of_parts(parts, |rows| baseline.gather_hours(contract, rows));
        let hours = merged(baseline.no_hours(), hours, |all, part| {
            merge_hours(all, part);
        });
        baseline.set_hours(hours);
        baseline.learn_seasons(contract, &gathered.history);
        baseline.learn_servers(contract, parts.iter().flat_map(Clone::clone));
        (baseline, gathered.history)
    }

    /// By cell.
    fn no_hours(&self) -> Vec<Vec<HourSums>> {
        vec![Vec::new(); self.cells.iter().map(Vec::len).sum()]
    }

    fn gather_hours<'a>(
        &self,
        contract: &Contract,
        rows: impl Iterator<Item = Row<'a>>,
    ) -> Vec<Vec<HourSums>> {
        let mut sums = self.no_hours();
        for row in rows {
            let Some(cells) = self.cells.get(row.profile) else {
                continue;
            };
            let (hour, _) = bucket_hour(contract.time_zone, row.bucket, contract.step_ms());
            let sums = sums.iter_mut().skip(row.profile * contract.num_metrics());
            for ((hours, cell), &value) in sums.zip(cells).zip(row.values) {
                if cell.n == 0 || !value.is_finite() {
                    continue;
                }
                hours.resize_with(HOURS, HourSums::default);
                if let Some(sums) = hours.get_mut(hour) {
                    sums.count(value, cell.mean, cell.bin(value), cell.counts.len());
                }
            }
        }
        sums
    }

    /// Sets the hours of each cell, and its standard deviation.
    fn set_hours(&mut self, sums: Vec<Vec<HourSums>>) {
        for (cell, hours) in self.cells.iter_mut().flatten().zip(sums) {
            let bins = cell.counts.len();
            let add = |sum: i128, hour: &HourSums| sum.wrapping_add(hour.off_sq());
            let off_sq = hours.iter().fold(0, add);
            if cell.n > 1 {
                cell.sd = (float(off_sq) / (cell.n - 1) as f64).sqrt();
            }
            cell.hours = hours.into_iter().map(|sums| sums.finish(bins)).collect();
        }
    }

    fn learn_seasons(&mut self, contract: &Contract, history: &History) {
        let times: Vec<(i64, (usize, f64))> = history
            .buckets
            .keys()
            .map(|&at| {
                let hour = bucket_hour(contract.time_zone, at, contract.step_ms());
                (at.div_euclid(DAY_MS), hour)
            })
            .collect();
        let days = times.last().zip(times.first());
        let days = days.map_or(0, |(last, first)| last.0.abs_diff(first.0) + 1);
        let resolution = resolution(usize::try_from(days).unwrap_or(usize::MAX));
        for (index, cell) in self.cells.iter_mut().flatten().enumerate() {
            let sums = history.buckets.values().map(|bucket| bucket.get(index));
            let means = times.iter().zip(sums).filter_map(|(&(day, hour), sums)| {
                let mean = sums?.value(Signal::Mean, 1.0);
                mean.is_finite().then_some((day, hour, mean))
            });
            cell.season = season::fit(&means.collect::<Vec<_>>(), resolution);
        }
    }

    fn learn_servers<'a>(&mut self, contract: &Contract, rows: impl Iterator<Item = Row<'a>>) {
        let usual: Vec<Vec<Vec<f64>>> = (0..self.cells.len())
            .map(|profile| {
                (0..HOURS)
                    .map(|hour| self.usual_at(profile, hour))
                    .collect()
            })
            .collect();
        let mut sums = ServerSums::new(self.cells.len());
        for row in rows {
            let (hour, _) = bucket_hour(contract.time_zone, row.bucket, contract.step_ms());
            let usual = usual.get(row.profile).and_then(|hours| hours.get(hour));
            if let (Some(usual), Some(cells)) = (usual, self.cells.get(row.profile)) {
                sums.count(row.profile, row.server, row.values, usual, cells);
            }
        }
        self.servers = sums.finish(&self.cells);
    }
}

/// What `gather` finds in each part, side by side.
fn of_parts<'a, I, T: Send>(parts: &[I], gather: impl Fn(I) -> T + Sync) -> Vec<T>
where
    I: Iterator<Item = Row<'a>> + Clone + Sync,
{
    let gather = &gather;
    std::thread::scope(|scope| {
        let threads = parts
            .iter()
            .map(|rows| scope.spawn(|| gather(rows.clone())));
        let threads: Vec<_> = threads.collect();
        let gathered = threads.into_iter().map(|thread| match thread.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        gathered.collect()
    })
}

fn merged<T>(mut all: T, parts: Vec<T>, merge: impl Fn(&mut T, &T)) -> T {
    parts.iter().for_each(|part| merge(&mut all, part));
    all
}

fn merge_hours(all: &mut [Vec<HourSums>], part: &[Vec<HourSums>]) {
    for (all, part) in all.iter_mut().zip(part) {
        all.resize_with(all.len().max(part.len()), HourSums::default);
        for (all, part) in all.iter_mut().zip(part) {
            all.merge(part);
        }
    }
}

/// What the first pass finds.
struct Gathered {
    judged: Vec<bool>,
    cells: Vec<Vec<GatheredCell>>,
    history: History,
}

#[derive(Debug, Clone, Default)]
struct GatheredCell {
    sketch: Sketch,
    /// Fixed point.
    sum: i128,
}

impl Gathered {
    fn new(contract: &Contract) -> Gathered {
        let (profiles, metrics) = (contract.profiles.len(), contract.num_metrics());
        let judged = contract.metrics.iter().map(|metric| !metric.monotone);
        Gathered {
            judged: judged.collect(),
            cells: vec![vec![GatheredCell::default(); metrics]; profiles],
            history: History::new(profiles * metrics),
        }
    }

    fn add(&mut self, row: &Row<'_>) {
        let metrics = self.judged.len();
        let Some(gathered) = self.cells.get_mut(row.profile) else {
            return;
        };
        if let Some(sums) = self.history.bucket(row.bucket) {
            let cells = sums.iter_mut().skip(row.profile * metrics);
            for ((sums, &value), &judged) in cells.zip(row.values).zip(&self.judged) {
                if judged && value.is_finite() {
                    sums.count(value);
                }
            }
        }
        for ((gathered, &value), &judged) in gathered.iter_mut().zip(row.values).zip(&self.judged) {
            if judged && value.is_finite() {
                gathered.add(value);
            }
        }
    }

    fn merge(&mut self, other: &Gathered) {
        self.history.merge(&other.history);
        let cells = self.cells.iter_mut().flatten();
        for (cell, other) in cells.zip(other.cells.iter().flatten()) {
            cell.sketch.merge(&other.sketch);
            cell.sum = cell.sum.wrapping_add(other.sum);
        }
    }

    fn cells(&self) -> Vec<Vec<Cell>> {
        let finish = |cells: &Vec<GatheredCell>| cells.iter().map(GatheredCell::finish).collect();
        self.cells.iter().map(finish).collect()
    }
}

impl GatheredCell {
    fn add(&mut self, value: f32) {
        self.sketch.add(value);
        self.sum = self.sum.wrapping_add(term(value.into()));
    }

    /// Without its standard deviation, for which the mean must be known.
    fn finish(&self) -> Cell {
        let n = self.sketch.n();
        if n == 0 {
            return Cell::default();
        }
        let edges = self.sketch.edges();
        Cell {
            counts: self.sketch.counts(&edges),
            edges,
            n,
            mean: float(self.sum) / n as f64,
            sd: 0.0,
            hours: Vec::new(),
            season: None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contract() -> Contract {
        Contract::shipped("linborg").unwrap()
    }

    /// The baseline of rows of one server, each a profile and all of its values.
    fn learned(contract: &Contract, rows: &[(usize, Vec<f32>)]) -> Baseline {
        let rows = rows.iter().map(|(profile, values)| Row {
            server: "a",
            profile: *profile,
            bucket: 0,
            values,
        });
        Baseline::learn("b", contract, rows).0
    }

    fn row_of(contract: &Contract, metric: &str, value: f32) -> Vec<f32> {
        let mut values = vec![f32::NAN; contract.num_metrics()];
        values[contract.metric_index(metric).unwrap()] = value;
        values
    }

    #[test]
    fn moments_by_hand() {
        // np.mean and np.std(ddof=1) of [12, 15, 11, 18, 14]: 14, sqrt(7.5).
        let contract = contract();
        let cpu = contract.metric_index("cpu_user_pct").unwrap();
        let values = [12.0, 15.0, f32::NAN, 11.0, f32::INFINITY, 18.0, 14.0];
        let mut rows: Vec<_> = values
            .map(|value| (2, row_of(&contract, "cpu_user_pct", value)))
            .into();
        rows.push((99, row_of(&contract, "cpu_user_pct", 1.0)));
        let baseline = learned(&contract, &rows);
        let cell = baseline.cell(2, cpu).unwrap();
        assert_eq!((cell.n, cell.mean), (5, 14.0));
        assert!((cell.sd - 7.5_f64.sqrt()).abs() < 1e-12);
        // 3 sd above the mean: 22.215838…
        assert!(
            cell.is_outlier(22.3)
                && !cell.is_outlier(22.2)
                && cell.is_outlier(5.7)
                && !cell.is_outlier(5.8)
        );
        assert_eq!(baseline.cell(0, cpu), Some(&Cell::default()));
        assert_eq!(baseline.cell(99, 0), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Halves in any order, merged either way: the same baseline and history, bit for bit.
        #[test]
        fn parts_in_any_order_are_the_whole(
            rows in prop::collection::vec((0_usize..2, 0_i64..400, -1e6_f32..1e6), 1..80),
            cut in 0_usize..80,
            turn in 0_usize..80,
        ) {
            let contract = contract();
            let values: Vec<Vec<f32>> = rows
                .iter()
                .map(|(_, _, value)| (0..contract.num_metrics()).map(|i| value * (1.0 + i as f32)).collect())
                .collect();
            let mut held: Vec<Row<'_>> = rows
                .iter()
                .zip(&values)
                .map(|(&(profile, step, _), values)| Row {
                    server: if step % 2 == 0 { "a" } else { "b" },
                    profile,
                    bucket: step * 3_600_000,
                    values,
                })
                .collect();
            let whole = Baseline::learn("b", &contract, held.iter().copied());
            let turn = turn % held.len();
            held.rotate_left(turn);
            let (left, right) = held.split_at(cut.min(held.len()));
            let parts = [left.iter().copied(), right.iter().copied()];
            let merged = Baseline::learn_parts("b", &contract, &parts);
            // Not prop_assert_eq: a baseline fills pages. Debug prints the shortest digits that tell two floats apart.
            prop_assert!(whole == merged);
            let bits = |baseline: &Baseline| format!("{:?}", baseline.cells);
            prop_assert!(bits(&whole.0) == bits(&merged.0));
        }
    }

    #[test]
    fn what_never_varied_has_no_outliers() {
        let contract = contract();
        // 0.05 is no multiple of the sums' step: rounding must not look like variation.
        for value in [64.1, 0.05] {
            let rows = vec![(0, row_of(&contract, "disk_usage_pct", value)); 50];
            let baseline = learned(&contract, &rows);
            let cell = baseline
                .cell(0, contract.metric_index("disk_usage_pct").unwrap())
                .unwrap();
            assert!(!cell.is_outlier(99.0), "{cell:?}");
        }
    }

    #[test]
    fn monotone_metrics_are_not_judged() {
        let contract = contract();
        let uptime = contract
            .metrics
            .iter()
            .position(|metric| metric.monotone)
            .unwrap();
        let baseline = learned(&contract, &[(0, vec![1.0; contract.num_metrics()])]);
        assert_eq!(baseline.cell(0, uptime).unwrap().n, 0);
        assert_eq!(
            baseline.rows(&contract).len(),
            contract
                .metrics
                .iter()
                .filter(|metric| !metric.monotone)
                .count()
        );
    }
}
