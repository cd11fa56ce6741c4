//! What can be wrong with a request for a simulated fleet.

/// Why a simulator was refused. Each variant is a different thing for the caller to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// The contract is not one that the simulator knows how to fill.
    #[error(
        "contract '{contract}': {what}; the simulator makes LINBORG data only: use the linborg contract, or `replay` for recorded data"
    )]
    UnsupportedContract {
        /// Name of the contract that was given.
        contract: String,
        /// What it has too much or too little.
        what: String,
    },
    /// A profile that the contract does not have.
    #[error("unknown profile '{name}': one of {known}")]
    UnknownProfile {
        /// What was asked for.
        name: String,
        /// The profiles of the contract, separated by commas.
        known: String,
    },
    /// `--profile` text that is not `name=count,name=count`.
    #[error("'{text}' is not PROFILE=COUNT: write for example ml_compute=40,web_api=10")]
    BadProfileList {
        /// The part that could not be read.
        text: String,
    },
    /// No servers, or more than [`crate::MAX_SERVERS`].
    #[error("a fleet of {asked} servers: between 1 and {most} are possible")]
    BadServerCount {
        /// How many were asked for.
        asked: usize,
        /// The most that is possible.
        most: usize,
    },
    /// Step outside 100 ms to 1 h.
    #[error("a step of {step_ms} ms: between 100 ms and 1 h is possible")]
    BadStep {
        /// The step that was asked for, in milliseconds.
        step_ms: i64,
    },
    /// A start before 2000 or after 2200.
    #[error("a start at {start_ms} ms since 1970: between the years 2000 and 2200 is possible")]
    BadStart {
        /// The start that was asked for, milliseconds since the epoch.
        start_ms: i64,
    },
    /// A scenario name that does not exist.
    #[error("unknown scenario '{name}': one of {known}")]
    UnknownScenario {
        /// What was asked for.
        name: String,
        /// The scenarios that exist, separated by commas.
        known: String,
    },
}
