//! Where a training starts: from nothing, from a model, or from where it was broken off.

use super::TrainError;
use super::adam::Moments;
use super::checkpoint::{BestWeights, Checkpoint, Fixed, Identity, Place, load_optimiser};
use super::config::TrainConfig;
use super::info::EpochInfo;
use super::plan::Plan;
use crate::batch::Assembler;
use crate::config::Shape;
use crate::data::Columns;
use crate::domain::Domain;
use crate::eval;
use crate::model::Model;
use crate::net::Network;
use crate::scale::Normalisation;
use burn::module::Module;
use burn::tensor::Device;

/// What a training starts from.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Weights drawn at random.
    Fresh,
    /// The weights and units of a model of the same sizes, and the state of the optimiser that was stored beside it.
    Model {
        /// The model.
        model: &'a Model,
        /// [`Trained::optimiser`](super::Trained::optimiser) of its training; without it the moments start anew.
        optimiser: Option<&'a [u8]>,
    },
    /// What [`Checkpoints::keep`](super::Checkpoints::keep) was given by the same training: same data, same settings.
    Checkpoint(&'a [u8]),
}

/// A training as it starts.
pub(super) struct Started {
    pub(super) assembler: Assembler,
    pub(super) network: Network,
    pub(super) moments: Option<Moments>,
    pub(super) place: Place,
    pub(super) per_pass: usize,
    pub(super) history: Vec<EpochInfo>,
    pub(super) best: Option<BestWeights>,
    /// Only where there are checkpoints: it takes a pass over the data.
    pub(super) identity: Option<Identity>,
}

/// What a start is made of.
pub(super) struct Ground<'a> {
    pub(super) columns: &'a [Columns],
    pub(super) plan: &'a Plan,
    pub(super) domain: &'a Domain,
    pub(super) shape: Shape,
    pub(super) config: &'a TrainConfig,
    /// Where the weights are.
    pub(super) device: &'a Device,
    /// Further devices that do a share of each step.
    pub(super) others: &'a [Device],
}

impl Ground<'_> {
    pub(super) fn start(&self, start: Start<'_>, checkpoints: bool) -> Result<Started, TrainError> {
        let (config, shape) = (self.config, self.shape);
        let identity = (checkpoints || matches!(start, Start::Checkpoint(_)))
            .then(|| Identity::of(&self.domain.fingerprint, config, shape, self.columns));
        let (model, moments) = match start {
            Start::Checkpoint(bytes) => return self.go_on(bytes, identity),
            Start::Model { model, optimiser } => {
                self.check(model)?;
                (Some(model), optimiser.map(load_optimiser).transpose()?)
            }
            Start::Fresh => (None, None),
        };
        Ok(Started {
            assembler: self.assembler(self.learn(model)),
            network: match model {
                Some(model) => model.network.clone().to_device(self.device),
                None => Network::new(&shape, config.seed, self.device),
            },
            moments,
            place: Place {
                epoch: 1,
                ..Place::default()
            },
            per_pass: config.windows_at_once(),
            history: Vec::new(),
            best: None,
            identity,
        })
    }

    fn go_on(&self, bytes: &[u8], identity: Option<Identity>) -> Result<Started, TrainError> {
        let empty = |shape: &Shape| Network::new(shape, 0, self.device);
        let checkpoint = Checkpoint::load(bytes, empty)?;
        if let Some(identity) = &identity {
            identity.check(&checkpoint.identity)?;
        }
        Ok(Started {
            assembler: self.assembler(checkpoint.fixed),
            network: checkpoint.network,
            moments: Some(checkpoint.moments),
            place: checkpoint.place,
            per_pass: checkpoint.per_pass.clamp(1, self.config.windows_at_once()),
            history: checkpoint.history,
            best: checkpoint.best,
            identity,
        })
    }

    fn check(&self, model: &Model) -> Result<(), TrainError> {
        if model.contract() != self.domain.fingerprint {
            return Err(TrainError::Resume(
                "the model is of another contract".to_owned(),
            ));
        }
        if model.shape() == self.shape {
            Ok(())
        } else {
            Err(TrainError::Resume(format!(
                "the model has other sizes ({:?}, expected {:?})",
                model.shape(),
                self.shape
            )))
        }
    }

    /// Units and known servers.
    fn learn(&self, model: Option<&Model>) -> Fixed {
        let mut known: Vec<u32> = self.columns.iter().map(|c| c.id).collect();
        known.extend(model.iter().flat_map(|m| m.known_ids()));
        known.sort_unstable();
        known.dedup();
        let metrics = self.shape.metrics;
        Fixed {
            normalisation: match model {
                Some(model) => Normalisation {
                    widths: vec![[1.0; 2]; metrics],
                    ..model.assembler.normalisation.clone()
                },
                None => eval::units(self.columns, metrics),
            },
            known,
        }
    }

    fn assembler(&self, fixed: Fixed) -> Assembler {
        Assembler {
            shape: self.shape,
            normalisation: fixed.normalisation,
            step_ms: self.domain.step_ms,
            time_zone: self.domain.time_zone,
            known: fixed.known,
        }
    }
}
