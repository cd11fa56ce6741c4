//! The numbers that a training computes in.

use crate::device::{Device, DeviceError};
use crate::devices::Devices;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Kind of the numbers of forward and backward passes. The weights that are kept, the loss, the sum of the gradients and the optimiser are
/// `f32` with each (Micikevicius et al., arXiv:1710.03740, section 3.1); bf16 has the range of f32, so no loss is scaled. Forecasts
/// are computed in f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bf16 on GPUs that have it, else f32.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// Products of matrices, and what is kept between groups of element-wise operations, in 16 bits of which 8 are the exponent.
    Bf16,
}

impl Precision {
    /// All names.
    pub const NAMES: [&str; 3] = ["auto", "f32", "bf16"];

    /// What this is on `devices`, which are resolved: never [`Precision::Auto`].
    ///
    /// # Errors
    /// When bf16 is asked for and one of them has none.
    pub fn resolve(self, devices: &Devices) -> Result<Self, DeviceError> {
        let with: Result<Vec<_>, DeviceError> = devices
            .iter()
            .map(|device| Ok((device, device.has_bf16()?)))
            .collect();
        self.among(&with?)
    }

    /// The same, of devices and whether they have bf16.
    fn among(self, devices: &[(Device, bool)]) -> Result<Self, DeviceError> {
        let without = devices.iter().find(|(_, has)| !has);
        match (self, without) {
            (Self::F32, _) => Ok(Self::F32),
            (Self::Bf16, None) => Ok(Self::Bf16),
            (Self::Bf16, Some(&(device, _))) => Err(DeviceError::NoBf16(device)),
            (Self::Auto, None) if devices.iter().all(|(device, _)| device.is_gpu()) => {
                Ok(Self::Bf16)
            }
            (Self::Auto, _) => Ok(Self::F32),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("expected one of {}", Self::NAMES.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_come_back_as_they_are() {
        for name in Precision::NAMES {
            let precision: Precision = name.parse().unwrap();
            assert_eq!(precision.to_string(), name);
            assert_eq!(serde_json::to_value(precision).unwrap(), name);
        }
        let error = "fp16".parse::<Precision>().unwrap_err();
        assert!(error.contains("auto, f32, bf16"), "{error}");
    }

    #[test]
    fn auto_is_bf16_where_every_device_is_a_gpu_that_has_it() {
        use Precision::{Auto, Bf16, F32};
        let (new, old, cpu) = (
            (Device::Cuda(0), true),
            (Device::LibTorchCuda(1), false),
            (Device::Cpu, true),
        );
        for (devices, expected) in [
            (vec![new], Bf16),
            (vec![new, new], Bf16),
            (vec![cpu], F32),
            (vec![new, cpu], F32),
            (vec![new, old], F32),
        ] {
            assert_eq!(Auto.among(&devices).unwrap(), expected, "{devices:?}");
            assert_eq!(F32.among(&devices).unwrap(), F32);
        }
        assert_eq!(Bf16.among(&[cpu, new]).unwrap(), Bf16);
        let refused = Bf16.among(&[new, old]).unwrap_err().to_string();
        assert_eq!(
            refused,
            "device libtorch:cuda:1 has no bf16: train in f32, or on another device"
        );
    }

    #[test]
    fn the_devices_here_are_asked() {
        let here: Devices = Device::Auto.resolve().unwrap().into();
        assert_eq!(Precision::F32.resolve(&here).unwrap(), Precision::F32);
        assert_ne!(Precision::Auto.resolve(&here).unwrap(), Precision::Auto);
    }
}
