//! How a baseline is stored: flat rows, one per profile and metric (for parquet), and a head (as JSON, for the file's
//! metadata).
//!
//! It is read from outside, so nothing of it is trusted: rows that contradict themselves are refused, with the reason. It is
//! not: the file itself.

mod hours;
mod servers;
mod signal;

use contract::Contract;
use serde::{Deserialize, Serialize};

use crate::baseline::{Baseline, BaselineError, Cell, check_contract, empty_cells};
use crate::servers::Servers;
use crate::shift::detector::{Detector, DetectorHead, SignalModel};
use crate::shift::history::Signal;
use crate::sketch::MAX_EDGES;

pub use self::hours::HoursRow;
pub use self::servers::ServersRow;
pub use self::signal::SignalRow;

/// All of a [`Baseline`] that is not rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineHead {
    /// As [`Baseline::id`].
    pub id: String,
    /// As [`Baseline::contract`].
    pub contract: String,
    /// Of [`Baseline::detector`].
    pub detector: Option<DetectorHead>,
    /// The rows hold every server that was learnt from; false where they hold none, as the starter model's.
    #[serde(default)]
    pub knows_all_servers: bool,
}

/// One cell, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineRow {
    /// The profile's name.
    pub profile: String,
    /// The metric's name.
    pub metric: String,
    /// Values counted.
    pub n: i64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
    /// As [`Cell::edges`].
    pub edges: Vec<f32>,
    /// As [`Cell::counts`].
    pub counts: Vec<i64>,
    /// Of [`Cell::hours`].
    #[serde(flatten)]
    pub hours: HoursRow,
    /// What is usual of the profile's servers.
    #[serde(flatten)]
    pub servers: ServersRow,
    /// Of [`Detector::models`].
    pub signal_mean: Option<SignalRow>,
    /// Likewise.
    pub signal_spread: Option<SignalRow>,
    /// Likewise.
    pub signal_error: Option<SignalRow>,
}

impl Baseline {
    /// All that [`Self::rows`] does not hold.
    #[must_use]
    pub fn head(&self) -> BaselineHead {
        BaselineHead {
            id: self.id.clone(),
            contract: self.contract.clone(),
            detector: self.detector.as_ref().map(Detector::head),
            knows_all_servers: self.servers.is_whole,
        }
    }

    /// The cells that saw a value, by profile and metric.
    #[must_use]
    pub fn rows(&self, contract: &Contract) -> Vec<BaselineRow> {
        let mut rows = Vec::new();
        for ((cells, profile), row) in self.cells.iter().zip(&contract.profiles).zip(0..) {
            for ((cell, metric), column) in cells.iter().zip(&contract.metrics).zip(0..) {
                let index = row * contract.num_metrics() + column;
                let signal = |signal: Signal| {
                    let models = &self.detector.as_ref()?.models;
                    let of = |model: &&SignalModel| (model.cell, model.signal) == (index, signal);
                    models.iter().find(of).map(SignalRow::of)
                };
                if cell.n == 0 {
                    continue;
                }
                rows.push(BaselineRow {
                    profile: profile.name.clone(),
                    metric: metric.name.clone(),
                    n: i64::try_from(cell.n).unwrap_or(i64::MAX),
                    mean: cell.mean,
                    sd: cell.sd,
                    edges: cell.edges.clone(),
                    counts: cell
                        .counts
                        .iter()
                        .map(|&count| i64::try_from(count).unwrap_or(i64::MAX))
                        .collect(),
                    hours: HoursRow::of(cell),
                    servers: ServersRow::of(&self.servers, row, column, cell),
                    signal_mean: signal(Signal::Mean),
                    signal_spread: signal(Signal::Spread),
                    signal_error: signal(Signal::Error),
                });
            }
        }
        rows
    }

    /// The baseline again. Rows of profiles that the contract has no more are left out: profiles may change without a new
    /// fingerprint.
    ///
    /// # Errors
    /// [`BaselineError::OtherContract`], or [`BaselineError::Damaged`] for rows that contradict themselves.
    pub fn from_rows(
        head: BaselineHead,
        rows: &[BaselineRow],
        contract: &Contract,
    ) -> Result<Baseline, BaselineError> {
        check_contract(&head.id, &head.contract, contract)?;
        let mut cells = empty_cells(contract);
        let mut models = Vec::new();
        let mut servers = Servers {
            profiles: vec![Default::default(); contract.profiles.len()],
            is_whole: head.knows_all_servers,
        };
        for row in rows {
            let damaged = |what| BaselineError::Damaged {
                id: head.id.clone(),
                profile: row.profile.clone(),
                metric: row.metric.clone(),
                what,
            };
            let cell = cell_of(row).map_err(damaged)?;
            let metric = contract.metric_index(&row.metric);
            let Some((profile, metric)) = contract.profile_index(&row.profile).zip(metric) else {
                continue;
            };
            let signals = [&row.signal_mean, &row.signal_spread, &row.signal_error];
            for (signal, stored) in Signal::ALL.into_iter().zip(signals) {
                if let Some(stored) = stored {
                    let cell = profile * contract.num_metrics() + metric;
                    models.push(stored.model(cell, signal).map_err(damaged)?);
                }
            }
            row.servers
                .put(&mut servers, contract, (profile, metric), &cell)
                .map_err(damaged)?;
            if let Some(place) = cells.get_mut(profile).and_then(|row| row.get_mut(metric)) {
                *place = cell;
            }
        }
        if let Some(tail) = head.detector.and_then(|detector| detector.tail)
            && !tail.can_be()
        {
            return Err(BaselineError::Damaged {
                id: head.id,
                profile: String::new(),
                metric: String::new(),
                what: "a tail that cannot be",
            });
        }
        let detector = head.detector.map(|head| {
            let (zone, step_ms) = (contract.time_zone, contract.step_ms());
            Detector::from_parts(head, models, zone, step_ms)
        });
        Ok(Baseline {
            id: head.id,
            contract: head.contract,
            detector,
            cells,
            servers,
        })
    }
}

/// A row's cell, or what is wrong with the row.
fn cell_of(row: &BaselineRow) -> Result<Cell, &'static str> {
    let ascending = row
        .edges
        .iter()
        .zip(row.edges.iter().skip(1))
        .all(|(low, high)| low < high);
    if !ascending || row.edges.iter().any(|edge| !edge.is_finite()) {
        return Err("edges do not ascend");
    }
    if row.edges.len() > MAX_EDGES {
        return Err("more than 63 edges");
    }
    if row.counts.len() != row.edges.len() + 1 {
        return Err("counts are not one more than edges");
    }
    let counts: Vec<u64> = row
        .counts
        .iter()
        .filter_map(|&count| u64::try_from(count).ok())
        .collect();
    let total = counts
        .iter()
        .try_fold(0_u64, |total, &count| total.checked_add(count));
    let n = u64::try_from(row.n).map_err(|_| "n is negative")?;
    if counts.len() != row.counts.len() || total != Some(n) {
        return Err("counts do not add up to n");
    }
    if !row.mean.is_finite() || !row.sd.is_finite() || row.sd < 0.0 {
        return Err("mean or standard deviation is not a number");
    }
    Ok(Cell {
        hours: row.hours.hours(&counts)?,
        season: row.servers.season()?,
        edges: row.edges.clone(),
        counts,
        n,
        mean: row.mean,
        sd: row.sd,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::baseline::Row;
    use crate::shift::tail::Tail;

    fn stored() -> (Contract, Baseline) {
        let contract = Contract::shipped("linborg").unwrap();
        // Four days of three servers, so that quiet days are known.
        let names = ["a", "b", "c"];
        let mut rows = Vec::new();
        for step in 0..4 * 288_i64 {
            for profile in 0..3_u16 {
                for server in 0..3_u16 {
                    let value = f32::from((step * 31 % 97) as u16 + server) * 0.7;
                    let values = vec![value + f32::from(profile); contract.num_metrics()];
                    rows.push((
                        usize::from(profile),
                        names[usize::from(server)],
                        step,
                        values,
                    ));
                }
            }
        }
        let rows = rows.iter().map(|(profile, server, step, values)| Row {
            server,
            profile: *profile,
            bucket: step * 300_000,
            values,
        });
        let (mut baseline, history) = Baseline::learn("model-1", &contract, rows);
        let detector = Detector::learn(&history, contract.time_zone, contract.step_ms());
        assert!(detector.level().is_some() && !detector.models.is_empty());
        baseline.detector = Some(detector);
        (contract, baseline)
    }

    #[test]
    fn stored_and_read_again() {
        let (contract, baseline) = stored();
        let head = serde_json::to_string(&baseline.head()).unwrap();
        let rows = baseline.rows(&contract);
        let again =
            Baseline::from_rows(serde_json::from_str(&head).unwrap(), &rows, &contract).unwrap();
        // Not assert_eq: a baseline fills pages.
        assert!(again == baseline);
        let text = serde_json::to_string(&rows).unwrap();
        let read: Vec<BaselineRow> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.len(), rows.len());
    }

    #[test]
    fn a_tail_that_cannot_be_is_refused() {
        let (contract, baseline) = stored();
        let head = baseline.head();
        let rows = baseline.rows(&contract);
        let check = |damage: fn(&mut Tail)| {
            let mut head = head.clone();
            damage(head.detector.as_mut().unwrap().tail.as_mut().unwrap());
            let found = Baseline::from_rows(head, &rows, &contract);
            assert!(matches!(found, Err(BaselineError::Damaged { .. })));
        };
        check(|tail| tail.scale = 0.0);
        check(|tail| tail.scale = f64::INFINITY);
        check(|tail| tail.share = f64::NAN);
        check(|tail| tail.share = 1.5);
        check(|tail| tail.from = f64::NEG_INFINITY);
    }

    #[test]
    fn another_contract_is_refused() {
        let (_, baseline) = stored();
        let found = Baseline::from_rows(baseline.head(), &[], &Contract::shipped("vm").unwrap());
        assert!(
            matches!(found, Err(BaselineError::OtherContract { .. })),
            "{found:?}"
        );
    }

    #[test]
    fn damaged_rows_are_refused() {
        let (contract, baseline) = stored();
        #[track_caller]
        fn check(
            contract: &Contract,
            baseline: &Baseline,
            damage: impl Fn(&mut BaselineRow),
            expected: &str,
        ) {
            let mut rows = baseline.rows(contract);
            damage(&mut rows[3]);
            match Baseline::from_rows(baseline.head(), &rows, contract) {
                Err(BaselineError::Damaged { what, .. }) => assert_eq!(what, expected),
                other => panic!("{other:?}"),
            }
        }
        check(
            &contract,
            &baseline,
            |row| row.edges.reverse(),
            "edges do not ascend",
        );
        check(
            &contract,
            &baseline,
            |row| row.edges[0] = f32::NAN,
            "edges do not ascend",
        );
        check(
            &contract,
            &baseline,
            |row| row.counts.push(0),
            "counts are not one more than edges",
        );
        check(
            &contract,
            &baseline,
            |row| row.counts[1] += 1,
            "counts do not add up to n",
        );
        check(
            &contract,
            &baseline,
            |row| row.counts[1] = -1,
            "counts do not add up to n",
        );
        check(&contract, &baseline, |row| row.n = -1, "n is negative");
        check(
            &contract,
            &baseline,
            |row| row.signal_mean.as_mut().unwrap().rho = 1.5,
            "a noise that cannot be",
        );
        check(
            &contract,
            &baseline,
            |row| row.signal_mean.as_mut().unwrap().season.truncate(24),
            "a season or inflation that has not 168 hours",
        );
        for inflation in [0.0, f32::NAN, f32::INFINITY] {
            check(
                &contract,
                &baseline,
                |row| row.signal_mean.as_mut().unwrap().inflation[7] = inflation,
                "a season or inflation that is not a number",
            );
        }
        check(
            &contract,
            &baseline,
            |row| row.signal_mean.as_mut().unwrap().lag = 13,
            "values that are too far apart",
        );
        check(
            &contract,
            &baseline,
            |row| row.sd = f64::NAN,
            "mean or standard deviation is not a number",
        );
        check(
            &contract,
            &baseline,
            |row| row.edges = (0..70_u8).map(f32::from).collect(),
            "more than 63 edges",
        );
        check(
            &contract,
            &baseline,
            |row| row.hours.hour_n.truncate(24),
            "not 168 hours",
        );
        check(
            &contract,
            &baseline,
            |row| row.hours.hour_counts[0] += 1,
            "hours that do not add up to the week",
        );
        check(
            &contract,
            &baseline,
            |row| row.servers.server_season.truncate(24),
            "a season of servers that has not 168 hours",
        );
        check(
            &contract,
            &baseline,
            |row| row.servers.server_n.truncate(1),
            "servers of different lengths",
        );
        check(
            &contract,
            &baseline,
            |row| row.servers.server_sd[1] = f64::NAN,
            "a server whose moments are not numbers",
        );
        check(
            &contract,
            &baseline,
            |row| row.servers.server_n[2] += 1,
            "servers with more values than there are",
        );
        check(
            &contract,
            &baseline,
            |row| row.hours.hour_m2[5] = -1.0,
            "an hour whose moments are not numbers",
        );
    }
}
