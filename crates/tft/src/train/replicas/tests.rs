//! Several devices against one: gradients of a step, whole trainings, full memory, and going on.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::batch::Assembler;
use crate::config::TftConfig;
use crate::device::Device;
use crate::devices::Devices;
use crate::domain::Domain;
use crate::eval;
use crate::train::feed::Feed;
use crate::train::objective::Objective;
use crate::train::plan::Plan;
use crate::train::support::{contract, device, quick, sizes, waves};
use crate::train::tests::{check_close, exact, fresh, watched};
use crate::train::{Start, TrainConfig, TrainError};
use burn::module::{ModuleVisitor, Param};
use burn::tensor::Tensor;

/// The device of the tests, so many times.
fn times(count: usize) -> Devices {
    vec![device().to_string(); count].join(",").parse().unwrap()
}

fn on(count: usize, config: TrainConfig) -> TrainConfig {
    TrainConfig {
        devices: times(count),
        ..config
    }
}

/// The passes of the first step of a training, `per_pass` windows each.
fn passes(tft: &TftConfig, per_pass: usize) -> (Shape, Vec<Batch>) {
    let (domain, config) = (Domain::of(&contract()), quick());
    let shape = Shape::of(*tft, &domain).unwrap();
    let columns = eval::columns(&domain, &waves(6, 12)).unwrap();
    let windows =
        Plan::new(&columns, &domain, &config)
            .unwrap()
            .epoch(&columns, domain.step_ms, &config, 1);
    let assembler = Assembler {
        shape,
        normalisation: eval::units(&columns, shape.metrics),
        step_ms: domain.step_ms,
        time_zone: domain.time_zone,
        known: columns.iter().map(|c| c.id).collect(),
    };
    let feed = Feed {
        assembler: &assembler,
        objective: &Objective::learn(&columns, &windows, &domain),
        columns: &columns,
        windows: &windows[..50],
        per_step: 50,
        per_pass,
        first: 0,
        seed: 1,
    };
    let step = std::thread::scope(|scope| feed.start(scope).recv().unwrap());
    (shape, step.passes)
}

/// Loss and every gradient of one step on `count` devices.
fn gradients(count: usize, tft: &TftConfig, per_pass: usize) -> (f32, Vec<f32>) {
    gradients_on(&times(count), Precision::F32, tft, per_pass)
}

fn gradients_on(
    devices: &Devices,
    precision: Precision,
    tft: &TftConfig,
    per_pass: usize,
) -> (f32, Vec<f32>) {
    struct Read<'a>(&'a GradientsParams, Vec<f32>);
    impl ModuleVisitor for Read<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id).unwrap();
            self.1.extend(gradient.try_into_vec_as::<f32>().unwrap());
        }
    }
    let (shape, passes) = passes(tft, per_pass);
    let (first, others) = devices.open().unwrap();
    let network = Network::new(&shape, 3, &first).train();
    let replicas = Replicas::new(shape, precision, &first, &others);
    let (loss, gradients) = replicas.gradients(&network, passes, 7).unwrap();
    let mut read = Read(&gradients, Vec::new());
    network.visit(&mut read);
    (loss, read.1)
}

/// Two losses, and two gradients as shares of the largest.
#[track_caller]
fn check_within(
    tolerance: f32,
    (loss, found): &(f32, Vec<f32>),
    (expected_loss, expected): &(f32, Vec<f32>),
) {
    assert!((loss - expected_loss).abs() <= tolerance * expected_loss.abs());
    let largest = expected.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
    assert!(largest > 0.0);
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= tolerance * largest, "{f} instead of {e}");
    }
}

#[track_caller]
fn check_same(found: &(f32, Vec<f32>), expected: &(f32, Vec<f32>)) {
    check_within(1e-5, found, expected);
}

#[test]
fn the_gradients_of_a_step_are_those_of_one_device() {
    let whole = gradients(1, &exact(), 50);
    // Whole shares, one that is smaller, one device with two passes, more devices than passes.
    for (count, per_pass) in [(2, 25), (3, 17), (2, 17), (4, 25)] {
        check_same(&gradients(count, &exact(), per_pass), &whole);
    }
    // What is dropped follows from how a step is cut, not from who does it.
    let cut = gradients(1, &sizes(), 13);
    for count in [2, 3, 4] {
        check_same(&gradients(count, &sizes(), 13), &cut);
    }
}

#[test]
fn every_device_gives_the_gradients_of_the_first_and_together_with_it() {
    let on = |devices: &Devices| gradients_on(devices, Precision::F32, &exact(), 25);
    let first = Device::available()[0];
    let expected = on(&first.into());
    for other in Device::available() {
        check_within(1e-4, &on(&other.into()), &expected);
        let both = format!("{first},{other}").parse().unwrap();
        check_within(1e-4, &on(&both), &expected);
    }
}

#[test]
fn several_devices_train_as_one() {
    let one = fresh(&exact(), &quick()).unwrap();
    for count in [2, 3] {
        let several = fresh(&exact(), &on(count, quick())).unwrap();
        check_close(&one, &several);
        assert_eq!(several.info.batch, 64_usize.div_ceil(count));
        assert_eq!(several.info.config.devices.count(), count);
    }
    let accumulated = TrainConfig {
        batch: 16,
        accumulate: 4,
        ..quick()
    };
    check_close(&one, &fresh(&exact(), &on(2, accumulated)).unwrap());
}

#[test]
fn two_devices_are_two_accumulated_batches_to_the_bit() {
    let halves = TrainConfig {
        batch: 32,
        accumulate: 2,
        ..quick()
    };
    let (one, two) = (
        fresh(&sizes(), &halves).unwrap(),
        fresh(&sizes(), &on(2, quick())).unwrap(),
    );
    assert!(one.model.save().unwrap() == two.model.save().unwrap());
    assert!(one.optimiser == two.optimiser);
}

#[test]
fn full_memory_of_any_device_halves_the_batch_of_all() {
    let undisturbed = fresh(&exact(), &on(2, quick())).unwrap();
    faults::ROOM.set(20);
    let halved = fresh(&exact(), &on(2, quick()));
    faults::ROOM.set(0);
    let nothing = fresh(&exact(), &on(2, quick()));
    faults::ROOM.set(usize::MAX);
    let halved = halved.unwrap();
    assert_eq!((undisturbed.info.batch, halved.info.batch), (32, 16));
    check_close(&undisturbed, &halved);
    assert!(matches!(nothing, Err(TrainError::OutOfMemory { .. })));
}

#[test]
fn a_device_whose_memory_is_full_leaves_nothing_behind() {
    let (first, others) = times(2).open().unwrap();
    let (shape, _) = passes(&exact(), 25);
    let network = Network::new(&shape, 3, &first).train();
    let replicas = Replicas::new(shape, Precision::F32, &first, &others);
    let step = |windows| replicas.gradients(&network, passes(&exact(), windows).1, 7);
    let (expected, _) = step(25).unwrap();
    // Passes of 26 and 24 windows: room for neither, and for that of the second device alone.
    for room in [0, 25] {
        faults::ROOM.set(room);
        assert!(step(26).unwrap_err().contains("out of memory"));
        faults::ROOM.set(usize::MAX);
        assert_eq!(step(25).unwrap().0, expected);
    }
}

#[test]
fn a_checkpoint_goes_on_on_the_same_devices_only() {
    let config = on(
        2,
        TrainConfig {
            epochs: 2,
            ..quick()
        },
    );
    let (whole, kept) = watched(&config, Start::Fresh, |_| false);
    let whole = whole.unwrap();
    let (again, _) = watched(&config, Start::Checkpoint(&kept[kept.len() / 2]), |_| false);
    let again = again.unwrap();
    assert!(again.model.save().unwrap() == whole.model.save().unwrap());
    assert!(again.optimiser == whole.optimiser);
    let (refused, _) = watched(&on(1, config), Start::Checkpoint(&kept[0]), |_| false);
    let (one, two) = (times(1).resolve().unwrap(), times(2).resolve().unwrap());
    let said = refused.unwrap_err().to_string();
    assert!(
        said.contains(&format!(
            "a training on {two}, now {one}: go on with --device {two}"
        )),
        "{said}"
    );
}

#[test]
fn gradients_in_bf16_point_where_those_in_f32_do() {
    let (loss, single) = gradients(1, &exact(), 25);
    let half = gradients_on(&times(1), Precision::Bf16, &exact(), 25);
    check_same(
        &gradients_on(&times(2), Precision::Bf16, &exact(), 25),
        &half,
    );
    // A number of bf16 is off by 1/256 at most, and so is each of a few in a row.
    assert!(
        (half.0 - loss).abs() <= 0.02 * loss,
        "{} instead of {loss}",
        half.0
    );
    assert!(half.1 != single, "nothing was computed in bf16");
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum() };
    let (ours, theirs) = (dot(&half.1, &half.1).sqrt(), dot(&single, &single).sqrt());
    let cosine = dot(&half.1, &single) / (ours * theirs);
    assert!(cosine > 0.99, "{cosine}");
    assert!((ours / theirs - 1.0).abs() < 0.05, "{ours} {theirs}");
}

#[test]
fn a_training_in_bf16_keeps_its_weights_in_f32() {
    let in_bf16 = |config: TrainConfig| TrainConfig {
        precision: Precision::Bf16,
        ..config
    };
    let single = fresh(&exact(), &quick()).unwrap();
    let half = fresh(&exact(), &in_bf16(quick())).unwrap();
    assert_eq!(half.info.config.precision, Precision::Bf16);
    let (loss, expected) = (half.info.final_val_loss, single.info.final_val_loss);
    assert!(
        (loss - expected).abs() <= 0.05 * expected,
        "{loss} instead of {expected}"
    );
    let mut tensors = crate::weights::Tensors::new();
    crate::weights::read(&half.model.network, "", &mut tensors);
    let low_bits = |bytes: &[u8]| bytes.chunks_exact(4).any(|b| b[..2] != [0, 0]);
    assert!(tensors.values().any(|(_, _, bytes)| low_bits(bytes)));
    // Going on is exact, as in f32.
    let config = in_bf16(on(2, quick()));
    let (whole, kept) = watched(&config, Start::Fresh, |_| false);
    let (again, _) = watched(&config, Start::Checkpoint(&kept[kept.len() / 2]), |_| false);
    assert!(again.unwrap().model.save().unwrap() == whole.unwrap().model.save().unwrap());
}
