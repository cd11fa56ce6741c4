//! A model from the outside: training, storing, forecasting, and what it does with bad input.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::ops::ControlFlow;
use std::sync::OnceLock;
use support::{contract, device, quick, sizes, waves};
use tft::eval::{Range, evaluate};
use tft::{
    Context, Dataset, Forecast, LoadError, Model, PredictError, Preset, Series, Stop, TrainConfig,
    TrainError, Trained,
};

fn train(data: &Dataset, config: &TrainConfig) -> Result<Trained, TrainError> {
    tft::train(&contract(), data, &sizes(), config, None, &mut |_| {
        ControlFlow::Continue(())
    })
}

/// A model trained for a moment, shared by the tests that only need one.
fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| train(&waves(6, 12), &quick()).unwrap())
}

fn context(server: &str, rows: usize) -> Context {
    let data = waves(2, 3);
    let values = data.series[1].values[..rows * 2].to_vec();
    Context {
        server: server.into(),
        profile: 0,
        end_ms: 1_377_000_000_000,
        values,
        states: None,
    }
}

#[track_caller]
fn check_sound(model: &Model, contexts: &[Context]) {
    for forecast in model.predict(contexts).unwrap() {
        for ((low, mid), high) in forecast.p10.iter().zip(&forecast.p50).zip(&forecast.p90) {
            assert!(
                low.is_finite() && low <= mid && mid <= high && *low >= 0.0,
                "{low} {mid} {high}"
            );
        }
        assert!(forecast.p90.iter().step_by(2).all(|v| *v <= 100.0));
        assert_eq!(forecast.p50.len(), 8 * 2);
    }
}

#[test]
fn learns_a_sine() {
    let config = TrainConfig {
        epochs: 30,
        patience: 30,
        ..quick()
    };
    let Trained { model, info, .. } = train(&waves(6, 12), &config).unwrap();
    let first = info.history.first().unwrap().val_loss;
    assert!(
        info.final_val_loss < 0.2,
        "{first} to {}",
        info.final_val_loss
    );
    assert_eq!(
        (info.stop, info.epochs, info.num_servers),
        (Stop::Completed, 30, 6)
    );
    assert_eq!(info.model_parameters, model.num_parameters());
    // A server never seen, with another phase: its own yesterday and its profile are enough.
    let mut unseen = waves(9, 12);
    unseen.series.drain(..8);
    let range = Range {
        from_ms: None,
        to_ms: None,
        stride: 8,
    };
    let report = evaluate(&model, &unseen, &range, &mut |_| {}).unwrap();
    assert!(report.loss.unwrap() < 0.5, "{:?}", report.loss);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let bytes = |seed| {
        train(&waves(5, 4), &TrainConfig { seed, ..quick() })
            .unwrap()
            .model
            .save()
            .unwrap()
    };
    let first = bytes(1);
    assert_eq!(first, bytes(1));
    assert_ne!(first, bytes(2));
}

#[test]
fn stored_and_loaded_it_says_the_same() {
    let model = &trained().model;
    let bytes = model.save().unwrap();
    let loaded = Model::load(&bytes, &contract(), device()).unwrap();
    let contexts = [
        context("s1", 24),
        context("never seen", 24),
        context("s1", 13),
    ];
    assert_eq!(
        model.predict(&contexts).unwrap(),
        loaded.predict(&contexts).unwrap()
    );
    assert_eq!(bytes, loaded.save().unwrap());
    assert_eq!(loaded.known_ids().len(), 6);
    let selftest = model.selftest().unwrap();
    loaded.check_selftest(&selftest).unwrap();
    let other = train(&waves(6, 12), &TrainConfig { seed: 9, ..quick() })
        .unwrap()
        .model;
    assert!(other.check_selftest(&selftest).is_err());
    assert!(
        loaded
            .check_selftest(&selftest[..selftest.len() - 4])
            .is_err()
    );
}

#[test]
fn damaged_artefacts_are_refused() {
    let bytes = trained().model.save().unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        let result = Model::load(&bytes[..length], &contract(), device());
        assert!(
            matches!(result, Err(LoadError::Truncated(_))),
            "{length}: {result:?}"
        );
    }
    for at in [bytes.len() - 2, bytes.len() / 2] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(
            Model::load(&changed, &contract(), device()).unwrap_err(),
            LoadError::Tampered
        );
    }
    let other = contract::Contract::shipped("vm").unwrap();
    let refused = Model::load(&bytes, &other, device()).unwrap_err();
    assert!(matches!(refused, LoadError::OtherContract { .. }));
    assert!(refused.to_string().contains(other.short_fingerprint()));
}

#[test]
fn absent_values_do_not_matter() {
    let model = &trained().model;
    // Padding on the left, however it is written.
    let short = context("s1", 15);
    let mut padded = short.clone();
    padded.values = [vec![f32::NAN; 9 * 2], short.values.clone()].concat();
    // Older rows than the context are ignored.
    let mut long = padded.clone();
    long.values = [vec![77.0; 5 * 2], padded.values.clone()].concat();
    // Not finite is absent.
    let mut infinite = short.clone();
    infinite.values[4] = f32::INFINITY;
    let mut gap = short.clone();
    gap.values[4] = f32::NAN;
    let f = model
        .predict(&[short, padded, long, infinite, gap])
        .unwrap();
    // A device may add up in another order where the batch has another row.
    close(&f[0], &f[1]);
    close(&f[0], &f[2]);
    close(&f[3], &f[4]);
    assert_ne!(f[0], f[4]);
}

#[track_caller]
fn close(a: &Forecast, b: &Forecast) {
    let all = |f: &Forecast| [f.p10.clone(), f.p50.clone(), f.p90.clone()].concat();
    for (x, y) in all(a).into_iter().zip(all(b)) {
        assert!((x - y).abs() <= 1e-5 * x.abs().max(1.0), "{x} and {y}");
    }
}

#[test]
fn poor_contexts_give_sound_forecasts() {
    let nothing = Context {
        values: vec![f32::NAN; 24 * 2],
        ..context("s1", 24)
    };
    let empty = Context {
        values: Vec::new(),
        ..context("s1", 24)
    };
    let constant = Context {
        values: vec![42.0; 24 * 2],
        ..context("s1", 24)
    };
    let absurd = Context {
        values: vec![f32::MAX; 24 * 2],
        profile: 99,
        ..context("s1", 24)
    };
    let mixed = Context {
        values: [0.0, f32::MAX].repeat(24),
        ..context("s1", 24)
    };
    check_sound(&trained().model, &[nothing, empty, constant, absurd, mixed]);
    check_sound(
        &trained().model,
        &(0..300)
            .map(|i| context(&format!("x{i}"), 1 + i % 24))
            .collect::<Vec<_>>(),
    );
    let ragged = Context {
        values: vec![1.0; 3],
        ..context("s1", 24)
    };
    assert!(matches!(
        trained().model.predict(&[ragged]),
        Err(PredictError::Rows { values: 3, .. })
    ));
    assert_eq!(trained().model.predict(&[]).unwrap(), vec![]);
}

#[test]
fn a_batch_forecasts_what_each_would_alone() {
    let model = &trained().model;
    let contexts: Vec<_> = (0..5).map(|i| context(&format!("s{i}"), 12 + i)).collect();
    let together = model.predict(&contexts).unwrap();
    for (one, expected) in contexts.iter().zip(together) {
        let alone = model.predict(std::slice::from_ref(one)).unwrap().remove(0);
        for (a, b) in alone.p90.iter().zip(&expected.p90) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn what_drove_a_forecast_sums_to_one() {
    let explanation = trained().model.explain(&context("s1", 24)).unwrap();
    assert_eq!(
        (explanation.variables.len(), explanation.attention.len()),
        (3, 6)
    );
    assert!((explanation.variables.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    let attention: f32 = explanation.attention.iter().sum();
    assert!(attention > 0.0 && attention < 1.0);
}

#[test]
fn too_little_data_says_how_much_is_needed() {
    for (servers, days) in [(1, 12), (4, 12), (6, 2), (0, 0)] {
        let error = train(&waves(servers, days), &quick()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, TrainError::TooLittle(_)), "{text}");
        assert!(
            text.contains("3 days") && text.contains("5 servers") && text.contains("180 rows"),
            "{text}"
        );
    }
    assert_eq!(Preset::Quick.rows_needed(288), 5 * 3 * 144);
}

#[test]
fn constant_absent_and_absurd_series_train() {
    let mut data = waves(6, 6);
    data.series[0].values.fill(7.0);
    for value in data.series[1].values.iter_mut().step_by(2) {
        *value = f32::NAN;
    }
    for (i, value) in data.series[2].values.iter_mut().enumerate() {
        *value = [f32::INFINITY, f32::MAX, f32::MIN, -1.0, f32::MIN_POSITIVE][i % 5];
    }
    data.series.push(Series {
        server: "empty".into(),
        ..Series::default()
    });
    data.series.push(Series {
        server: "null".into(),
        values: vec![f32::NAN; 300],
        ..Series::default()
    });
    let trained = train(&data, &quick()).unwrap();
    assert!(trained.info.final_val_loss.is_finite());
    check_sound(&trained.model, &[context("s1", 24)]);
    let mut all_null = waves(6, 6);
    all_null
        .series
        .iter_mut()
        .for_each(|s| s.values.fill(f32::NAN));
    assert!(matches!(
        train(&all_null, &quick()),
        Err(TrainError::TooLittle(_))
    ));
    let mut all_constant = waves(6, 6);
    all_constant
        .series
        .iter_mut()
        .for_each(|s| s.values.fill(3.0));
    let error = train(&all_constant, &quick()).unwrap_err();
    assert!(matches!(error, TrainError::TooLittle(_)), "{error}");
    let ragged = Series {
        values: vec![1.0; 3],
        ..waves(1, 3).series.remove(0)
    };
    assert!(matches!(
        train(
            &Dataset {
                series: vec![ragged]
            },
            &quick()
        ),
        Err(TrainError::Eval(_))
    ));
}

#[test]
fn a_loss_that_explodes_says_at_which_step() {
    let config = TrainConfig {
        learning_rate: 1e30,
        clip_norm: 1e30,
        ..quick()
    };
    let error = train(&waves(6, 12), &config).unwrap_err();
    assert!(
        matches!(error, TrainError::Diverged { step } if step > 1),
        "{error}"
    );
}

#[test]
fn limits_end_a_training_with_what_it_has() {
    let data = waves(6, 12);
    let config = TrainConfig {
        epochs: 1000,
        patience: 1000,
        max_seconds: Some(0.5),
        ..quick()
    };
    let limited = train(&data, &config).unwrap().info;
    assert_eq!(limited.stop, Stop::TimeLimit);
    assert!(limited.seconds < 5.0 && limited.final_val_loss.is_finite());
    let config = TrainConfig {
        epochs: 3,
        ..quick()
    };
    let mut seen = Vec::new();
    let cancelled = tft::train(&contract(), &data, &sizes(), &config, None, &mut |p| {
        seen.push(p.clone());
        if p.val_loss.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let cancelled = cancelled.unwrap().info;
    assert_eq!((cancelled.stop, cancelled.epochs), (Stop::Cancelled, 1));
    assert!(
        seen.windows(2)
            .all(|p| p[0].share <= p[1].share && p[0].step <= p[1].step)
    );
}

#[test]
fn training_goes_on_from_another_model() {
    let data = waves(6, 12);
    let before = trained();
    let resumed = tft::train(
        &contract(),
        &data,
        &sizes(),
        &quick(),
        Some(&before.model),
        &mut |_| ControlFlow::Continue(()),
    );
    let resumed = resumed.unwrap();
    assert!(resumed.info.final_train_loss < before.info.final_train_loss);
    let again = tft::val_loss(&resumed.model, &data, &resumed.info.validation).unwrap();
    assert!((again - resumed.info.final_val_loss).abs() < 1e-9);
    let earlier = tft::val_loss(&before.model, &data, &resumed.info.validation).unwrap();
    assert!((earlier - before.info.final_val_loss).abs() < 1e-9);
}

/// Where the validation part begins before the end, and how much of it was seen, in hours, of a training that goes on from weights which
/// saw the data until `unseen` hours before the end.
fn went_on(unseen: i64) -> (i64, f64) {
    const HOUR_MS: i64 = 3_600_000;
    let before = trained();
    let to_ms = before.info.validation.to_ms;
    let config = tft::TrainConfig {
        seen_until_ms: Some(to_ms - unseen * HOUR_MS),
        ..quick()
    };
    let go_on = ControlFlow::Continue(());
    let (data, start) = (waves(6, 12), Some(&before.model));
    let info = tft::train(&contract(), &data, &sizes(), &config, start, &mut |_| go_on)
        .unwrap()
        .info;
    assert_eq!(info.validation.to_ms, to_ms);
    let hours = (to_ms - info.validation.from_ms) / HOUR_MS;
    (hours, info.validation_seen_hours)
}

#[test]
fn what_validates_was_not_seen_by_the_weights_it_went_on_from() {
    // A fifth of twelve days are 57 hours.
    assert_eq!(went_on(100), (57, 0.0));
    assert_eq!(went_on(40), (40, 0.0));
    // A day at least, and then it says so.
    assert_eq!(went_on(10), (24, 14.0));
    assert_eq!(went_on(0), (24, 24.0));
}

#[test]
fn a_model_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&trained().model);
    let contexts = [context("s1", 24), context("s2", 20)];
    let expected = trained().model.predict(&contexts).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(trained().model.predict(&contexts).unwrap(), expected));
        }
    });
}
