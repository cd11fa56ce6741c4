//! Every kernel against the same formula in plain operations: values, and gradients of all inputs. The kernels run on the Rust CPU, the
//! plain operations on the device under test, which may be another.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::head::{ABOVE_MORE, BELOW_MORE, SHIFT};
use super::*;
use crate::config::{HEAD, RECENT};
use crate::device::tests::handle;
use crate::net::Random;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};

/// A random input on the Rust CPU, with a graph.
fn input<const D: usize>(shape: [usize; D], seed: u64, size: f32) -> Tensor<D> {
    let cpu = Device::flex();
    let plain = Random::new(seed, 0.0).weights(shape, 3, 3, &cpu).val();
    let sized = plain.mul_scalar(size).into_data();
    Tensor::from_data(sized, &cpu.autodiff()).require_grad()
}

/// The same input on the device under test, with a graph of its own.
fn moved<const D: usize>(input: &Tensor<D>) -> Tensor<D> {
    let data = input.clone().inner().into_data();
    Tensor::from_data(data, &handle().autodiff()).require_grad()
}

/// The numbers of a tensor.
fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.try_into_vec_as::<f32>().unwrap()
}

#[track_caller]
fn near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f - e).abs() <= 2e-5 * e.abs().max(1.0),
            "{what}: {f} instead of {e}"
        );
    }
}

#[track_caller]
fn close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    near(&numbers(found), &numbers(expected), what);
}

/// A weighted sum, so that every element of the result has another gradient.
fn weighted<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let shape = x.dims();
    let count: usize = shape.iter().product();
    let weights = (0..count)
        .map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0)
        .collect::<Vec<_>>();
    let weights = TensorData::new(weights, shape);
    let device = x.device().autodiff();
    x.mul(Tensor::from_data(weights, &device)).sum()
}

/// Compares results and gradients of `$inputs` between `$fused` and `$plain`, expressions of these inputs.
macro_rules! check {
    ([$($input:ident),+], $fused:expr, $plain:expr) => {{
        let fused = $fused;
        let gradients = weighted(fused.clone()).backward();
        let by_hand = [$(numbers($input.grad(&gradients).unwrap())),+];
        $(let $input = moved(&$input);)+
        let plain = $plain;
        assert_eq!(fused.dims(), plain.dims());
        near(&numbers(fused.inner()), &numbers(plain.clone().inner()), "result");
        let gradients = weighted(plain).backward();
        let by_graph = [$(numbers($input.grad(&gradients).unwrap())),+];
        let names = [$(stringify!($input)),+];
        for ((name, by_hand), by_graph) in names.into_iter().zip(&by_hand).zip(&by_graph) {
            near(by_hand, by_graph, name);
        }
    }};
}

#[test]
fn whatever_kind_comes_in_goes_out() {
    let half = |x: Tensor<2>| x.cast(FloatDType::BF16);
    let (x, scores) = (input([4, 15], 1, 2.0), input([4, 3], 2, 4.0));
    let (x, scores) = (moved(&x), moved(&scores));
    let found = weigh(half(x.clone()), half(scores.clone()));
    assert_eq!(found.dtype(), FloatDType::BF16.into());
    // Each number is off by 1/512 of itself at most; three of them are multiplied.
    let expected = weigh(x.clone(), scores).inner();
    let far = found.clone().inner().cast(FloatDType::F32).sub(expected);
    assert!(far.abs().max().into_scalar::<f32>() < 0.03);
    let gradients = weighted(found.cast(FloatDType::F32)).backward();
    assert_eq!(x.grad(&gradients).unwrap().dtype(), FloatDType::F32.into());
}

#[test]
fn gate_is_glu_skip_and_layer_norm() {
    for (rows, width) in [(1, 1), (5, 7), (600, 16)] {
        let (x, bias) = (input([rows, 2 * width], 1, 3.0), input([2 * width], 2, 1.0));
        let residual = input([rows, width], 3, 2.0);
        let (gamma, beta) = (input([width], 4, 1.0), input([width], 5, 1.0));
        check!(
            [x, bias, residual, gamma, beta],
            gate(
                x.clone(),
                bias.clone(),
                residual.clone(),
                gamma.clone(),
                beta.clone()
            ),
            plain::gate(
                x.clone(),
                bias.clone(),
                residual.clone(),
                gamma.clone(),
                beta.clone()
            )
        );
    }
}

#[test]
fn elu_shifts_and_turns() {
    for (outer, rows, width, period) in [(1, 6, 5, 3), (3, 520, 4, 1), (2, 8, 1, 8)] {
        let (x, shift) = (
            input([outer, rows, width], 1, 5.0),
            input([outer, period, width], 2, 1.0),
        );
        check!(
            [x, shift],
            elu(x.clone(), shift.clone()),
            plain::elu(x.clone(), shift.clone())
        );
    }
}

#[test]
fn elu_has_a_gradient_everywhere() {
    // burn's own takes `exp` of positive values too, whose overflow makes the gradient NaN.
    let x =
        Tensor::<3>::from_data([[[-200.0, -1.0, 1.0, 200.0]]], &handle().autodiff()).require_grad();
    let shift = Tensor::zeros([1, 1, 4], &handle());
    let expected = Tensor::from_data([[[0.0, (-1.0_f32).exp(), 1.0, 1.0]]], &handle());
    for operation in [elu, plain::elu] {
        let gradients = operation(x.clone(), shift.clone()).sum().backward();
        close(x.grad(&gradients).unwrap(), expected.clone(), "gradient");
    }
}

#[test]
fn weigh_is_softmax_times_embeddings() {
    for (rows, variables, width) in [(1, 1, 3), (4, 3, 5), (300, 15, 16)] {
        let (x, scores) = (
            input([rows, variables * width], 1, 2.0),
            input([rows, variables], 2, 4.0),
        );
        check!(
            [x, scores],
            weigh(x.clone(), scores.clone()),
            plain::weigh(x.clone(), scores.clone())
        );
    }
}

#[test]
fn mean_softmax_averages_the_heads() {
    let scores = input([3, 2, 4, 21], 1, 5.0);
    check!(
        [scores],
        mean_softmax(scores.clone()),
        plain::mean_softmax(scores.clone())
    );
}

#[test]
fn lstm_is_encoder_then_decoder() {
    for (batch, width, past, ahead) in [(1, 1, 1, 1), (3, 5, 4, 2), (70, 8, 3, 3)] {
        let (x, y) = (
            input([past * batch, 4 * width], 1, 2.0),
            input([ahead * batch, 4 * width], 2, 2.0),
        );
        let (enc, dec) = (
            input([width, 4 * width], 3, 1.0),
            input([width, 4 * width], 4, 1.0),
        );
        let (enc_bias, dec_bias) = (input([4 * width], 5, 1.0), input([4 * width], 6, 1.0));
        let (hidden, cell) = (input([batch, width], 7, 1.0), input([batch, width], 8, 2.0));
        let layer = |recurrent: &Tensor<2>, bias: &Tensor<1>| LstmWeights {
            recurrent: recurrent.clone(),
            bias: bias.clone(),
        };
        check!(
            [x, y, enc, dec, enc_bias, dec_bias, hidden, cell],
            lstm(
                x.clone(),
                y.clone(),
                layer(&enc, &enc_bias),
                layer(&dec, &dec_bias),
                hidden.clone(),
                cell.clone()
            ),
            plain::lstm(
                x.clone(),
                y.clone(),
                layer(&enc, &enc_bias),
                layer(&dec, &dec_bias),
                hidden.clone(),
                cell.clone()
            )
        );
    }
}

const HEAD_SIZES: [usize; 4] = [2, 3, 5, 4];

/// Inputs of a head for 2 metrics, 3 tokens, 5 samples and blocks of 4, with gaps among the targets.
fn head_inputs() -> HeadInputs {
    let [metrics, tokens, batch, block] = HEAD_SIZES;
    let values = |count: usize, seed: u64, size: f32| numbers(input([count], seed, size).inner());
    let points = metrics * tokens * batch * block;
    let weight: Vec<f32> = (0..points)
        .map(|i| {
            if i % 7 == 0 {
                0.0
            } else {
                1.0 + (i % 3) as f32
            }
        })
        .collect();
    let mut anchors = values(3 * metrics * batch, 1, 1.0);
    anchors[..2 * metrics * batch]
        .iter_mut()
        .for_each(|v| *v = v.abs());
    let (recent, target) = (values(RECENT * points, 2, 2.0), values(points, 3, 3.0));
    HeadInputs {
        metrics,
        tokens,
        batch,
        block,
        anchors,
        recent,
        target,
        total: weight.iter().sum(),
        weight,
    }
}

#[test]
fn head_is_the_formulas_and_the_masked_pinball_loss() {
    let [metrics, tokens, batch, block] = HEAD_SIZES;
    let numbers = input([metrics, tokens * batch, HEAD * block], 4, 3.0);
    let inputs = head_inputs();
    let quantiles = head_quantiles(&self::numbers(numbers.clone().inner()), &inputs);
    let plain = plain::quantiles(&moved(&numbers), &inputs);
    let expected = Tensor::stack::<5>(plain.to_vec(), 0).inner();
    assert_eq!(expected.dims(), [3, metrics, tokens, batch, block]);
    near(&quantiles, &self::numbers(expected), "quantiles");
    check!(
        [numbers],
        head_loss(numbers.clone(), inputs.clone()),
        plain::head_loss(&numbers, inputs.clone())
    );
}

#[test]
fn pinball_by_hand() {
    // P10, P50, P90 of three steps; the numbers that give them with all anchors 0: a shift twice the median, halved by a gate of 0,
    // and additive widths.
    let quantiles: [[f32; 3]; 3] = [[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 5.0]];
    let inverse = |width: f32| (width.exp() - 1.0).ln();
    let mut numbers = vec![0.0; HEAD * 3];
    for (i, [low, mid, high]) in quantiles.into_iter().enumerate() {
        numbers[SHIFT * 3 + i] = 2.0 * mid;
        numbers[BELOW_MORE * 3 + i] = inverse(mid - low);
        numbers[ABOVE_MORE * 3 + i] = inverse(high - mid);
    }
    let inputs = HeadInputs {
        metrics: 1,
        tokens: 1,
        batch: 1,
        block: 3,
        anchors: vec![0.0; 3],
        recent: vec![0.0; RECENT * 3],
        target: vec![4.0, 99.0, 0.5],
        weight: vec![1.0, 0.0, 2.0],
        total: 3.0,
    };
    // First: 4 lies above all of 1, 2, 3. Second: masked. Third: 0.5 lies above 0 and below 1 and 5, weight 2.
    let a = f32::asinh;
    let first = 0.1 * (a(4.0) - a(1.0)) + 0.5 * (a(4.0) - a(2.0)) + 0.9 * (a(4.0) - a(3.0));
    let third = 0.1 * a(0.5) + 0.5 * (a(1.0) - a(0.5)) + 0.1 * (a(5.0) - a(0.5));
    let numbers = Tensor::from_data(TensorData::new(numbers, [1, 1, HEAD * 3]), &handle());
    let expected = Tensor::from_data([(first + 2.0 * third) / 3.0 / 3.0], &handle());
    let plain = plain::head_loss(&numbers, inputs.clone());
    close(plain, expected.clone(), "plain loss");
    close(head_loss(numbers, inputs), expected, "loss");
}
