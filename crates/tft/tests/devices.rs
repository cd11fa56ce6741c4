//! The same weights on every device that is compiled in and there: same forecasts, and training goes on there.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ops::ControlFlow;
use std::sync::OnceLock;
use support::{contract, quick, sizes, waves};
use tft::{Context, Device, LoadError, Model, TOLERANCE, TrainConfig, TrainError, Trained};

fn train(device: Device, seed: u64, resume: Option<&Model>) -> Result<Trained, TrainError> {
    let config = TrainConfig {
        devices: device.into(),
        seed,
        ..quick()
    };
    let go = &mut |_: &_| ControlFlow::Continue(());
    tft::train(&contract(), &waves(6, 12), &sizes(), &config, resume, go)
}

fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| train(Device::Auto, 1, None).unwrap())
}

/// Full, short and empty contexts, with and without gaps.
fn contexts() -> Vec<Context> {
    let data = waves(4, 3);
    let of = |server: usize, rows: usize, gap: usize| {
        let mut values = data.series[server].values[..rows * 2].to_vec();
        values.iter_mut().step_by(gap).for_each(|v| *v = f32::NAN);
        Context {
            server: format!("s{server}"),
            end_ms: data.series[0].start_ms + 24 * 3_600_000,
            values,
            ..Context::default()
        }
    };
    vec![
        of(0, 24, 100),
        of(1, 24, 3),
        of(2, 7, 5),
        of(3, 0, 1),
        of(3, 24, 1),
    ]
}

#[test]
fn the_same_weights_give_the_same_forecasts_everywhere() {
    let bytes = trained().model.save().unwrap();
    let selftest = trained().model.selftest().unwrap();
    let expected = trained().model.predict(&contexts()).unwrap();
    for device in Device::available() {
        let moved = trained().model.clone().on(device).unwrap();
        let loaded = Model::load(&bytes, &contract(), device).unwrap();
        for model in [moved, loaded] {
            assert_eq!(model.device(), device);
            assert_eq!(model.save().unwrap(), bytes);
            model.check_selftest(&selftest).unwrap();
            let found = model.predict(&contexts()).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                for (f, e) in [
                    (&found.p10, &expected.p10),
                    (&found.p50, &expected.p50),
                    (&found.p90, &expected.p90),
                ] {
                    for (f, e) in f.iter().zip(e) {
                        let close = (f - e).abs() <= TOLERANCE * e.abs().max(1.0);
                        assert!(close, "{device}: {f} instead of {e}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_training_on_any_device_learns_the_same() {
    let reference = trained().info.final_val_loss;
    for device in Device::available() {
        let there = train(device, 1, None).unwrap();
        assert_eq!(there.model.device(), device);
        // Rounding grows step by step; what it may not change is how good the model is.
        let loss = there.info.final_val_loss;
        assert!(
            (loss - reference).abs() <= 0.02 * reference,
            "{device}: {loss} instead of {reference}"
        );
        let onward = train(device, 2, Some(&trained().model)).unwrap();
        assert_eq!(onward.model.device(), device);
        assert!(onward.info.final_val_loss.is_finite());
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error_before_any_work() {
    let missing = Device::Cuda(60_000);
    let text = train(missing, 1, None).unwrap_err();
    assert!(matches!(text, TrainError::Device(_)));
    let bytes = trained().model.save().unwrap();
    let refused = Model::load(&bytes, &contract(), missing).unwrap_err();
    assert!(matches!(refused, LoadError::Device(_)), "{refused}");
    assert!(trained().model.clone().on(missing).is_err());
}
