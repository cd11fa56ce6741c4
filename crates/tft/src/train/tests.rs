//! The engine from the inside: going on, summing passes, full memory, and losses that explode.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::faults::{ROOM, SPOILED};
use super::plan::Plan;
use super::support::{contract, quick, sizes, waves};
use super::*;
use crate::config::TftConfig;
use crate::domain::Domain;
use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Sizes without anything random in a step.
pub(super) fn exact() -> TftConfig {
    TftConfig {
        dropout: 0.0,
        id_dropout: 0.0,
        ..sizes()
    }
}

pub(super) fn fresh(tft: &TftConfig, config: &TrainConfig) -> Result<Trained, TrainError> {
    let data = waves(6, 12);
    let go_on = &mut |_: &Progress| ControlFlow::Continue(());
    super::train(&contract(), &data, tft, config, None, go_on)
}

/// Trains with a checkpoint after each step; breaks off where `until` says so.
pub(super) fn watched(
    config: &TrainConfig,
    start: Start<'_>,
    until: impl Fn(&Progress) -> bool,
) -> (Result<Trained, TrainError>, Vec<Vec<u8>>) {
    let mut kept = Vec::new();
    let mut keep = |bytes: &[u8]| kept.push(bytes.to_vec());
    let mut progress = |p: &Progress| match until(p) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let mut hooks = Hooks {
        progress: &mut progress,
        checkpoints: Some(Checkpoints {
            every_seconds: 0.0,
            keep: &mut keep,
        }),
    };
    let trained = train_from(
        &contract(),
        &waves(6, 12),
        &sizes(),
        config,
        start,
        &mut hooks,
    );
    (trained, kept)
}

/// Everything but the clock.
fn told(info: &TrainingInfo) -> Vec<[f64; 4]> {
    let epoch = |e: &EpochInfo| [e.epoch as f64, e.train_loss, e.val_loss, e.learning_rate];
    info.history.iter().map(epoch).collect()
}

fn three_epochs() -> TrainConfig {
    TrainConfig {
        epochs: 3,
        refresh: true,
        ..quick()
    }
}

#[test]
fn a_refresh_moves_the_served_weights_and_no_figure() {
    let whole = fresh(&sizes(), &three_epochs()).unwrap();
    let config = TrainConfig {
        refresh: false,
        ..three_epochs()
    };
    let without = fresh(&sizes(), &config).unwrap();
    assert!(whole.info.refreshed && !without.info.refreshed);
    assert_eq!(told(&whole.info), told(&without.info));
    assert_eq!(whole.info.report.pooled, without.info.report.pooled);
    let saved = |model: &Model| model.save().unwrap();
    assert!(saved(&whole.judged) == saved(&without.model));
    assert!(saved(&without.judged) == saved(&without.model));
    assert!(saved(&whole.model) != saved(&whole.judged));
}

#[test]
fn going_on_from_any_step_ends_at_the_same_bytes() {
    let config = three_epochs();
    let (whole, kept) = watched(&config, Start::Fresh, |_| false);
    let whole = whole.unwrap();
    // Watching alone changes nothing.
    let alone = fresh(&sizes(), &config).unwrap();
    assert!(alone.model.save().unwrap() == whole.model.save().unwrap());
    assert!(kept.len() > 12, "{}", kept.len());
    // In the first epoch, around its end, later, in the refresh, and when all was done but the last word.
    for at in [
        0,
        kept.len() / 4 - 1,
        kept.len() / 4,
        kept.len() / 2,
        kept.len() * 7 / 8,
        kept.len() - 1,
    ] {
        let (again, _) = watched(&config, Start::Checkpoint(&kept[at]), |_| false);
        let again = again.unwrap();
        assert!(
            again.model.save().unwrap() == whole.model.save().unwrap(),
            "{at}"
        );
        assert!(again.optimiser == whole.optimiser, "{at}");
        assert_eq!(told(&again.info), told(&whole.info), "{at}");
        assert_eq!(again.info.final_val_loss, whole.info.final_val_loss);
        assert_eq!(again.info.samples_processed, whole.info.samples_processed);
        assert_eq!(again.info.stop, whole.info.stop);
    }
}

#[test]
fn a_stop_leaves_a_checkpoint_of_the_last_step() {
    let config = three_epochs();
    let whole = fresh(&sizes(), &config).unwrap();
    let (stopped, kept) = watched(&config, Start::Fresh, |p| p.step >= 10);
    assert!(
        matches!(stopped, Err(TrainError::Paused { step: 10, .. })),
        "{stopped:?}"
    );
    let last = kept.last().unwrap();
    let (again, _) = watched(&config, Start::Checkpoint(last), |_| false);
    let again = again.unwrap();
    assert!(again.model.save().unwrap() == whole.model.save().unwrap());
    assert_eq!(told(&again.info), told(&whole.info));
}

#[test]
fn a_pause_is_no_time_of_the_training_and_changes_nothing() {
    const PAUSE: Duration = Duration::from_millis(400);
    let whole = fresh(&sizes(), &three_epochs()).unwrap();
    let (begun, calls) = (Instant::now(), Cell::new(0_u32));
    let (paused, _) = watched(&three_epochs(), Start::Fresh, |_| {
        calls.set(calls.get() + 1);
        std::thread::sleep(PAUSE);
        false
    });
    let (all, paused) = (begun.elapsed(), paused.unwrap());
    assert!(calls.get() >= 3, "{}", calls.get());
    let of_pauses = PAUSE * calls.get();
    let most = (all - of_pauses).as_secs_f64();
    assert!(
        paused.info.seconds <= most,
        "{} s of {most} s beside {of_pauses:?}",
        paused.info.seconds
    );
    assert!(paused.model.save().unwrap() == whole.model.save().unwrap());
}

#[track_caller]
fn check_refused(config: &TrainConfig, bytes: &[u8], words: &str) {
    let (refused, _) = watched(config, Start::Checkpoint(bytes), |_| false);
    let said = refused.unwrap_err().to_string();
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let config = quick();
    let (_, kept) = watched(&config, Start::Fresh, |_| false);
    let bytes = kept.first().unwrap();
    check_refused(
        &config,
        &bytes[..bytes.len() - 1],
        "not a whole safetensors file",
    );
    check_refused(&config, b"", "not a whole safetensors file");
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    check_refused(&config, &changed, "checksum");
    let other = TrainConfig {
        batch: 32,
        ..config.clone()
    };
    check_refused(&other, bytes, "other settings");
    let model = fresh(&sizes(), &config).unwrap().model;
    check_refused(&config, &model.save().unwrap(), "metadata key");
    let mut hooks = Hooks {
        progress: &mut |_| ControlFlow::Continue(()),
        checkpoints: None,
    };
    let start = Start::Checkpoint(bytes);
    let data = waves(7, 12);
    let refused = train_from(&contract(), &data, &sizes(), &config, start, &mut hooks);
    assert!(refused.unwrap_err().to_string().contains("other data"));
    // A limit on time may be raised.
    let longer = TrainConfig {
        max_seconds: None,
        ..config
    };
    assert!(
        watched(&longer, Start::Checkpoint(bytes), |_| false)
            .0
            .is_ok()
    );
}

#[test]
fn a_model_is_gone_on_with_from_its_optimisers_state() {
    let first = fresh(&sizes(), &quick()).unwrap();
    let go_on = |optimiser| {
        let model = &first.model;
        let start = Start::Model { model, optimiser };
        watched(&quick(), start, |_| false).0
    };
    let with = go_on(Some(&first.optimiser)).unwrap();
    let without = go_on(None).unwrap();
    assert!(with.model.save().unwrap() != without.model.save().unwrap());
    assert!(with.info.history[0].train_loss < first.info.history[0].train_loss);
    assert!(with.info.final_val_loss < first.info.final_val_loss);
    let damaged = &first.optimiser[..first.optimiser.len() - 3];
    assert!(matches!(go_on(Some(damaged)), Err(TrainError::Resume(_))));
    let start = Start::Model {
        model: &first.model,
        optimiser: None,
    };
    let mut hooks = Hooks {
        progress: &mut |_| ControlFlow::Continue(()),
        checkpoints: None,
    };
    let wider = TftConfig {
        hidden: 32,
        ..sizes()
    };
    let refused = train_from(
        &contract(),
        &waves(6, 12),
        &wider,
        &quick(),
        start,
        &mut hooks,
    );
    assert!(refused.unwrap_err().to_string().contains("other sizes"));
}

/// Forecast quality and loss of two trainings that differ only in how a step is cut into passes.
#[track_caller]
pub(super) fn check_close(a: &Trained, b: &Trained) {
    let near = |a: f64, b: f64| (a - b).abs() <= 2e-3 * a.abs().max(1e-3);
    for (x, y) in a.info.history.iter().zip(&b.info.history) {
        assert!(near(x.train_loss, y.train_loss), "{x:?} {y:?}");
        assert!(near(x.val_loss, y.val_loss), "{x:?} {y:?}");
    }
    assert_eq!(a.info.samples_processed, b.info.samples_processed);
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let large = quick();
    let small = TrainConfig {
        batch: 16,
        accumulate: 4,
        ..quick()
    };
    let (a, b) = (
        fresh(&exact(), &large).unwrap(),
        fresh(&exact(), &small).unwrap(),
    );
    check_close(&a, &b);
    let not = TrainConfig {
        batch: 16,
        ..quick()
    };
    let c = fresh(&exact(), &not).unwrap();
    assert!((a.info.final_val_loss - c.info.final_val_loss).abs() > 2e-3 * a.info.final_val_loss);
}

#[test]
fn full_memory_halves_the_batch_and_not_the_step() {
    let undisturbed = fresh(&exact(), &quick()).unwrap();
    ROOM.set(20);
    let halved = fresh(&exact(), &quick());
    ROOM.set(0);
    let nothing = fresh(&exact(), &quick());
    ROOM.set(usize::MAX);
    let halved = halved.unwrap();
    assert_eq!((undisturbed.info.batch, halved.info.batch), (64, 16));
    check_close(&undisturbed, &halved);
    let Err(TrainError::OutOfMemory { said }) = nothing else {
        panic!("trained without memory");
    };
    assert!(said.contains("CUDA out of memory"), "{said}");
}

#[test]
fn a_loss_that_is_not_finite_keeps_the_last_good_weights() {
    let spoiled_at = |step| {
        SPOILED.set(Some(step));
        let trained = fresh(&sizes(), &three_epochs());
        SPOILED.set(None);
        trained
    };
    let whole = fresh(&sizes(), &three_epochs()).unwrap();
    let steps = whole.info.samples_processed.div_ceil(64) / 3;
    // In the second epoch the best of the first stays.
    let second = spoiled_at(steps + 2).unwrap();
    let one = fresh(&sizes(), &quick());
    assert_eq!(second.info.stop, Stop::LossNotFinite(steps + 2));
    assert_eq!(second.info.history.len(), 1);
    assert_eq!(
        second.info.history[0].val_loss,
        whole.info.history[0].val_loss
    );
    assert!(one.is_ok());
    // In the first, the weights of the step before, where they are worth something.
    let first = spoiled_at(steps - 1).unwrap();
    assert_eq!(first.info.stop, Stop::LossNotFinite(steps - 1));
    assert!(first.info.final_val_loss < 2.0);
    // At the very first there is nothing to keep.
    let none = spoiled_at(1).unwrap_err();
    assert_eq!(none, TrainError::Diverged { step: 1 });
}

#[test]
fn recent_data_weigh_two_to_one() {
    let (contract, data, config) = (contract(), waves(6, 60), quick());
    let domain = Domain::of(&contract);
    let columns = crate::eval::columns(&domain, &data).unwrap();
    let plan = Plan::new(&columns, &domain, &config).unwrap();
    let middle_ms = plan.from_ms.midpoint(plan.border_ms);
    let (mut older, mut recent) = (0_u32, 0_u32);
    for epoch in 1..=20 {
        for (series, issue) in plan.epoch(&columns, domain.step_ms, &config, epoch) {
            let at_ms = columns[series].start_ms + domain.step_ms * issue as i64;
            *(if at_ms < middle_ms {
                &mut older
            } else {
                &mut recent
            }) += 1;
        }
    }
    let ratio = f64::from(recent) / f64::from(older);
    assert!((1.85..2.15).contains(&ratio), "{recent} / {older}");
}

#[test]
fn every_figure_of_a_training_is_told() {
    let info = serde_json::to_value(fresh(&sizes(), &quick()).unwrap().info).unwrap();
    for field in [
        "epochs",
        "data_hours",
        "num_servers",
        "final_train_loss",
        "final_val_loss",
        "quantile_loss",
        "training_time_hours",
        "model_parameters",
        "convergence",
        "early_stopping",
        "validation_samples",
        "mean_absolute_error",
        "mean_squared_error",
        "samples_per_second",
        "seconds",
        "seed",
        "contract",
    ] {
        assert!(!info[field].is_null(), "{field} in {info}");
    }
    let epoch = info["history"][0].as_object().unwrap();
    for field in [
        "epoch",
        "train_loss",
        "val_loss",
        "learning_rate",
        "time_seconds",
        "gpu_memory_mb",
        "samples_processed",
        "samples_per_second",
    ] {
        assert!(epoch.contains_key(field), "{field} in {epoch:?}");
    }
    for metric in info["report"]["metrics"].as_object().unwrap().values() {
        for field in ["wql", "mae", "coverage", "naive"] {
            assert!(!metric[field].is_null(), "{field} in {metric}");
        }
    }
}

#[test]
fn presets_are_what_they_promise() {
    let config = |preset: Preset| preset.config();
    assert_eq!(Preset::named("incremental"), Some(Preset::Incremental));
    assert_eq!(
        (config(Preset::Quick).epochs, config(Preset::Quick).days),
        (1, 7.0)
    );
    assert_eq!(
        (
            config(Preset::Production).epochs,
            config(Preset::Production).days
        ),
        (20, 30.0)
    );
    assert_eq!((config(Preset::Incremental).epochs, DRIFT_EPOCHS), (1, 5));
    for preset in Preset::ALL {
        assert_eq!(config(preset).max_seconds, Some(14_400.0), "{preset:?}");
        assert_eq!(Preset::named(preset.as_str()), Some(preset));
    }
}
