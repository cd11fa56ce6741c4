//! How the servers of a cell are stored: columns of a baseline's row.

use contract::Contract;
use serde::{Deserialize, Serialize};

use crate::baseline::Cell;
use crate::servers::{MAX_KNOWN_SERVERS, Servers, Usual};
use crate::shift::season::{HOURS, Season};

/// What is usual of each server of a cell, by name; empty in a baseline that was made without, as the starter model's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServersRow {
    /// As [`Cell::season`].
    pub server_season: Vec<f32>,
    /// Names.
    pub server: Vec<String>,
    /// Values.
    pub server_n: Vec<i64>,
    /// Mean distances from the profile's mean at the hour.
    pub server_mean: Vec<f64>,
    /// Their standard deviations.
    pub server_sd: Vec<f64>,
}

impl ServersRow {
    pub(super) fn of(servers: &Servers, profile: usize, metric: usize, cell: &Cell) -> ServersRow {
        let season = cell.season.as_ref();
        let mut row = ServersRow {
            server_season: season.map_or_else(Vec::new, |season| season.hours.clone()),
            ..ServersRow::default()
        };
        let held = servers.profiles.get(profile).into_iter().flatten();
        let mut held: Vec<(&str, &Usual)> = held
            .filter_map(|(server, usual)| Some((server.as_ref(), usual.get(metric)?)))
            .collect();
        held.sort_by_key(|(server, _)| *server);
        for (server, usual) in held {
            row.server.push(server.to_owned());
            row.server_n
                .push(i64::try_from(usual.n).unwrap_or(i64::MAX));
            row.server_mean.push(usual.mean);
            row.server_sd.push(usual.sd);
        }
        row
    }

    /// The season, or what is wrong with it.
    pub(super) fn season(&self) -> Result<Option<Season>, &'static str> {
        match self.server_season.len() {
            0 if self.server.is_empty() => Ok(None),
            HOURS if self.server_season.iter().all(|mean| mean.is_finite()) => Ok(Some(Season {
                hours: self.server_season.clone(),
            })),
            _ => Err("a season of servers that has not 168 hours"),
        }
    }

    /// Puts the row's servers to those of the other rows, or says what is wrong with them.
    pub(super) fn put(
        &self,
        servers: &mut Servers,
        contract: &Contract,
        (profile, metric): (usize, usize),
        cell: &Cell,
    ) -> Result<(), &'static str> {
        let len = self.server.len();
        let lengths = [
            self.server_n.len(),
            self.server_mean.len(),
            self.server_sd.len(),
        ];
        if lengths != [len; 3] {
            return Err("servers of different lengths");
        }
        let Some(held) = servers.profiles.get_mut(profile) else {
            return Ok(());
        };
        let mut left = cell.n;
        let moments = self.server_n.iter().zip(&self.server_mean);
        let moments = moments.zip(&self.server_sd);
        for (server, ((&n, &mean), &sd)) in self.server.iter().zip(moments) {
            let n = u64::try_from(n).map_err(|_| "a server with fewer values than none")?;
            left = left
                .checked_sub(n)
                .ok_or("servers with more values than there are")?;
            if !mean.is_finite() || !(0.0..f64::INFINITY).contains(&sd) {
                return Err("a server whose moments are not numbers");
            }
            if held.len() >= MAX_KNOWN_SERVERS && !held.contains_key(server.as_str()) {
                return Err("more servers than a baseline holds");
            }
            let none = || vec![Usual::default(); contract.num_metrics()].into();
            let usual = held.entry(server.as_str().into()).or_insert_with(none);
            if let Some(place) = usual.get_mut(metric) {
                *place = Usual::new(n, mean, sd, cell);
            }
        }
        Ok(())
    }
}
