//! Where a network runs, by name, and which of the names this build and machine have.
//!
//! | name | cargo feature | runs on |
//! |---|---|---|
//! | `cpu` | `flex` | the CPU, in Rust, with the kernels of `fused` |
//! | `libtorch`, `libtorch:cuda:N` | `tch` | LibTorch on the CPU or an NVIDIA GPU |
//! | `cuda:N` (`cuda` is `cuda:0`) | `cuda` | an NVIDIA GPU, through CubeCL |
//! | `auto` | | the first of `cuda:0`, `libtorch:cuda:0`, `cpu`, `libtorch` that is there |
//!
//! The same weights give the same forecasts on each, within [`TOLERANCE`](crate::TOLERANCE).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A device by name; whether it is there shows when it is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// The best one there is.
    #[default]
    Auto,
    /// The CPU, in Rust.
    Cpu,
    /// LibTorch on the CPU.
    LibTorch,
    /// LibTorch on the N-th NVIDIA GPU.
    LibTorchCuda(usize),
    /// The N-th NVIDIA GPU, through CubeCL.
    Cuda(usize),
}

/// Why there is no such device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No device has that name.
    #[error("device {0:?}: write auto, cpu, libtorch, libtorch:cuda:N, cuda or cuda:N")]
    Name(String),
    /// The program was built without what it needs.
    #[error(
        "device {device} is not compiled in: build with --features {feature}, or take one of: {available}"
    )]
    NotCompiled {
        /// What was asked for.
        device: Device,
        /// Cargo feature that brings it.
        feature: &'static str,
        /// Names of those that are there.
        available: String,
    },
    /// The machine has none.
    #[error("device {device} is not on this machine; there are: {available}")]
    NotThere {
        /// What was asked for.
        device: Device,
        /// Names of those that are there.
        available: String,
    },
    /// It does not compute in bf16.
    #[error("device {0} has no bf16: train in f32, or on another device")]
    NoBf16(Device),
    /// More than one training can use.
    #[error("{found} devices: at most {most}")]
    TooMany {
        /// How many were named.
        found: usize,
        /// How many may be.
        most: usize,
    },
}

impl Device {
    /// Those that are compiled in and on this machine, best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut all: Vec<Self> = (0..cuda_gpus()).map(Self::Cuda).collect();
        all.extend((0..libtorch_gpus()).map(Self::LibTorchCuda));
        if cfg!(feature = "flex") {
            all.push(Self::Cpu);
        }
        if cfg!(feature = "tch") {
            all.push(Self::LibTorch);
        }
        all
    }

    /// The device that this name stands for here: `auto` becomes one of the others.
    ///
    /// # Errors
    /// When it is not compiled in or not on this machine.
    pub fn resolve(self) -> Result<Self, DeviceError> {
        let available = Self::available();
        match available.first() {
            Some(&best) if self == Self::Auto => Ok(best),
            _ if available.contains(&self) => Ok(self),
            _ => Err(self.missing(&available)),
        }
    }

    /// Whether it computes in bf16.
    pub(crate) fn has_bf16(self) -> Result<bool, DeviceError> {
        Ok(self.open()?.supports_dtype(burn::tensor::FloatDType::BF16))
    }

    /// Whether it is a GPU by its name; [`Device::Auto`] is not.
    pub(crate) fn is_gpu(self) -> bool {
        matches!(self, Self::LibTorchCuda(_) | Self::Cuda(_))
    }

    fn missing(self, available: &[Self]) -> DeviceError {
        let names: Vec<String> = available.iter().map(Self::to_string).collect();
        let available = match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        };
        let (feature, compiled) = match self {
            Self::Auto | Self::Cpu => ("flex", cfg!(feature = "flex")),
            Self::LibTorch | Self::LibTorchCuda(_) => ("tch", cfg!(feature = "tch")),
            Self::Cuda(_) => ("cuda", cfg!(feature = "cuda")),
        };
        match compiled {
            true => DeviceError::NotThere {
                device: self,
                available,
            },
            false => DeviceError::NotCompiled {
                device: self,
                feature,
                available,
            },
        }
    }

    /// The backend's own handle, without a graph.
    pub(crate) fn open(self) -> Result<burn::tensor::Device, DeviceError> {
        let device = self.resolve()?;
        device
            .handle()
            .ok_or_else(|| device.missing(&Self::available()))
    }

    /// What a backend's handle is called; `None` where it is none of ours.
    pub(crate) fn of(handle: &burn::tensor::Device) -> Option<Self> {
        let handle = handle.clone().without_autodiff();
        let mut all = Self::available().into_iter();
        all.find(|device| device.handle().as_ref() == Some(&handle))
    }

    #[allow(
        deprecated,
        reason = "LibTorch is deprecated upstream, and one optional feature here"
    )]
    fn handle(self) -> Option<burn::tensor::Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Cpu => Some(burn::tensor::Device::flex()),
            #[cfg(feature = "tch")]
            Self::LibTorch => Some(burn::tensor::Device::libtorch()),
            #[cfg(feature = "tch")]
            Self::LibTorchCuda(gpu) => Some(burn::tensor::Device::libtorch_cuda(gpu)),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => Some(burn::tensor::Device::cuda(gpu)),
            _ => None,
        }
    }
}

/// NVIDIA GPUs that CubeCL can use; none where there is no driver.
fn cuda_gpus() -> usize {
    #[cfg(feature = "cuda")]
    return burn::tensor::Device::enumerate(burn::tensor::DeviceType::Cuda)
        .into_vec()
        .len();
    #[cfg(not(feature = "cuda"))]
    0
}

/// NVIDIA GPUs that LibTorch can use; none where it is the CPU's.
fn libtorch_gpus() -> usize {
    #[cfg(feature = "tch")]
    return burn::tensor::Device::enumerate(burn::tensor::DeviceType::LibTorch)
        .into_vec()
        .len();
    #[cfg(not(feature = "tch"))]
    0
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::LibTorch => f.write_str("libtorch"),
            Self::LibTorchCuda(gpu) => write!(f, "libtorch:cuda:{gpu}"),
            Self::Cuda(gpu) => write!(f, "cuda:{gpu}"),
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        // A backend numbers its GPUs in 16 bits.
        let gpu = |number: &str| number.parse::<u16>().ok().map(usize::from);
        let device = match name {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "libtorch" => Some(Self::LibTorch),
            "cuda" => Some(Self::Cuda(0)),
            _ => match (
                name.strip_prefix("libtorch:cuda:"),
                name.strip_prefix("cuda:"),
            ) {
                (Some(number), _) => gpu(number).map(Self::LibTorchCuda),
                (_, Some(number)) => gpu(number).map(Self::Cuda),
                _ => None,
            },
        };
        device.ok_or_else(|| DeviceError::Name(name.to_owned()))
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = DeviceError;

    fn try_from(name: String) -> Result<Self, DeviceError> {
        name.parse()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The device that the tests of the network run on: `FOREWARN_TEST_DEVICE`, else the best there is.
    pub(crate) fn handle() -> burn::tensor::Device {
        let name = std::env::var("FOREWARN_TEST_DEVICE").unwrap_or_else(|_| "auto".to_owned());
        name.parse::<Device>().unwrap().open().unwrap()
    }

    #[test]
    fn names_come_back_as_they_are() {
        for name in [
            "auto",
            "cpu",
            "libtorch",
            "libtorch:cuda:1",
            "cuda:0",
            "cuda:15",
        ] {
            let device: Device = name.parse().unwrap();
            assert_eq!(device.to_string(), name);
            let json = serde_json::to_string(&device).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Device>(&json).unwrap(), device);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
    }

    #[test]
    fn other_names_are_refused_with_the_right_ones() {
        for name in [
            "",
            "gpu",
            "CPU",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "cuda:70000",
            "libtorch:1",
        ] {
            let error = name.parse::<Device>().unwrap_err().to_string();
            assert!(error.contains("libtorch:cuda:N"), "{error}");
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
    }

    #[test]
    fn a_device_that_is_missing_says_which_are_there() {
        let there = [Device::Cpu, Device::LibTorch];
        let check = |device: Device, expected: &str| {
            let error = device.missing(&there).to_string();
            assert!(
                error.contains(expected) && error.ends_with(": cpu, libtorch"),
                "{error}"
            );
        };
        let state = |compiled: bool, feature: &str| match compiled {
            true => "not on this machine".to_owned(),
            false => format!("not compiled in: build with --features {feature}"),
        };
        check(Device::Cuda(7), &state(cfg!(feature = "cuda"), "cuda"));
        check(
            Device::LibTorchCuda(7),
            &state(cfg!(feature = "tch"), "tch"),
        );
        assert!(Device::Cuda(60_000).resolve().is_err());
        assert!(Device::LibTorchCuda(60_000).open().is_err());
    }

    #[test]
    fn auto_is_the_best_there_is_and_every_device_knows_its_name() {
        let available = Device::available();
        assert_eq!(Device::Auto.resolve().unwrap(), available[0]);
        for device in available {
            assert_eq!(device.resolve().unwrap(), device);
            let handle = device.open().unwrap();
            assert_eq!(Device::of(&handle), Some(device));
            assert_eq!(Device::of(&handle.autodiff()), Some(device));
        }
    }
}
