//! Everything that a training needs to go on, as one safetensors file.
//!
//! One metadata key: the SHA-256 over the description and all tensors, then the description as JSON. Tensors: the weights and the optimiser's moments as they
//! are, and both as they were at the best epoch. Figures that decide are stored by their bits, so that a training that goes on is the same
//! to the last bit on the same device. What is drawn at random follows from the place (`seed`).
//!
//! It is not: a model. Nothing forecasts from it.

use super::TrainError;
use super::adam::Moments;
use super::config::TrainConfig;
use super::info::EpochInfo;
use crate::config::Shape;
use crate::data::Columns;
use crate::devices::Devices;
use crate::net::Network;
use crate::scale::Normalisation;
use crate::weights::{self, Tensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// A change that older programs would read wrongly gives it another number.
const FORMAT: u32 = 1;
/// What the description is of.
const CHECKPOINT: &str = "forewarn_checkpoint";
const OPTIMISER: &str = "forewarn_optimiser";
/// Hex digits of the checksum, which stands before the description.
const SHA: usize = 64;

/// Where a training stands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) epoch: usize,
    /// Steps done in this epoch.
    pub(crate) first: u64,
    /// Steps done in all.
    pub(crate) step: u64,
    /// Windows trained on in all.
    pub(crate) samples: u64,
    /// Sum of the losses of this epoch's steps.
    pub(crate) loss: f64,
    /// Seconds since training began, those of earlier processes among them.
    pub(crate) seconds: f64,
    /// Of which in steps.
    pub(crate) step_seconds: f64,
}

/// What tells trainings apart: a checkpoint is of use only to the one that wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    contract: String,
    /// Settings as JSON, without the limit on time, which may be raised, and without the devices.
    config: String,
    /// Where it runs: others round otherwise, and what goes on there would not be the same training.
    devices: Devices,
    shape: Shape,
    /// SHA-256 over all series.
    data: String,
}

/// What is fixed from a training's first step on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fixed {
    pub(crate) normalisation: Normalisation,
    pub(crate) known: Vec<u32>,
}

/// The best weights so far.
pub(crate) struct BestWeights {
    pub(crate) val_loss: f64,
    pub(crate) network: Network,
    pub(crate) moments: Moments,
}

/// A training that can go on.
pub(crate) struct Checkpoint {
    pub(crate) identity: Identity,
    pub(crate) fixed: Fixed,
    pub(crate) place: Place,
    pub(crate) per_pass: usize,
    pub(crate) history: Vec<EpochInfo>,
    pub(crate) network: Network,
    pub(crate) moments: Moments,
    pub(crate) best: Option<BestWeights>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    identity: Identity,
    fixed: Fixed,
    place: [u64; 7],
    per_pass: usize,
    history: Vec<[u64; 8]>,
    steps: u64,
    /// Validation loss by its bits, and steps of the optimiser.
    best: Option<[u64; 2]>,
}

impl Identity {
    pub(crate) fn of(
        contract: &str,
        config: &TrainConfig,
        shape: Shape,
        columns: &[Columns],
    ) -> Self {
        let devices = config.devices.clone();
        let config = TrainConfig {
            max_seconds: None,
            devices: Devices::default(),
            ..config.clone()
        };
        Self {
            devices,
            contract: contract.to_owned(),
            config: serde_json::to_string(&config).unwrap_or_default(),
            shape,
            data: digest(columns),
        }
    }

    /// Refuses a checkpoint of another training, naming what is other.
    pub(crate) fn check(&self, found: &Identity) -> Result<(), TrainError> {
        let what = if found.contract != self.contract {
            "another contract".to_owned()
        } else if found.config != self.config {
            format!("other settings ({}, now {})", found.config, self.config)
        } else if found.devices != self.devices {
            let (then, now) = (&found.devices, &self.devices);
            format!("a training on {then}, now {now}: go on with --device {then}, or begin anew")
        } else if found.shape != self.shape {
            "other sizes of the network".to_owned()
        } else if found.data != self.data {
            "other data".to_owned()
        } else {
            return Ok(());
        };
        Err(TrainError::Resume(format!("the checkpoint is of {what}")))
    }
}

/// SHA-256 over all that is read of the series.
fn digest(columns: &[Columns]) -> String {
    let mut sha = Sha256::new();
    let mut bytes = Vec::new();
    for series in columns {
        for number in [series.profile as i64, series.start_ms, series.steps as i64] {
            sha.update(number.to_le_bytes());
        }
        sha.update(series.id.to_le_bytes());
        sha.update(series.states.as_deref().unwrap_or_default());
        for metric in series.all().chunks(16_384) {
            bytes.clear();
            bytes.extend(metric.iter().flat_map(|v| v.to_le_bytes()));
            sha.update(&bytes);
        }
    }
    weights::hex(&sha.finalize())
}

impl Checkpoint {
    /// The checkpoint as a file.
    ///
    /// # Errors
    /// When it cannot be written as safetensors.
    pub(crate) fn save(&self) -> Result<Vec<u8>, TrainError> {
        let mut tensors = Tensors::new();
        weights::read(&self.network, "network", &mut tensors);
        put(&mut tensors, "adam", &self.moments);
        if let Some(best) = &self.best {
            weights::read(&best.network, "best", &mut tensors);
            put(&mut tensors, "best_adam", &best.moments);
        }
        let best = self.best.as_ref();
        let description = Description {
            format: FORMAT,
            identity: self.identity.clone(),
            fixed: self.fixed.clone(),
            place: self.place.to_bits(),
            per_pass: self.per_pass,
            history: self.history.iter().map(EpochInfo::to_bits).collect(),
            steps: self.moments.steps,
            best: best.map(|b| [b.val_loss.to_bits(), b.moments.steps]),
        };
        seal(CHECKPOINT, &description, &tensors)
    }

    /// The checkpoint of a file; `empty` makes a network of a shape.
    ///
    /// # Errors
    /// When the bytes are not whole, not ours, or changed.
    pub(crate) fn load(
        bytes: &[u8],
        empty: impl Fn(&Shape) -> Network,
    ) -> Result<Self, TrainError> {
        let (d, mut tensors): (Description, _) = unseal(CHECKPOINT, bytes)?;
        if d.format != FORMAT {
            let found = d.format;
            return Err(TrainError::Resume(format!(
                "format {found}, expected {FORMAT}"
            )));
        }
        let shape = d.identity.shape;
        shape.check()?;
        let network = weights::write(empty(&shape), "network", &mut tensors);
        let moments = split(&mut tensors, "adam", d.steps);
        let best = match d.best {
            Some([val_loss, steps]) => Some(BestWeights {
                val_loss: f64::from_bits(val_loss),
                network: weights::write(empty(&shape), "best", &mut tensors)
                    .map_err(TrainError::Resume)?,
                moments: split(&mut tensors, "best_adam", steps),
            }),
            None => None,
        };
        Ok(Self {
            network: network.map_err(TrainError::Resume)?,
            moments,
            best,
            place: Place::from_bits(d.place),
            per_pass: d.per_pass,
            history: d.history.into_iter().map(EpochInfo::from_bits).collect(),
            identity: d.identity,
            fixed: d.fixed,
        })
    }
}

/// The optimiser's moments as a file, to lie beside the model whose weights they belong to.
///
/// # Errors
/// When they cannot be written as safetensors.
pub(crate) fn save_optimiser(moments: &Moments) -> Result<Vec<u8>, TrainError> {
    seal(OPTIMISER, &(FORMAT, moments.steps), &moments.tensors)
}

/// What [`save_optimiser`] wrote.
///
/// # Errors
/// When the bytes are not whole, not ours, or changed.
pub(crate) fn load_optimiser(bytes: &[u8]) -> Result<Moments, TrainError> {
    let ((format, steps), tensors): ((u32, u64), _) = unseal(OPTIMISER, bytes)?;
    if format == FORMAT {
        Ok(Moments { steps, tensors })
    } else {
        Err(TrainError::Resume(format!(
            "format {format}, expected {FORMAT}"
        )))
    }
}

fn seal(
    kind: &str,
    description: &impl Serialize,
    tensors: &Tensors,
) -> Result<Vec<u8>, TrainError> {
    let failed = |e: String| TrainError::Resume(format!("cannot be written: {e}"));
    let text = serde_json::to_string(description).map_err(|e| failed(e.to_string()))?;
    let sha = weights::digest(&text, tensors);
    let metadata = HashMap::from([(kind.to_owned(), sha + &text)]);
    weights::to_file(tensors, metadata).map_err(|e| failed(e.to_string()))
}

fn unseal<T: for<'a> Deserialize<'a>>(
    kind: &str,
    bytes: &[u8],
) -> Result<(T, Tensors), TrainError> {
    let failed = |e: String| TrainError::Resume(e);
    let (tensors, metadata) = weights::from_file(bytes)
        .map_err(|e| failed(format!("not a whole safetensors file: {e}")))?;
    let stated = metadata
        .get(kind)
        .and_then(|text| text.split_at_checked(SHA));
    let Some((sha, text)) = stated else {
        return Err(failed(format!("metadata key {kind} is missing")));
    };
    if weights::digest(text, &tensors) != sha {
        return Err(failed(
            "the content does not match its checksum: it was damaged or changed after it was written"
                .to_owned(),
        ));
    }
    let description = serde_json::from_str(text).map_err(|e| failed(e.to_string()))?;
    Ok((description, tensors))
}

/// Adds moments to `tensors`, their names behind `prefix`.
fn put(tensors: &mut Tensors, prefix: &str, moments: &Moments) {
    let named = moments
        .tensors
        .iter()
        .map(|(name, tensor)| (format!("{prefix}.{name}"), tensor.clone()));
    tensors.extend(named);
}

/// Takes the moments behind `prefix` out of `tensors`.
fn split(tensors: &mut Tensors, prefix: &str, steps: u64) -> Moments {
    let prefix = format!("{prefix}.");
    let mine: Vec<String> = tensors
        .keys()
        .filter(|name| name.starts_with(&prefix))
        .cloned()
        .collect();
    let tensors = mine
        .into_iter()
        .filter_map(|name| Some((name[prefix.len()..].to_owned(), tensors.remove(&name)?)))
        .collect();
    Moments { steps, tensors }
}

impl Place {
    fn to_bits(self) -> [u64; 7] {
        [
            self.epoch as u64,
            self.first,
            self.step,
            self.samples,
            self.loss.to_bits(),
            self.seconds.to_bits(),
            self.step_seconds.to_bits(),
        ]
    }

    fn from_bits([epoch, first, step, samples, loss, seconds, step_seconds]: [u64; 7]) -> Self {
        Self {
            epoch: usize::try_from(epoch).unwrap_or(usize::MAX),
            first,
            step,
            samples,
            loss: f64::from_bits(loss),
            seconds: f64::from_bits(seconds),
            step_seconds: f64::from_bits(step_seconds),
        }
    }
}

impl EpochInfo {
    fn to_bits(&self) -> [u64; 8] {
        [
            self.epoch as u64,
            self.train_loss.to_bits(),
            self.val_loss.to_bits(),
            self.learning_rate.to_bits(),
            self.time_seconds.to_bits(),
            self.gpu_memory_mb.unwrap_or(f64::NAN).to_bits(),
            self.samples_processed,
            self.samples_per_second.to_bits(),
        ]
    }

    fn from_bits(bits: [u64; 8]) -> Self {
        let [epoch, train, val, rate, time, memory, samples, speed] = bits;
        let memory = f64::from_bits(memory);
        Self {
            epoch: usize::try_from(epoch).unwrap_or(usize::MAX),
            train_loss: f64::from_bits(train),
            val_loss: f64::from_bits(val),
            learning_rate: f64::from_bits(rate),
            time_seconds: f64::from_bits(time),
            gpu_memory_mb: (!memory.is_nan()).then_some(memory),
            samples_processed: samples,
            samples_per_second: f64::from_bits(speed),
        }
    }
}
