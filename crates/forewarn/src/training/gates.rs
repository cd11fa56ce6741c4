//! May a candidate take the production model's place? Pure: measured facts in, reasons out.

/// A candidate may be worse than production by this factor on the same data: a new model has
/// seen new days, and one validation window is noisy.
pub(crate) const MAX_LOSS_RATIO: f64 = 1.2;

/// What was measured of a candidate, on the same validation windows as production.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Facts {
    /// The artefact loads again from its own bytes and reproduces its self-test.
    pub(crate) loads: bool,
    /// Every forecast value is finite.
    pub(crate) finite: bool,
    /// Every forecast value lies in its metric's valid range.
    pub(crate) in_range: bool,
    /// On the whole validation part.
    pub(crate) val_loss: f64,
    /// `None` where there is no production model.
    pub(crate) against_production: Option<Compared>,
}

/// Losses on the same windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Compared {
    pub(crate) candidate: f64,
    pub(crate) production: f64,
}

/// The gates that the facts do not pass, each in words; none: the candidate passes.
pub(crate) fn failures(facts: &Facts) -> Vec<String> {
    let mut failures = Vec::new();
    if !facts.loads {
        failures.push("it does not load again with the same forecasts".to_owned());
    }
    if !facts.finite {
        failures.push("a forecast is not finite".to_owned());
    }
    if !facts.in_range {
        failures.push("a forecast is outside of its metric's valid range".to_owned());
    }
    if !facts.val_loss.is_finite() {
        failures.push("its validation loss is not finite".to_owned());
    }
    if let Some(Compared {
        candidate,
        production,
    }) = facts.against_production
        && candidate > production * MAX_LOSS_RATIO
    {
        failures.push(format!(
            "its validation loss {candidate:.4} is more than {MAX_LOSS_RATIO} × production's {production:.4} on the same windows"
        ));
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Facts = Facts {
        loads: true,
        finite: true,
        in_range: true,
        val_loss: 0.12,
        against_production: Some(Compared {
            candidate: 0.12,
            production: 0.10,
        }),
    };

    #[test]
    fn as_bad_as_the_limit_passes_and_worse_does_not() {
        assert_eq!(failures(&GOOD), Vec::<String>::new());
        let worse = failures(&Facts {
            against_production: Some(Compared {
                candidate: 0.1201,
                production: 0.10,
            }),
            ..GOOD
        });
        assert_eq!(worse.len(), 1);
        assert!(
            worse[0].contains("0.1201") && worse[0].contains("0.1000"),
            "{worse:?}"
        );
        assert!(
            failures(&Facts {
                val_loss: 9.0,
                against_production: None,
                ..GOOD
            })
            .is_empty()
        );
    }

    #[test]
    fn every_gate_that_fails_is_named() {
        let bad = Facts {
            loads: false,
            finite: false,
            in_range: false,
            val_loss: f64::NAN,
            against_production: None,
        };
        assert_eq!(failures(&bad).len(), 4);
    }
}
