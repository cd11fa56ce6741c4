//! A trained model: raw numbers in, raw numbers out.
//!
//! Invariants: a forecast is finite, inside the metric's valid range and `p10 ≤ p50 ≤ p90`; an absent value cannot influence
//! it; a server never seen is forecast from its profile.

use crate::batch::{Assembler, Source};
use crate::config::Shape;
use crate::data::{Columns, Context, Forecast};
use crate::device::{Device, DeviceError};
use crate::domain::Domain;
use crate::fused::head_quantiles;
use crate::net::{Inputs, Network};
use burn::module::Module;
use rayon::prelude::*;

/// Windows that are forecast in one pass through the network on a GPU: more do not make it faster, but take memory.
const BATCH: usize = 128;
/// The same on a CPU, whose cores take parts of so many side by side. It is the same on every machine, and so are the forecasts.
const PART: usize = 32;

/// A model that forecasts; cheap to clone, the weights are shared.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) network: Network,
    pub(crate) assembler: Assembler,
    pub(crate) domain: Domain,
}

/// What drove one forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Weight of each metric over the context, then of calendar and state; sums to 1.
    pub variables: Vec<f32>,
    /// Attention of the horizon to each token of the context, oldest first; what is missing to 1 went to the horizon itself.
    pub attention: Vec<f32>,
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredictError {
    /// The values of a context are no whole number of rows.
    #[error("context of {server} has {values} values, which is no multiple of {metrics} metrics")]
    Rows {
        /// Server of the context.
        server: String,
        /// Values it came with.
        values: usize,
        /// Metrics of a row.
        metrics: usize,
    },
    /// The network gave numbers that are not finite: its weights are broken.
    #[error("the model gives values that are not finite")]
    NotFinite,
}

impl Model {
    /// Number of trained weights.
    #[must_use]
    pub fn num_parameters(&self) -> usize {
        self.network.num_params()
    }

    /// The model on another device.
    ///
    /// # Errors
    /// When that device is not compiled in or not on this machine.
    pub fn on(self, device: Device) -> Result<Self, DeviceError> {
        let handle = device.open()?;
        if self.network.device() == handle {
            return Ok(self);
        }
        let network = self.network.to_device(&handle);
        Ok(Self { network, ..self })
    }

    /// Where it runs.
    #[must_use]
    pub fn device(&self) -> Device {
        Device::of(&self.network.device()).unwrap_or_default()
    }

    /// Sizes of the network.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.assembler.shape
    }

    /// Fingerprint of the contract that it was trained for, 64 hex digits.
    #[must_use]
    pub fn contract(&self) -> &str {
        &self.domain.fingerprint
    }

    /// Hashed ids of the servers that it was trained on, ascending.
    #[must_use]
    pub fn known_ids(&self) -> &[u32] {
        &self.assembler.known
    }

    /// Forecasts all `contexts`, in their order.
    ///
    /// # Errors
    /// When a context is no whole number of rows, or the weights are broken.
    pub fn predict(&self, contexts: &[Context]) -> Result<Vec<Forecast>, PredictError> {
        let metrics = self.domain.num_metrics();
        if let Some(bad) = contexts
            .iter()
            .find(|c| !c.values.len().is_multiple_of(metrics))
        {
            return Err(PredictError::Rows {
                server: bad.server.clone(),
                values: bad.values.len(),
                metrics,
            });
        }
        let sources: Vec<_> = contexts.iter().map(Source::Rows).collect();
        self.forecast_all(&sources)
    }

    /// What drives the forecast of `context`: weights of the variables and of the past.
    ///
    /// # Errors
    /// When the context is no whole number of rows.
    pub fn explain(&self, context: &Context) -> Result<Explanation, PredictError> {
        let s = self.assembler.shape;
        if !context.values.len().is_multiple_of(s.metrics) {
            let (server, values) = (context.server.clone(), context.values.len());
            return Err(PredictError::Rows {
                server,
                values,
                metrics: s.metrics,
            });
        }
        let mut batch = self
            .assembler
            .assemble(&[Source::Rows(context)], false, |_| false);
        let (inputs, _) = Inputs::new(&mut batch, &s, &self.network.device());
        let output = self.network.forward(inputs, None);
        let weights = burn::tensor::activation::softmax(output.scores, 1).mean_dim(0);
        let variables = weights.try_into_vec_as::<f32>().unwrap_or_default();
        let attention = output.attention.mean_dim(1);
        let mut attention = attention.try_into_vec_as::<f32>().unwrap_or_default();
        attention.truncate(s.past());
        Ok(Explanation {
            variables,
            attention,
        })
    }

    /// Forecasts windows of columns, in their order.
    pub(crate) fn predict_windows(
        &self,
        windows: &[(&Columns, usize)],
    ) -> Result<Vec<Forecast>, PredictError> {
        let sources: Vec<_> = windows
            .iter()
            .map(|&(columns, issue)| Source::Columns { columns, issue })
            .collect();
        self.forecast_all(&sources)
    }

    fn forecast_all(&self, sources: &[Source<'_>]) -> Result<Vec<Forecast>, PredictError> {
        let parts: Result<Vec<Vec<Forecast>>, PredictError> = if self.device().is_gpu() {
            sources.chunks(BATCH).map(|of| self.forecast(of)).collect()
        } else if sources.len() <= PART {
            return self.forecast(sources);
        } else {
            sources
                .par_chunks(PART)
                .map(|of| self.forecast(of))
                .collect()
        };
        Ok(parts?.into_iter().flatten().collect())
    }

    fn forecast(&self, sources: &[Source<'_>]) -> Result<Vec<Forecast>, PredictError> {
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let mut forecasts = Vec::with_capacity(sources.len());
        let s = self.assembler.shape;
        let mut batch = self.assembler.assemble(sources, false, |_| false);
        let (inputs, head) = Inputs::new(&mut batch, &s, &self.network.device());
        let numbers = self.network.forward(inputs, None).numbers;
        let numbers = numbers
            .try_into_vec_as::<f32>()
            .map_err(|_| PredictError::NotFinite)?;
        let mut quantiles = head_quantiles(&numbers, &head);
        let per_metric = s.horizon * batch.size;
        self.assembler
            .normalisation
            .widen(&mut quantiles, per_metric);
        let plane = quantiles.len() / 3;
        let mut finite = true;
        for b in 0..batch.size {
            let raw = |scaled: &[f32], finite: &mut bool| {
                let mut out = vec![0.0; s.horizon * s.metrics];
                for metric in 0..s.metrics {
                    let (low, high) = self.domain.ranges[metric];
                    let scale = &batch.scales[b * s.metrics + metric];
                    for token in 0..s.future() {
                        let at = ((metric * s.future() + token) * batch.size + b) * s.config.block;
                        for i in 0..s.config.block {
                            let value = scale.raw(scaled.get(at + i).copied().unwrap_or(f32::NAN));
                            *finite &= value.is_finite();
                            out[(token * s.config.block + i) * s.metrics + metric] =
                                value.clamp(low, high);
                        }
                    }
                }
                out
            };
            let mut quantile = |k: usize| raw(&quantiles[k * plane..(k + 1) * plane], &mut finite);
            let (p10, p50, p90) = (quantile(0), quantile(1), quantile(2));
            forecasts.push(Forecast { p10, p50, p90 });
        }
        if finite {
            Ok(forecasts)
        } else {
            Err(PredictError::NotFinite)
        }
    }
}
