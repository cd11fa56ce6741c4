//! Decisions over a history of scores and loads: the very fold and rules of the service, on events made from lines.
//!
//! Trainings come from the lines only: what a decision starts is cancelled at once, as a job that nobody does.

use contract::record::{
    ControlEvent, ControlPayload, DECISION, Decision, TRAINING_CANCELLED, TRAINING_COMPLETED,
    TRAINING_FAILED, Training,
};

use crate::decide::decide;
use crate::evidence::{Evidence, Request};
use crate::jobs::State;
use crate::settings::Settings;

/// What happened just before a line's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A training ended well.
    TrainingCompleted,
    /// A training was given up. It counts for none of the safeguards.
    TrainingFailed,
    /// A person asked for a training. The line's decision answers it.
    ManualRequest,
}

/// One line of the history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// When, ms.
    pub at_ms: i64,
    /// The drift score, calibrated.
    pub score: f64,
    /// How busy the fleet was, 0–1; `None` where it is not known.
    pub load: Option<f64>,
    /// What happened just before.
    pub event: Option<Happened>,
}

/// The state between two lines.
#[derive(Debug)]
pub struct Simulation {
    settings: Settings,
    state: State,
    num_lines: u64,
    /// Cause of the last decision to train: a training that ends after it is its.
    cause: String,
}

impl Simulation {
    /// With nothing known. A training that was given up puts nothing off here: the pause after it keeps the service from
    /// starting the same one again, and here nothing is started.
    #[must_use]
    pub fn new(settings: Settings) -> Simulation {
        Simulation {
            settings: Settings {
                after_failure_ms: 0,
                ..settings
            },
            state: State::default(),
            num_lines: 0,
            cause: String::new(),
        }
    }

    /// The decision at a line, after what happened before it.
    pub fn step(&mut self, line: &Line) -> Decision {
        self.num_lines += 1;
        match line.event {
            Some(Happened::TrainingCompleted) => self.ended(line, TRAINING_COMPLETED),
            Some(Happened::TrainingFailed) => self.ended(line, TRAINING_FAILED),
            Some(Happened::ManualRequest) | None => {}
        }
        let mut evidence = Evidence::of_score(line.at_ms, line.score, line.load);
        if line.event == Some(Happened::ManualRequest) {
            evidence.request = Some(Request { force: false });
        }
        let decision = decide(&evidence, &self.state, &self.settings);
        let id = format!("decision {}", self.num_lines);
        let payload = ControlPayload::Decision(decision.clone());
        self.apply(&id, DECISION, line.at_ms, payload);
        if decision.trigger {
            self.cause.clone_from(&decision.cause);
            let nobody = ControlPayload::Training(self.training(&id));
            self.apply(&id, TRAINING_CANCELLED, line.at_ms, nobody);
        }
        decision
    }

    fn ended(&mut self, line: &Line, event_type: &str) {
        let id = format!("training {}", self.num_lines);
        let payload = ControlPayload::Training(self.training(&id));
        self.apply(&id, event_type, line.at_ms, payload);
    }

    fn apply(&mut self, id: &str, event_type: &str, at_ms: i64, payload: ControlPayload) {
        self.state.apply(&ControlEvent {
            id: id.to_owned(),
            event_type: event_type.to_owned(),
            source: "simulation".to_owned(),
            time: at_ms,
            payload,
        });
    }

    fn training(&self, id: &str) -> Training {
        Training {
            job_id: id.to_owned(),
            trigger: self.cause.clone(),
            ..Training::default()
        }
    }
}
