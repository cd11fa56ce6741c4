//! A model's own test: made-up contexts and what the model said to them when it was stored.
//!
//! A loaded model must say the same again. That catches what checksums cannot: another device, another build, another version of a
//! library that computes something else from the same weights.

use crate::data::{Context, Forecast};
use crate::model::{Model, PredictError};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;

/// Contexts: a full one of a server never seen, one with gaps, a constant one, a short one, an empty one.
const CASES: usize = 5;
/// Largest difference between forecasts of the same weights on two devices, as a share of the value or of 1: they round differently.
pub const TOLERANCE: f32 = 1e-3;
/// Fixed issue time of the contexts, 2013-08-20 12:00 UTC.
const ISSUED_AT_MS: i64 = 1_377_000_000_000;

/// Why a self-test did not pass.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SelftestError {
    /// The stored self-test is damaged or of a model with other sizes.
    #[error("self-test is not readable for this model: {0}")]
    Unreadable(String),
    /// The model says something else than when it was stored.
    #[error("self-test of the model failed: {found} instead of {expected} (case {case})")]
    Differs {
        /// Which context, from 0.
        case: usize,
        /// Value stored.
        expected: f32,
        /// Value now.
        found: f32,
    },
    /// The model gives no forecast at all.
    #[error(transparent)]
    Predict(#[from] PredictError),
}

impl Model {
    /// The self-test as a safetensors file: `inputs [cases, context, metrics]` (NaN is a gap) and `outputs [cases, 3, horizon, metrics]`.
    ///
    /// # Errors
    /// When the model gives no forecast.
    pub fn selftest(&self) -> Result<Vec<u8>, SelftestError> {
        let contexts = self.cases();
        let forecasts = self.predict(&contexts)?;
        let inputs = self.padded(&contexts);
        let outputs: Vec<f32> = forecasts.iter().flat_map(flat).collect();
        let s = self.shape();
        let tensors = [
            ("inputs", vec![CASES, s.context, s.metrics], bytes(&inputs)),
            (
                "outputs",
                vec![CASES, 3, s.horizon, s.metrics],
                bytes(&outputs),
            ),
        ];
        let unreadable = |e: safetensors::SafeTensorError| SelftestError::Unreadable(e.to_string());
        let views: BTreeMap<_, _> = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
            })
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        safetensors::serialize(views, None).map_err(unreadable)
    }

    /// Checks that the model says to the stored inputs what it said then.
    ///
    /// # Errors
    /// When it does not, or the file is none of this model's.
    pub fn check_selftest(&self, stored: &[u8]) -> Result<(), SelftestError> {
        let unreadable = |e: safetensors::SafeTensorError| SelftestError::Unreadable(e.to_string());
        let file = SafeTensors::deserialize(stored).map_err(unreadable)?;
        let read = |name: &str, shape: &[usize]| {
            let view = file.tensor(name).map_err(unreadable)?;
            if view.dtype() != Dtype::F32 || view.shape() != shape {
                let found = format!(
                    "{name} is {:?} {:?}, expected F32 {shape:?}",
                    view.dtype(),
                    view.shape()
                );
                return Err(SelftestError::Unreadable(found));
            }
            let values = view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Ok(values.collect::<Vec<f32>>())
        };
        let s = self.shape();
        let inputs = read("inputs", &[CASES, s.context, s.metrics])?;
        let outputs = read("outputs", &[CASES, 3, s.horizon, s.metrics])?;
        let mut contexts = self.cases();
        for (context, values) in contexts
            .iter_mut()
            .zip(inputs.chunks_exact(s.context * s.metrics))
        {
            context.values = values.to_vec();
        }
        let forecasts = self.predict(&contexts)?;
        for (case, (forecast, stored)) in forecasts
            .iter()
            .zip(outputs.chunks_exact(3 * s.horizon * s.metrics))
            .enumerate()
        {
            for (found, &expected) in flat(forecast).zip(stored) {
                let close = (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0);
                if !close {
                    return Err(SelftestError::Differs {
                        case,
                        expected,
                        found,
                    });
                }
            }
        }
        Ok(())
    }

    /// The made-up contexts.
    fn cases(&self) -> Vec<Context> {
        let s = self.shape();
        let value = |case: usize, step: usize, metric: usize| {
            let (low, high) = self.domain.ranges[metric];
            // Where there is no range, the units that the model learnt.
            let n = &self.assembler.normalisation;
            let (centre, half) = (n.centre[metric], n.spread[metric] / 2.0);
            let wave = (step as f32 * 0.021_8 + metric as f32 + case as f32).sin();
            (centre + half * wave).clamp(low, high)
        };
        (0..CASES)
            .map(|case| {
                let rows = if case == 3 { s.context / 8 } else { s.context };
                let mut values = Vec::with_capacity(rows * s.metrics);
                for step in 0..rows {
                    for metric in 0..s.metrics {
                        values.push(match case {
                            1 if (step + metric) % 5 == 0 => f32::NAN,
                            2 => value(case, 0, metric),
                            4 => f32::NAN,
                            _ => value(case, step, metric),
                        });
                    }
                }
                Context {
                    server: format!("selftest{case}"),
                    profile: case % s.profiles,
                    end_ms: ISSUED_AT_MS,
                    values,
                    states: None,
                }
            })
            .collect()
    }

    /// The contexts at full length.
    fn padded(&self, contexts: &[Context]) -> Vec<f32> {
        let full = self.shape().context * self.shape().metrics;
        contexts
            .iter()
            .flat_map(|c| {
                std::iter::repeat_n(f32::NAN, full - c.values.len()).chain(c.values.iter().copied())
            })
            .collect()
    }
}

fn flat(forecast: &Forecast) -> impl Iterator<Item = f32> + '_ {
    forecast
        .p10
        .iter()
        .chain(&forecast.p50)
        .chain(&forecast.p90)
        .copied()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
