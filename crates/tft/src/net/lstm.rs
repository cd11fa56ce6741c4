//! One LSTM layer (Hochreiter and Schmidhuber, 1997; gates in the order input, forget, candidate, output).

use super::random::Random;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device, Tensor, TensorData};

/// A layer of width `d`; its forget gate starts open.
#[derive(Module, Debug)]
pub(crate) struct Lstm {
    input: Linear,
    /// `[d, 4 d]`
    recurrent: Param<Tensor<2>>,
}

/// Hidden and cell state, each `[batch, d]`.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) hidden: Tensor<2>,
    pub(crate) cell: Tensor<2>,
}

impl Lstm {
    pub(crate) fn new(width: usize, random: &mut Random, device: &Device) -> Self {
        let mut bias = vec![0.0; 4 * width];
        bias[width..2 * width].fill(1.0);
        Self {
            input: Linear {
                weight: random.weights([width, 4 * width], width, width, device),
                bias: Some(Param::from_data(TensorData::new(bias, [4 * width]), device)),
            },
            recurrent: random.weights([width, 4 * width], width, width, device),
        }
    }

    /// `x`: `[tokens × batch, d]` → the hidden states `[tokens × batch, d]` and the last state.
    pub(crate) fn forward(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let [rows, _] = x.dims();
        let [batch, width] = state.hidden.dims();
        let State {
            mut hidden,
            mut cell,
        } = state;
        let mut outputs = Vec::with_capacity(rows / batch);
        for step in 0..rows / batch {
            let now = x.clone().narrow(0, step * batch, batch);
            let gates = self
                .input
                .forward(now)
                .add(hidden.matmul(self.recurrent.val()));
            let gate = |k: usize| gates.clone().narrow(1, k * width, width);
            cell = sigmoid(gate(1))
                .mul(cell)
                .add(sigmoid(gate(0)).mul(tanh(gate(2))));
            hidden = sigmoid(gate(3)).mul(tanh(cell.clone()));
            outputs.push(hidden.clone());
        }
        (Tensor::cat(outputs, 0), State { hidden, cell })
    }
}

/// A layer of constant weights.
#[cfg(test)]
pub(crate) fn of_constants(
    width: usize,
    input: f32,
    recurrent: f32,
    bias: f32,
    device: &Device,
) -> Lstm {
    use super::random::constant;
    Lstm {
        input: Linear {
            weight: constant([width, 4 * width], input, device),
            bias: Some(constant([4 * width], bias, device)),
        },
        recurrent: constant([width, 4 * width], recurrent, device),
    }
}
