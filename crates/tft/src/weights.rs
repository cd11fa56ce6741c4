//! Tensors by name: the weights of a network, and whatever has the same shapes, as they stand in a safetensors file.

use crate::net::Network;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// Tensors by name: type, shape and little-endian bytes.
pub(crate) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Adds all weights of `network` to `tensors`, their names behind `prefix`.
pub(crate) fn read(network: &Network, prefix: &str, tensors: &mut Tensors) {
    network.visit(&mut Reader {
        tensors,
        path: vec![prefix.to_owned()],
    });
}

/// `network` with the weights that [`read`] put into `tensors`, which are taken out of it.
///
/// # Errors
/// Says which weight is missing, of another shape or not finite.
pub(crate) fn write(
    network: Network,
    prefix: &str,
    tensors: &mut Tensors,
) -> Result<Network, String> {
    let mut writer = Writer {
        tensors,
        path: vec![prefix.to_owned()],
        fault: None,
    };
    let network = network.map(&mut writer);
    writer.fault.map_or(Ok(network), Err)
}

/// A tensor of numbers as it is stored.
pub(crate) fn stored<const D: usize>(tensor: Tensor<D>) -> (Dtype, Vec<usize>, Vec<u8>) {
    let shape = tensor.dims().to_vec();
    let values = tensor.try_into_vec_as::<f32>().unwrap_or_default();
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    (Dtype::F32, shape, bytes)
}

/// Takes the numbers of `name` out of `tensors`.
///
/// # Errors
/// When there is none of that name and shape, or a number is not finite.
pub(crate) fn take(tensors: &mut Tensors, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let Some((dtype, found, bytes)) = tensors.remove(name) else {
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

/// `tensors` and `metadata` as one safetensors file.
///
/// # Errors
/// When a tensor's bytes do not fit its shape.
pub(crate) fn to_file(
    tensors: &Tensors,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, SafeTensorError> {
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| {
            TensorView::new(*dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
        })
        .collect::<Result<_, _>>()?;
    safetensors::serialize(views, Some(metadata))
}

/// What [`to_file`] was given.
///
/// # Errors
/// When the bytes are no whole safetensors file.
pub(crate) fn from_file(
    bytes: &[u8],
) -> Result<(Tensors, HashMap<String, String>), SafeTensorError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let tensors = SafeTensors::deserialize(bytes)?
        .iter()
        .map(|(name, view)| {
            let content = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), content)
        })
        .collect();
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}

/// SHA-256, hex, over a description and over names, types, shapes and bytes of all tensors.
pub(crate) fn digest(description: &str, tensors: &Tensors) -> String {
    let mut sha = Sha256::new();
    let mut part = |bytes: &[u8]| {
        sha.update((bytes.len() as u64).to_le_bytes());
        sha.update(bytes);
    };
    part(description.as_bytes());
    for (name, (dtype, shape, bytes)) in tensors {
        part(name.as_bytes());
        part(format!("{dtype:?} {shape:?}").as_bytes());
        part(bytes);
    }
    hex(&sha.finalize())
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Collects all weights.
struct Reader<'a> {
    tensors: &'a mut Tensors,
    path: Vec<String>,
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors
            .insert(self.path.join("."), stored(param.val()));
    }
}

/// Replaces all weights; remembers the first that is missing or wrong.
struct Writer<'a> {
    tensors: &'a mut Tensors,
    path: Vec<String>,
    fault: Option<String>,
}

impl ModuleMapper for Writer<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        match take(self.tensors, &self.path.join("."), &shape) {
            Ok(values) => Param::from_data(TensorData::new(values, shape), &param.val().device()),
            Err(fault) => {
                self.fault.get_or_insert(fault);
                param
            }
        }
    }
}
