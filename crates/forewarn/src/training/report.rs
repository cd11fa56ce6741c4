//! What stands beside each model for people to read: `report.json`, and `report.html` drawn from it.
//!
//! * `samples`: forecasts of some servers beside what came, and what drove them.
//! * `page`: the page; `charts`: its drawings. What both are made of is [`crate::html`]'s.
//!
//! The page needs nothing but itself: no script, no font, no address. All names are escaped.

mod charts;
mod page;
mod samples;

use anyhow::{Context as _, Result};
use contract::Contract;
use serde::Serialize;

use super::rfc3339;
pub(super) use page::page;

/// All that the page shows.
#[derive(Debug, Serialize)]
pub(super) struct ModelReport<'a> {
    pub(super) version: &'a str,
    pub(super) trained_at: String,
    pub(super) contract: &'a str,
    pub(super) simulated: tft::Simulated,
    /// What may be claimed of it.
    pub(super) claims: &'a [String],
    pub(super) training: Training<'a>,
    /// Figures on the validation windows.
    pub(super) report: &'a tft::eval::Report,
    /// Mean weights of the inputs over the sampled contexts.
    pub(super) variables: Vec<Weight>,
    /// Mean attention to each part of the context, oldest first.
    pub(super) attention: Vec<f32>,
    pub(super) samples: Vec<Fan>,
}

/// How it was trained.
#[derive(Debug, Serialize)]
pub(super) struct Training<'a> {
    pub(super) history: &'a [tft::EpochInfo],
    pub(super) convergence: bool,
    pub(super) num_servers: usize,
    pub(super) data_hours: f64,
    pub(super) seconds: f64,
    pub(super) model_parameters: usize,
    pub(super) seed: u64,
    pub(super) simulated_by: &'a [String],
    pub(super) command: Option<&'a str>,
}

/// How much an input weighs.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Weight {
    pub(super) name: String,
    pub(super) weight: f32,
}

/// One metric of one server around one forecast; absent values are null.
#[derive(Debug, Serialize)]
pub(super) struct Fan {
    pub(super) server: String,
    pub(super) profile: String,
    pub(super) metric: String,
    pub(super) unit: String,
    pub(super) issued_at: String,
    pub(super) step_seconds: u32,
    /// What the forecast was made from, oldest first.
    pub(super) context: Vec<Option<f32>>,
    /// What came.
    pub(super) actual: Vec<Option<f32>>,
    pub(super) p10: Vec<f32>,
    pub(super) p50: Vec<f32>,
    pub(super) p90: Vec<f32>,
}

/// The report of a model that was just trained.
pub(super) fn report<'a>(
    contract: &'a Contract,
    data: &tft::Dataset,
    trained: &'a tft::Trained,
    said: Said<'a>,
) -> Result<ModelReport<'a>> {
    let info = &trained.info;
    let chosen = samples::choose(contract, data, info.validation.to_ms);
    let (variables, attention) = samples::explain(contract, &trained.judged, &chosen)
        .context("explain the sampled forecasts")?;
    Ok(ModelReport {
        version: said.version,
        trained_at: rfc3339(said.now_ms),
        contract: &contract.name,
        simulated: said.simulated,
        claims: said.claims,
        training: Training {
            history: &info.history,
            convergence: info.convergence,
            num_servers: info.num_servers,
            data_hours: info.data_hours,
            seconds: info.seconds,
            model_parameters: info.model_parameters,
            seed: info.seed,
            simulated_by: &said.origin.simulated_by,
            command: said.origin.command.as_deref(),
        },
        report: &info.report,
        variables,
        attention,
        samples: samples::fans(contract, &trained.judged, &chosen)
            .context("forecast for the sampled servers")?,
    })
}

/// What is known of the model beside its training.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) version: &'a str,
    pub(super) now_ms: i64,
    pub(super) simulated: tft::Simulated,
    pub(super) claims: &'a [String],
    pub(super) origin: &'a super::Origin,
}
