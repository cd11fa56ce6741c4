//! The network against theory: hand-computed cases, invariants, gradients.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::attention::Attention;
use super::head::Head;
use super::lstm::{Lstm, encode_decode};
use super::random::{Random, constant};
use super::{Inputs, Network};
use crate::batch::{Assembler, Batch, Source};
use crate::config::{HEAD, Parts, RECENT, Shape, TftConfig};
use crate::data::{Columns, Series};
use crate::device::tests::handle;
use crate::fused::{HeadInputs, head_loss, head_quantiles};
use crate::scale::Normalisation;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

/// A small network: a day of 24 steps, three metrics.
pub(crate) fn small() -> Shape {
    let config = TftConfig {
        patch: 4,
        block: 4,
        hidden: 8,
        variable: 4,
        selection: 4,
        heads: 2,
        dropout: 0.0,
        id_buckets: 8,
        id_dropout: 0.3,
        parts: Parts::default(),
    };
    let shape = Shape {
        config,
        metrics: 3,
        context: 24,
        horizon: 8,
        day: 24,
        hour: 1,
        profiles: 2,
        states: 2,
    };
    shape.check().unwrap();
    shape
}

fn assembler(shape: Shape) -> Assembler {
    let m = shape.metrics;
    Assembler {
        shape,
        normalisation: Normalisation {
            floor: vec![0.1; m],
            spread: vec![5.0; m],
            centre: vec![0.0; m],
            widths: vec![[1.0; 2]; m],
        },
        step_ms: 3_600_000,
        time_zone: chrono_tz::UTC,
        known: vec![contract::server_id("a")],
    }
}

/// A batch with gaps of a made-up series.
fn batch(shape: Shape, size: usize) -> Batch {
    let mut random = 1_u64;
    let values = (0..60 * shape.metrics)
        .map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let value = (random >> 40) as f32 / 1e6;
            if random >> 60 == 0 { f32::NAN } else { value }
        })
        .collect();
    let states = Some((0..60).map(|i| i % 3).collect());
    let series = Series {
        server: "a".into(),
        profile: 1,
        start_ms: 0,
        values,
        states,
    };
    let columns = Columns::of(&series, shape.metrics).unwrap();
    let windows: Vec<_> = (0..size)
        .map(|i| Source::Columns {
            columns: &columns,
            issue: 20 + 3 * i,
        })
        .collect();
    assembler(shape).assemble(&windows, true, |_| false)
}

#[track_caller]
fn close<const D: usize>(found: Tensor<D>, expected: &[f32]) {
    let found = found.try_into_vec_as::<f32>().unwrap();
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f - e).abs() <= 1e-5 * e.abs().max(1.0),
            "{found:?} instead of {expected:?}"
        );
    }
}

#[test]
fn lstm_of_width_one_by_hand() {
    // All four gates have the same pre-activation s = 0.5 x + 0.25 h + 0.1; the decoder's input weight is 0.3.
    let device = handle();
    let layer = |input: f32| Lstm {
        input: constant([1, 4], input, &device),
        recurrent: constant([1, 4], 0.25, &device),
        bias: constant([4], 0.1, &device),
    };
    let sigmoid = |s: f32| 1.0 / (1.0 + (-s).exp());
    let (mut h, mut c) = (0.2_f32, 0.4_f32);
    let mut expected = Vec::new();
    for (x, weight) in [(1.0, 0.5), (-2.0, 0.5), (3.0, 0.3)] {
        let s: f32 = weight * x + 0.25 * h + 0.1;
        c = sigmoid(s) * c + sigmoid(s) * s.tanh();
        h = sigmoid(s) * c.tanh();
        expected.push(h);
    }
    let inputs = [
        Tensor::from_data([[1.0], [-2.0]], &device),
        Tensor::from_data([[3.0]], &device),
    ];
    let start = |value: f32| Tensor::from_data([[value]], &device);
    close(
        encode_decode([&layer(0.5), &layer(0.3)], inputs, start(0.2), start(0.4)),
        &expected,
    );
}

#[test]
fn attention_of_equal_keys_is_the_mean_of_the_values() {
    let device = handle();
    let attention = Attention::new(4, 2, &mut Random::new(3, 0.0), &device);
    // All tokens that answer are equal, so every weight is 1/3 and each asker hears the one value.
    let one = Tensor::<2>::from_data([[0.3, -0.1, 0.7, 0.2]], &device);
    let all = one.clone().repeat(&[3, 1]);
    let asking = Tensor::<2>::from_data([[1.0, 2.0, 3.0, 4.0], [-1.0, 0.0, 0.5, 0.0]], &device);
    let (heard, weights) = attention.forward(asking, all, 1);
    close(weights, &[1.0 / 3.0; 6]);
    let (alone, _) = attention.forward(one.clone(), one, 1);
    let alone = alone.try_into_vec_as::<f32>().unwrap();
    close(heard, &[alone.clone(), alone].concat());
}

/// The quantiles of a head, `[3][metric, token, sample, step]`.
fn quantiles(
    numbers: Tensor<3>,
    anchors: Vec<f32>,
    recent: Vec<f32>,
    batch: usize,
) -> [Vec<f32>; 3] {
    let shape = small();
    let inputs = HeadInputs {
        metrics: shape.metrics,
        tokens: shape.future(),
        batch,
        block: shape.config.block,
        anchors,
        recent,
        target: Vec::new(),
        weight: Vec::new(),
        total: 0.0,
    };
    let all = head_quantiles(&numbers.try_into_vec_as::<f32>().unwrap(), &inputs);
    let plane = all.len() / 3;
    [0, 1, 2].map(|k| all[k * plane..(k + 1) * plane].to_vec())
}

#[test]
fn a_new_head_gives_nearly_the_quantiles_of_the_last_day() {
    let (shape, device) = (small(), handle());
    let head = Head::new(&shape, &mut Random::new(1, 0.0), &device);
    let zeros = |rows| Tensor::<3>::zeros([3, rows, 4], &device);
    let numbers = head.forward(Tensor::zeros([2, 8], &device), zeros(2), zeros(1));
    // P50 − P10 = 2, P90 − P50 = 3, last value and all recent ones at P50.
    let anchors = [[2.0; 3], [3.0; 3], [0.0; 3]].concat();
    let [low, mid, high] = quantiles(numbers, anchors, vec![0.0; RECENT * 24], 1);
    for ((low, mid), high) in low.iter().zip(&mid).zip(&high) {
        assert!(
            (low + 2.0).abs() < 0.03 && mid.abs() < 1e-6 && (high - 3.0).abs() < 0.03,
            "{low} {mid} {high}"
        );
    }
}

#[test]
fn quantiles_never_cross_whatever_the_weights() {
    let (shape, device) = (small(), handle());
    for seed in 0..5 {
        let batch = batch(shape, 4);
        let head = Head::new(&shape, &mut Random::new(seed, 0.0), &device);
        let inputs = |size: [usize; 3], seed: u64, far: f32| {
            Random::new(seed, 0.0)
                .weights(size, 1, 1, &device)
                .val()
                .mul_scalar(far)
        };
        let token = inputs([1, 8, 8], seed, 3000.0).reshape([8, 8]);
        let numbers = head.forward(
            token,
            inputs([3, 8, 4], seed + 9, 500.0),
            inputs([3, 4, 4], seed, 500.0),
        );
        let [low, mid, high] = quantiles(numbers, batch.anchors, batch.recent, 4);
        assert!(
            low.iter().zip(&mid).all(|(a, b)| a <= b) && mid.iter().zip(&high).all(|(a, b)| a <= b)
        );
        assert!(high.iter().any(|v| *v > 100.0));
    }
}

#[test]
fn shapes_fit_and_weights_sum_to_one() {
    let (shape, device) = (small(), handle());
    let network = Network::new(&shape, 1, &device);
    let mut b = batch(shape, 5);
    let output = network.forward(Inputs::new(&mut b, &shape, &device).0, None);
    assert_eq!(output.numbers.dims(), [3, 10, 4 * HEAD]);
    assert_eq!(output.scores.dims(), [30, 4]);
    assert_eq!(output.attention.dims(), [5, 2, 8]);
    close(output.attention.sum_dim(2), &[1.0; 10]);
}

/// Loss of a batch, and its gradients.
fn backward(network: &Network, shape: Shape, random: Option<&mut Random>) -> (f32, Gradients) {
    let device = handle();
    let mut b = batch(shape, 6);
    let (inputs, head) = Inputs::new(&mut b, &shape, &device);
    let loss = head_loss(network.forward(inputs, random).numbers, head);
    (loss.clone().into_scalar(), loss.backward())
}

#[test]
fn gradients_reach_every_weight() {
    struct Reached<'a> {
        gradients: &'a Gradients,
        path: Vec<String>,
        silent: Vec<String>,
    }
    impl ModuleVisitor for Reached<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.gradients);
            let size = gradient.map_or(0.0, |g| g.abs().sum().into_scalar::<f32>());
            if !(size > 0.0 && size.is_finite()) {
                self.silent.push(self.path.join("."));
            }
        }
    }
    let shape = small();
    let network = Network::new(&shape, 1, &handle()).train();
    let (loss, gradients) = backward(&network, shape, Some(&mut Random::new(1, 0.0)));
    assert!(loss > 0.0 && loss.is_finite());
    let mut reached = Reached {
        gradients: &gradients,
        path: Vec::new(),
        silent: Vec::new(),
    };
    network.visit(&mut reached);
    // A bias of the keys adds the same to all scores of a token, which softmax takes away again.
    reached.silent.retain(|name| name != "attention.key.bias");
    assert_eq!(reached.silent, Vec::<String>::new());
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    // Every weight a little further along its gradient: the loss grows by step × |gradient|².
    struct Along<'a> {
        gradients: &'a Gradients,
        step: f32,
        squared: f32,
    }
    impl burn::module::ModuleMapper for Along<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(gradient) = param.val().grad(self.gradients) else {
                return param;
            };
            self.squared += gradient.clone().square().sum().into_scalar::<f32>();
            let moved = param.val().inner().add(gradient.mul_scalar(self.step));
            Param::from_data(moved.into_data(), &handle().autodiff())
        }
    }
    let shape = small();
    let network = Network::new(&shape, 7, &handle()).train();
    let (_, gradients) = backward(&network, shape, None);
    let at = |step: f32| {
        let mut along = Along {
            gradients: &gradients,
            step,
            squared: 0.0,
        };
        let moved = network.clone().map(&mut along);
        (backward(&moved, shape, None).0, along.squared)
    };
    let step = 2e-3;
    let ((up, squared), (down, _)) = (at(step), at(-step));
    let (slope, expected) = ((up - down) / (2.0 * step), squared);
    assert!(
        (slope - expected).abs() < 0.03 * expected,
        "{slope} instead of {expected}"
    );
}

#[test]
fn dropout_keeps_the_mean_and_repeats_with_its_seed() {
    let device = handle();
    let ones = || Tensor::<2>::ones([100, 100], &device);
    let first = Random::new(5, 0.25).drop(ones());
    let mean = first.clone().mean().into_scalar::<f32>();
    assert!((mean - 1.0).abs() < 0.03, "{mean}");
    let again = Random::new(5, 0.25).drop(ones());
    assert_eq!(first.sub(again).abs().max().into_scalar::<f32>(), 0.0);
}
