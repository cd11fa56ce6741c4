//! How a baseline is stored: flat rows, one per profile and metric (for parquet), and a head (as JSON, for the file's
//! metadata).
//!
//! It is read from outside, so nothing of it is trusted: rows that contradict themselves are refused, with the reason. It is
//! not: the file itself.

use contract::Contract;
use serde::{Deserialize, Serialize};

use crate::baseline::{Baseline, BaselineError, Cell, Medians, Usual, check_contract, empty_cells};
use crate::sketch::MAX_EDGES;

/// All of a [`Baseline`] that is not rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineHead {
    /// As [`Baseline::id`].
    pub id: String,
    /// As [`Baseline::contract`].
    pub contract: String,
    /// As [`Baseline::medians`].
    pub medians: Medians,
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
    /// What is usual over an hour.
    pub usual_hour: Option<Usual>,
    /// What is usual over a day.
    pub usual_day: Option<Usual>,
}

impl Baseline {
    /// All that [`Self::rows`] does not hold.
    #[must_use]
    pub fn head(&self) -> BaselineHead {
        BaselineHead {
            id: self.id.clone(),
            contract: self.contract.clone(),
            medians: self.medians,
        }
    }

    /// The cells that saw a value, by profile and metric.
    #[must_use]
    pub fn rows(&self, contract: &Contract) -> Vec<BaselineRow> {
        let mut rows = Vec::new();
        for (cells, profile) in self.cells.iter().zip(&contract.profiles) {
            for (cell, metric) in cells.iter().zip(&contract.metrics) {
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
                    usual_hour: cell.usual[0],
                    usual_day: cell.usual[1],
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
        for row in rows {
            let cell = cell_of(row).map_err(|what| BaselineError::Damaged {
                id: head.id.clone(),
                profile: row.profile.clone(),
                metric: row.metric.clone(),
                what,
            })?;
            let metric = contract.metric_index(&row.metric);
            let place = contract.profile_index(&row.profile).zip(metric);
            if let Some(place) =
                place.and_then(|(profile, metric)| cells.get_mut(profile)?.get_mut(metric))
            {
                *place = cell;
            }
        }
        Ok(Baseline {
            id: head.id,
            contract: head.contract,
            medians: head.medians,
            cells,
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
        edges: row.edges.clone(),
        counts,
        n,
        mean: row.mean,
        sd: row.sd,
        usual: [row.usual_hour, row.usual_day],
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::baseline::BaselineBuilder;
    use crate::measures::Measures;

    fn stored() -> (Contract, Baseline) {
        let contract = Contract::shipped("linborg").unwrap();
        let mut builder = BaselineBuilder::new(&contract);
        for i in 0..500_u16 {
            builder.add(
                usize::from(i % 3),
                &vec![f32::from(i % 97) * 0.7; contract.num_metrics()],
            );
        }
        let mut baseline = builder.finish("model-1");
        baseline.medians.hour = Some(Measures {
            per: Some(0.2),
            dss: 0.4,
            fds: 0.5,
            anomaly_rate: 0.01,
        });
        baseline.cells[1][0].usual[0] = Some(Usual {
            per: None,
            ks: 0.3,
            z: 1.0,
            anomaly_rate: 0.0,
        });
        (contract, baseline)
    }

    #[test]
    fn stored_and_read_again() {
        let (contract, baseline) = stored();
        let head = serde_json::to_string(&baseline.head()).unwrap();
        let rows = serde_json::to_string(&baseline.rows(&contract)).unwrap();
        let rows: Vec<BaselineRow> = serde_json::from_str(&rows).unwrap();
        let again =
            Baseline::from_rows(serde_json::from_str(&head).unwrap(), &rows, &contract).unwrap();
        assert_eq!(again, baseline);
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
            |row| row.sd = f64::NAN,
            "mean or standard deviation is not a number",
        );
        check(
            &contract,
            &baseline,
            |row| row.edges = (0..70_u8).map(f32::from).collect(),
            "more than 63 edges",
        );
    }
}
