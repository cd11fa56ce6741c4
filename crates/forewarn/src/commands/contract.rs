//! `forewarn contract check FILE`: what a contract file holds, or what is wrong with it.

use std::path::Path;

use anyhow::Result;
use contract::Contract;
use serde_json::json;

use super::output;
use crate::cli::ContractCommand;
use crate::refusal::Refusal;

/// Reads the contract and describes it.
///
/// # Errors
/// Refused, in one line that names the file, where it is no contract.
pub(crate) fn run(command: &ContractCommand, as_json: bool) -> Result<()> {
    let ContractCommand::Check { file } = command;
    let contract = read(file)?;
    if as_json {
        return output::json(&describe(&contract));
    }
    output::line(&format!(
        "{}: {} metrics ({} measured), {} profiles, {} states, {} → {} steps of {} s, {}, fingerprint {}",
        contract.name,
        contract.num_metrics(),
        contract.raw_metrics().len(),
        contract.profiles.len(),
        contract.states.len(),
        contract.context_steps,
        contract.horizon_steps,
        contract.step_seconds,
        contract.time_zone,
        contract.short_fingerprint(),
    ))
}

fn read(file: &Path) -> Result<Contract, Refusal> {
    let name = file.display();
    let shipped = file.to_str().and_then(Contract::shipped);
    if let Some(contract) = shipped {
        return Ok(contract);
    }
    let text = std::fs::read_to_string(file).map_err(|error| {
        Refusal::new(format!(
            "{name}: cannot be read: {error}; expected a .contract.toml or one of {}",
            Contract::SHIPPED.join(", ")
        ))
    })?;
    Contract::from_toml(&text).map_err(|error| Refusal::new(format!("{name}: {error}")))
}

fn describe(contract: &Contract) -> serde_json::Value {
    let metrics: Vec<_> = contract
        .metrics
        .iter()
        .map(|metric| {
            json!({"name": metric.name, "unit": metric.unit, "derived": metric.derived.is_some()})
        })
        .collect();
    let profiles: Vec<_> = contract.profiles.iter().map(|p| &p.name).collect();
    json!({
        "ok": true,
        "name": contract.name,
        "fingerprint": contract.fingerprint(),
        "time_zone": contract.time_zone.to_string(),
        "step_seconds": contract.step_seconds,
        "context_steps": contract.context_steps,
        "horizon_steps": contract.horizon_steps,
        "metrics": metrics,
        "states": contract.states,
        "profiles": profiles,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_file_is_one_line_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bad.contract.toml");
        std::fs::write(&file, "name = \"x\"\n[[metric]]\n").unwrap();
        let message = read(&file).unwrap_err().to_string();
        assert!(
            message.contains("bad.contract.toml: ") && !message.contains('\n'),
            "{message}"
        );
        assert!(read(Path::new("no/such.toml")).is_err());
        assert_eq!(read(Path::new("vm")).unwrap().name, "vm");
    }
}
