//! How much of an NVIDIA GPU's memory is in use: what `nvidia-smi`, which comes with the driver, says of it. That is all that is in use there,
//! other processes' too; burn tells nothing of its own.

use crate::device::Device;
use crate::devices::Devices;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for an answer: a driver that hangs must not hold a training up.
const WITHIN: Duration = Duration::from_secs(2);

/// MiB in use on the GPUs among `devices` together; `None` where there is none, or nobody tells.
pub(crate) fn used_mb(devices: &Devices) -> Option<f64> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let mut gpus: Vec<usize> = devices.iter().filter_map(gpu).collect();
    gpus.sort_unstable();
    gpus.dedup();
    if gpus.is_empty() {
        return None;
    }
    let used = gpus.into_iter().map(|gpu| {
        let mut asked = Command::new("nvidia-smi");
        asked
            .args(["--query-gpu=memory.used", "--format=csv,noheader,nounits"])
            .args(["--id", &id(gpu, visible.as_deref())]);
        parsed(&answer(asked)?)
    });
    used.sum()
}

/// What a program prints, a line or two; `None` where it is not there, fails or takes longer than [`WITHIN`].
fn answer(mut program: Command) -> Option<String> {
    let program = program.stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = program.stdout(Stdio::piped()).spawn().ok()?;
    let until = Instant::now() + WITHIN;
    let status = loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Ok(Some(status)) => break status,
            _ => {
                // One that cannot be killed is left to itself.
                let _ = child.kill();
                return None;
            }
        }
    };
    let mut said = String::new();
    child.stdout.take()?.read_to_string(&mut said).ok()?;
    status.success().then_some(said)
}

fn gpu(device: Device) -> Option<usize> {
    match device {
        Device::Cuda(gpu) | Device::LibTorchCuda(gpu) => Some(gpu),
        Device::Auto | Device::Cpu | Device::LibTorch => None,
    }
}

/// What the driver's tool calls the N-th GPU of this process, which may see only some of the machine's. The tool counts in the order of the
/// bus: where GPUs differ, `CUDA_DEVICE_ORDER=PCI_BUS_ID` makes CUDA count so too.
fn id(gpu: usize, visible: Option<&str>) -> String {
    let named = visible.and_then(|names| names.split(',').nth(gpu));
    let named = named.map(str::trim).filter(|name| !name.is_empty());
    named.map_or_else(|| gpu.to_string(), str::to_owned)
}

/// The first line, a number of MiB.
fn parsed(said: &str) -> Option<f64> {
    let mb: f64 = said.lines().next()?.trim().parse().ok()?;
    (mb.is_finite() && mb >= 0.0).then_some(mb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_s_answer_is_a_number_or_nothing() {
        assert_eq!(parsed("1234\n"), Some(1234.0));
        for said in [
            "",
            "\n",
            "[N/A]\n",
            "-1\n",
            "NaN\n",
            "No devices were found",
        ] {
            assert_eq!(parsed(said), None, "{said:?}");
        }
    }

    #[test]
    fn an_answer_is_not_waited_for_for_ever() {
        let shell = |script: &str| {
            let mut program = Command::new("sh");
            program.args(["-c", script]);
            answer(program)
        };
        assert_eq!(shell("echo 1234").as_deref(), Some("1234\n"));
        assert_eq!(shell("echo 1234; exit 9"), None);
        assert_eq!(answer(Command::new("no-such-program-anywhere")), None);
        let asked = Instant::now();
        assert_eq!(shell("exec sleep 60"), None);
        assert!(
            asked.elapsed() < Duration::from_secs(30),
            "{:?}",
            asked.elapsed()
        );
    }

    #[test]
    fn gpus_are_called_as_the_process_sees_them() {
        assert_eq!(id(1, None), "1");
        assert_eq!(id(1, Some("3, 5")), "5");
        assert_eq!(id(0, Some("GPU-8f0c")), "GPU-8f0c");
        assert_eq!(id(2, Some("3,5")), "2");
        assert_eq!(id(0, Some("")), "0");
        assert_eq!(used_mb(&Device::Cpu.into()), None);
    }
}
