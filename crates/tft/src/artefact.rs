//! A model as bytes, and back: safetensors with everything that a forecast depends on in its metadata.
//!
//! One metadata key, [`KEY`], holds a JSON object: format, sizes, normalisation, names of the metrics, fingerprint of the contract,
//! step, and a SHA-256 over all of that and over every tensor. The same model always gives the same bytes.
//! Never a pickle; and not the registry's manifest, which has its own checksums.

use crate::batch::Assembler;
use crate::config::Shape;
use crate::device::{Device, DeviceError};
use crate::domain::Domain;
use crate::model::Model;
use crate::net::Network;
use crate::scale::Normalisation;
use crate::weights::{self, Tensors};
use burn::tensor::Device as Handle;
use contract::Contract;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Metadata key of the description.
pub const KEY: &str = "forewarn";
/// Version of the format: a change that older programs would read wrongly gives it another number.
const FORMAT: u32 = 1;
/// Name of the tensor of known ids.
const KNOWN: &str = "known_ids";
/// Prefix of the network's weights.
const NETWORK: &str = "network";

/// Why a model was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The bytes are no safetensors file, or only part of one.
    #[error("not a whole safetensors file: {0}")]
    Truncated(String),
    /// The file is none of ours, or of a version that this program does not read.
    #[error("not a model that this program reads: {0}")]
    Unsupported(String),
    /// The checksum does not hold.
    #[error(
        "the model's content does not match its checksum: it was damaged or changed after it was written"
    )]
    Tampered,
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The model was trained for another contract.
    #[error("model of contract {found}, expected {expected}: train a model for this contract")]
    OtherContract {
        /// Fingerprint of the contract in use, 16 digits.
        expected: String,
        /// Fingerprint in the model, 16 digits.
        found: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    contract: String,
    metrics: Vec<String>,
    step_ms: i64,
    shape: Shape,
    normalisation: Normalisation,
    /// Hex; empty while it is computed.
    sha256: String,
}

impl Model {
    /// The model as one safetensors file.
    ///
    /// # Errors
    /// When the weights cannot be read from the device.
    pub fn save(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let mut tensors = Tensors::new();
        weights::read(&self.network, NETWORK, &mut tensors);
        let known: Vec<u8> = self
            .assembler
            .known
            .iter()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        tensors.insert(
            KNOWN.to_owned(),
            (Dtype::U32, vec![self.assembler.known.len()], known),
        );
        let mut description = Description {
            format: FORMAT,
            contract: self.domain.fingerprint.clone(),
            metrics: self.domain.metrics.clone(),
            step_ms: self.domain.step_ms,
            shape: self.assembler.shape,
            normalisation: self.assembler.normalisation.clone(),
            sha256: String::new(),
        };
        description.sha256 = weights::digest(&json(&description), &tensors);
        let metadata = HashMap::from([(KEY.to_owned(), json(&description))]);
        weights::to_file(&tensors, metadata)
    }

    /// Loads what [`Model::save`] wrote, for `contract`, onto `device`.
    ///
    /// # Errors
    /// When the bytes are not whole, not ours, changed, or of another contract, or the device is not there.
    pub fn load(bytes: &[u8], contract: &Contract, device: Device) -> Result<Self, LoadError> {
        let domain = Domain::of(contract);
        let truncated = |e: safetensors::SafeTensorError| LoadError::Truncated(e.to_string());
        let (tensors, metadata) = weights::from_file(bytes).map_err(truncated)?;
        let text = metadata.get(KEY);
        let text =
            text.ok_or_else(|| LoadError::Unsupported(format!("metadata key {KEY} is missing")))?;
        let mut description: Description =
            serde_json::from_str(text).map_err(|e| LoadError::Unsupported(e.to_string()))?;
        if description.format != FORMAT {
            return Err(LoadError::Unsupported(format!(
                "format {}, expected {FORMAT}",
                description.format
            )));
        }
        let stated = std::mem::take(&mut description.sha256);
        if weights::digest(&json(&description), &tensors) != stated {
            return Err(LoadError::Tampered);
        }
        if description.contract != domain.fingerprint {
            let short = |text: &str| text.chars().take(16).collect();
            return Err(LoadError::OtherContract {
                expected: short(&domain.fingerprint),
                found: short(&description.contract),
            });
        }
        Self::build(description, tensors, domain, &device.open()?)
    }

    /// Puts a checked description and its tensors together.
    fn build(
        description: Description,
        mut tensors: Tensors,
        domain: Domain,
        device: &Handle,
    ) -> Result<Self, LoadError> {
        let malformed = |text: String| LoadError::Unsupported(text);
        let shape = description.shape;
        let expected = Shape::of(shape.config, &domain).map_err(|e| malformed(e.to_string()))?;
        // Profiles and states are no part of the fingerprint: their number may have grown since.
        let same = Shape {
            profiles: shape.profiles,
            states: shape.states,
            ..expected
        };
        if shape != same || !description.normalisation.is_sound(shape.metrics) {
            return Err(malformed("sizes do not fit the contract".to_owned()));
        }
        let known = match tensors.remove(KNOWN) {
            Some((Dtype::U32, _, bytes)) => bytes
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            _ => return Err(malformed(format!("tensor {KNOWN} is missing"))),
        };
        let network = Network::new(&shape, 0, device);
        let network = weights::write(network, NETWORK, &mut tensors).map_err(malformed)?;
        let assembler = Assembler {
            shape,
            normalisation: description.normalisation,
            step_ms: domain.step_ms,
            time_zone: domain.time_zone,
            known,
        };
        Ok(Self {
            network,
            assembler,
            domain,
        })
    }
}

fn json(description: &Description) -> String {
    // Numbers, strings and vectors only: there is nothing in it that JSON cannot hold.
    serde_json::to_string(description).unwrap_or_default()
}
