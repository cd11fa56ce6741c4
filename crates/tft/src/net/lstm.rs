//! LSTM encoder and decoder (Hochreiter and Schmidhuber, 1997; gates in the order input, forget, candidate, output).

use super::random::Random;
use crate::fused::{self, LstmWeights};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

/// A layer of width `d`; its forget gate starts open.
#[derive(Module, Debug)]
pub(crate) struct Lstm {
    /// `[d, 4 d]`
    pub(super) input: Param<Tensor<2>>,
    /// `[d, 4 d]`
    pub(super) recurrent: Param<Tensor<2>>,
    /// `[4 d]`
    pub(super) bias: Param<Tensor<1>>,
}

impl Lstm {
    pub(crate) fn new(width: usize, random: &mut Random, device: &Device) -> Self {
        let mut bias = vec![0.0; 4 * width];
        bias[width..2 * width].fill(1.0);
        Self {
            input: random.weights([width, 4 * width], width, width, device),
            recurrent: random.weights([width, 4 * width], width, width, device),
            bias: Param::from_data(TensorData::new(bias, [4 * width]), device),
        }
    }

    fn weights(&self) -> LstmWeights {
        LstmWeights {
            recurrent: self.recurrent.val(),
            bias: self.bias.val(),
        }
    }
}

/// Runs `encoder` over `past` and from its last state `decoder` over `future`, both `[tokens × batch, d]`; `hidden` and
/// `cell`, `[batch, d]`, are what it starts from → hidden states of all tokens.
pub(crate) fn encode_decode(
    [encoder, decoder]: [&Lstm; 2],
    [past, future]: [Tensor<2>; 2],
    hidden: Tensor<2>,
    cell: Tensor<2>,
) -> Tensor<2> {
    let past = past.matmul(encoder.input.val());
    let future = future.matmul(decoder.input.val());
    fused::lstm(
        past,
        future,
        encoder.weights(),
        decoder.weights(),
        hidden,
        cell,
    )
}
