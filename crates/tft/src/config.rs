//! Sizes of the network, and how it is trained.
//!
//! [`TftConfig`] is what a user may choose, [`Shape`] what follows from it and from the contract; both travel inside the
//! artefact.

use crate::domain::Domain;
use serde::{Deserialize, Serialize};

/// Sizes of the network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TftConfig {
    /// Steps of context in one token; divides the contract's context.
    pub patch: usize,
    /// Steps of the horizon in one token; divides the contract's horizon.
    pub block: usize,
    /// Width of a token, divisible by `heads`.
    pub hidden: usize,
    /// Width of one variable's embedding.
    pub variable: usize,
    /// Width of the networks that weigh the variables.
    pub selection: usize,
    /// Attention heads.
    pub heads: usize,
    /// Share of activations dropped in training.
    pub dropout: f32,
    /// Rows of the table of hashed ids.
    pub id_buckets: usize,
    /// Share of training windows whose id is hidden, so that a server never seen is forecast from its profile.
    pub id_dropout: f32,
    /// What of it is used.
    pub parts: Parts,
}

/// Parts that can be left out, to see what each is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The LSTM encoder and decoder; without them attention alone looks at the past.
    pub lstm: bool,
    /// The weights of the variables; without them all weigh the same.
    pub selection: bool,
    /// The same time yesterday, as an input and as something to lean on.
    pub yesterday: bool,
    /// The same minute of the last hours, likewise.
    pub hours: bool,
    /// Means, extremes and changes of the last 15 minutes to 24 hours.
    pub summaries: bool,
    /// The hashed id.
    pub identity: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            lstm: true,
            selection: true,
            yesterday: true,
            hours: true,
            summaries: true,
            identity: true,
        }
    }
}

impl Parts {
    /// Names of all parts.
    pub const NAMES: [&'static str; 6] = [
        "lstm",
        "selection",
        "yesterday",
        "hours",
        "summaries",
        "identity",
    ];

    /// The part of that name.
    pub fn part(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "lstm" => Some(&mut self.lstm),
            "selection" => Some(&mut self.selection),
            "yesterday" => Some(&mut self.yesterday),
            "hours" => Some(&mut self.hours),
            "summaries" => Some(&mut self.summaries),
            "identity" => Some(&mut self.identity),
            _ => None,
        }
    }
}

impl Default for TftConfig {
    fn default() -> Self {
        Self {
            patch: 12,
            block: 4,
            hidden: 48,
            variable: 16,
            selection: 24,
            heads: 4,
            dropout: 0.35,
            id_buckets: 256,
            id_dropout: 0.6,
            parts: Parts::default(),
        }
    }
}

/// Inputs of one context token and metric: the patch and its mask.
pub(crate) const STATIC_FEATURES: usize = 28;
/// Of a horizon token and metric beside yesterday's block and its mask: mean, minimum and maximum around it, share present.
pub(crate) const AROUND: usize = 4;
/// What a forecast step can lean on beside the last value: the same time yesterday, the same minute of the last hour, and its mean
/// over the last four hours and over the day.
pub(crate) const RECENT: usize = 4;
/// Numbers that the head gives per step and metric: weight of the last value, weights of the [`RECENT`], shift and its gate, and for
/// each side of the interval a scaled and an additive width.
pub(crate) const HEAD: usize = RECENT + 7;
/// The quantiles that are forecast.
pub const QUANTILES: [f32; 3] = [0.1, 0.5, 0.9];

/// All sizes of the network, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Sizes that were chosen.
    pub config: TftConfig,
    /// Metrics.
    pub metrics: usize,
    /// Steps of context.
    pub context: usize,
    /// Steps of the horizon.
    pub horizon: usize,
    /// Steps of a day.
    pub day: usize,
    /// Steps of an hour, at least 1.
    pub hour: usize,
    /// Server profiles.
    pub profiles: usize,
    /// Server states.
    pub states: usize,
}

/// What keeps a configuration from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Shape {
    /// Sizes for `domain`.
    ///
    /// # Errors
    /// When the sizes do not fit each other or the contract.
    pub fn of(config: TftConfig, domain: &Domain) -> Result<Self, ConfigError> {
        let shape = Self {
            config,
            metrics: domain.num_metrics(),
            context: domain.context,
            horizon: domain.horizon,
            day: domain.day(),
            hour: domain.hour(),
            profiles: domain.profiles,
            states: domain.states,
        };
        shape.check()?;
        Ok(shape)
    }

    /// Checks sizes, which may come from a file.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let c = &self.config;
        let fail = |text: String| Err(ConfigError(text));
        let sizes = [
            ("metrics", self.metrics, 256),
            ("context", self.context, 100_000),
            ("horizon", self.horizon, 10_000),
            ("hour", self.hour, self.context.max(1)),
            ("profiles", self.profiles, 1_000),
            ("patch", c.patch, 1_000),
            ("block", c.block, 1_000),
            ("hidden", c.hidden, 4_096),
            ("variable", c.variable, 1_024),
            ("selection", c.selection, 4_096),
            ("heads", c.heads, 64),
            ("id_buckets", c.id_buckets, 1_000_000),
        ];
        for (name, value, limit) in sizes {
            if value == 0 || value > limit {
                return fail(format!(
                    "model size {name} is {value}, must be 1 to {limit}"
                ));
            }
        }
        if !self.context.is_multiple_of(c.patch) {
            return fail(format!(
                "patch {} does not divide the context of {} steps",
                c.patch, self.context
            ));
        }
        if !self.horizon.is_multiple_of(c.block) {
            return fail(format!(
                "block {} does not divide the horizon of {} steps",
                c.block, self.horizon
            ));
        }
        if !c.hidden.is_multiple_of(c.heads) {
            return fail(format!(
                "{} heads do not divide the width {}",
                c.heads, c.hidden
            ));
        }
        if self.horizon > self.day || self.day > self.context {
            return fail(format!(
                "the context of {} steps must hold a day ({} steps), and a day the horizon of {}",
                self.context, self.day, self.horizon
            ));
        }
        if !(0.0..1.0).contains(&c.dropout) || !(0.0..=1.0).contains(&c.id_dropout) {
            return fail("dropout must be at least 0 and below 1".to_owned());
        }
        Ok(())
    }

    /// Context tokens.
    pub(crate) fn past(&self) -> usize {
        self.context / self.config.patch
    }

    /// Horizon tokens.
    pub(crate) fn future(&self) -> usize {
        self.horizon / self.config.block
    }

    /// Variables of a token: the metrics, then calendar with state.
    pub(crate) fn variables(&self) -> usize {
        self.metrics + 1
    }

    /// Inputs of one variable of a context token.
    pub(crate) fn past_features(&self) -> usize {
        (2 * self.config.patch).max(crate::calendar::CALENDAR + self.states + 1)
    }

    /// Inputs of one variable of a horizon token.
    pub(crate) fn future_features(&self) -> usize {
        ((2 + RECENT - 1) * self.config.block + AROUND).max(crate::calendar::CALENDAR)
    }
}
