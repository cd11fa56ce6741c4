//! Several devices that train one model together.

use crate::device::{Device, DeviceError};
use burn::tensor::Device as Handle;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Devices of one training, at most: each holds a copy of the weights and a thread.
const MOST: usize = 64;

/// Where a training runs, written as names with commas between them: each step's windows are shared out among the devices, and the
/// weights and the optimiser are on the first one. The same device may be there more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Devices {
    first: Device,
    others: Vec<Device>,
}

impl Devices {
    /// The one that the trained model is on; nothing else than training uses the others.
    #[must_use]
    pub fn first(&self) -> Device {
        self.first
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The devices that these names stand for here, as [`Device::resolve`].
    ///
    /// # Errors
    /// When one is not compiled in or not on this machine.
    pub fn resolve(&self) -> Result<Self, DeviceError> {
        let others = self.others.iter().map(|device| device.resolve());
        Ok(Self {
            first: self.first.resolve()?,
            others: others.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Device> + '_ {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// The backends' own handles, without a graph: that of the first, and the others'.
    pub(crate) fn open(&self) -> Result<(Handle, Vec<Handle>), DeviceError> {
        let others = self.others.iter().map(|device| device.open());
        Ok((self.first.open()?, others.collect::<Result<_, _>>()?))
    }
}

impl From<Device> for Devices {
    fn from(first: Device) -> Self {
        let others = Vec::new();
        Self { first, others }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.others.iter().try_for_each(|d| write!(f, ",{d}"))
    }
}

impl FromStr for Devices {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let found = text.split(',').count();
        if found > MOST {
            return Err(DeviceError::TooMany { found, most: MOST });
        }
        let mut names = text.split(',').map(|name| name.trim().parse());
        // `split` gives one part at least.
        let first = names.next().unwrap_or(Ok(Device::Auto))?;
        let others = names.collect::<Result<_, _>>()?;
        Ok(Self { first, others })
    }
}

impl From<Devices> for String {
    fn from(devices: Devices) -> Self {
        devices.to_string()
    }
}

impl TryFrom<String> for Devices {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lists_come_back_as_they_are() {
        for (text, count) in [
            ("auto", 1),
            ("cpu,cpu", 2),
            ("cuda:0,cuda:1,libtorch:cuda:7", 3),
        ] {
            let devices: Devices = text.parse().unwrap();
            assert_eq!(
                (devices.to_string().as_str(), devices.count()),
                (text, count)
            );
            let json = serde_json::to_string(&devices).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Devices>(&json).unwrap(), devices);
        }
        let spaced: Devices = "cuda, cuda:1".parse().unwrap();
        assert_eq!(spaced.to_string(), "cuda:0,cuda:1");
        assert_eq!(spaced.first(), Device::Cuda(0));
        assert_eq!(Devices::default(), Device::Auto.into());
    }

    #[test]
    fn other_lists_are_refused() {
        for (text, said) in [
            ("", "\"\""),
            ("cpu,", "\"\""),
            ("cpu,gpu", "\"gpu\""),
            ("cpu;cpu", "\"cpu;cpu\""),
            (&["cpu"; 65].join(","), "65 devices: at most 64"),
        ] {
            let error = text.parse::<Devices>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn every_one_must_be_there() {
        let here = Device::Auto.resolve().unwrap();
        let devices: Devices = "auto,auto".parse().unwrap();
        let resolved = devices.resolve().unwrap();
        assert_eq!((resolved.first, resolved.others), (here, vec![here]));
        let missing: Devices = "auto,cuda:60000".parse().unwrap();
        assert!(missing.resolve().is_err());
    }
}
