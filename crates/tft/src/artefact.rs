//! A model as bytes, and back: safetensors with everything that a forecast depends on in its metadata.
//!
//! One metadata key, [`KEY`], holds a JSON object: format, sizes, normalisation, names of the metrics, fingerprint of the contract,
//! step, and a SHA-256 over all of that and over every tensor. The same model always gives the same bytes.
//! Never a pickle; and not the registry's manifest, which has its own checksums.

use crate::batch::Assembler;
use crate::config::Shape;
use crate::domain::Domain;
use crate::model::Model;
use crate::net::Network;
use crate::scale::Normalisation;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use contract::Contract;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// Metadata key of the description.
pub const KEY: &str = "forewarn";
/// Version of the format: a change that older programs would read wrongly gives it another number.
const FORMAT: u32 = 1;
/// Name of the tensor of known ids.
const KNOWN: &str = "known_ids";
/// Prefix of the network's weights.
const NETWORK: &str = "network.";

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

/// Tensors by name: shape and bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

impl Model {
    /// The model as one safetensors file.
    ///
    /// # Errors
    /// When the weights cannot be read from the device.
    pub fn save(&self) -> Result<Vec<u8>, safetensors::SafeTensorError> {
        let mut reader = Reader::default();
        self.network.visit(&mut reader);
        let mut tensors = reader.tensors;
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
        description.sha256 = digest(&description, &tensors);
        let metadata = HashMap::from([(KEY.to_owned(), json(&description))]);
        let views: Vec<_> = tensors
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
            })
            .collect::<Result<_, _>>()?;
        safetensors::serialize(views, Some(metadata))
    }

    /// Loads what [`Model::save`] wrote, for `contract`.
    ///
    /// # Errors
    /// When the bytes are not whole, not ours, changed, or of another contract.
    pub fn load(bytes: &[u8], contract: &Contract) -> Result<Self, LoadError> {
        let domain = Domain::of(contract);
        let truncated = |e: safetensors::SafeTensorError| LoadError::Truncated(e.to_string());
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(truncated)?;
        let file = SafeTensors::deserialize(bytes).map_err(truncated)?;
        let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
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
        let tensors: Tensors = file
            .iter()
            .map(|(name, view)| {
                (
                    name.to_owned(),
                    (view.dtype(), view.shape().to_vec(), view.data().to_vec()),
                )
            })
            .collect();
        let stated = std::mem::take(&mut description.sha256);
        if digest(&description, &tensors) != stated {
            return Err(LoadError::Tampered);
        }
        if description.contract != domain.fingerprint {
            let short = |text: &str| text.chars().take(16).collect();
            return Err(LoadError::OtherContract {
                expected: short(&domain.fingerprint),
                found: short(&description.contract),
            });
        }
        Self::build(description, tensors, domain)
    }

    /// Puts a checked description and its tensors together.
    fn build(
        description: Description,
        mut tensors: Tensors,
        domain: Domain,
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
        let mut writer = Writer {
            tensors,
            path: Vec::new(),
            fault: None,
        };
        let network = Network::new(&shape, 0, &Device::flex()).map(&mut writer);
        if let Some(fault) = writer.fault {
            return Err(malformed(fault));
        }
        let assembler = Assembler {
            shape,
            normalisation: description.normalisation,
            step_ms: domain.step_ms,
            time_zone: domain.time_zone,
            known,
            metric_weight: vec![1.0; shape.metrics],
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

/// SHA-256 over the description without its checksum, and over names, types, shapes and bytes of all tensors.
fn digest(description: &Description, tensors: &Tensors) -> String {
    let mut sha = Sha256::new();
    let mut part = |bytes: &[u8]| {
        sha.update((bytes.len() as u64).to_le_bytes());
        sha.update(bytes);
    };
    part(json(description).as_bytes());
    for (name, (dtype, shape, bytes)) in tensors {
        part(name.as_bytes());
        part(format!("{dtype:?} {shape:?}").as_bytes());
        part(bytes);
    }
    sha.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Collects all weights.
#[derive(Default)]
struct Reader {
    tensors: Tensors,
    path: Vec<String>,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        let values = tensor.try_into_vec_as::<f32>().unwrap_or_default();
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.insert(
            format!("{NETWORK}{}", self.path.join(".")),
            (Dtype::F32, shape, bytes),
        );
    }
}

/// Replaces all weights; remembers the first that is missing or wrong.
struct Writer {
    tensors: Tensors,
    path: Vec<String>,
    fault: Option<String>,
}

impl Writer {
    fn take(&mut self, shape: &[usize]) -> Result<Vec<f32>, String> {
        let name = format!("{NETWORK}{}", self.path.join("."));
        let Some((dtype, found, bytes)) = self.tensors.remove(&name) else {
            return Err(format!("tensor {name} is missing"));
        };
        if dtype != Dtype::F32 || found != shape {
            return Err(format!(
                "tensor {name} is {dtype:?} {found:?}, expected F32 {shape:?}"
            ));
        }
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        match values.iter().all(|v| v.is_finite()) {
            true => Ok(values),
            false => Err(format!("tensor {name} holds values that are not finite")),
        }
    }
}

impl ModuleMapper for Writer {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        match self.take(&shape) {
            Ok(values) => Param::from_data(TensorData::new(values, shape), &param.val().device()),
            Err(fault) => {
                self.fault.get_or_insert(fault);
                param
            }
        }
    }
}
