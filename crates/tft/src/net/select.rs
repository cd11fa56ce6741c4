//! Embedding and selection of variables (arXiv:1912.09363, section 4.2).
//!
//! Each variable has its own small network; all of them are one batched product over stacked weights. What a token
//! becomes is the sum over variables of weight × projection of the embedding, which is one product too.
//! The weights are given back: they say what drove a forecast. Their scores are bounded, so that no variable weighs more than e² times
//! another: without a bound the softmax saturates within an epoch, one variable takes all, and the others no longer learn.

use super::gate::Hidden;
use super::random::{Random, constant, dropped};
use crate::fused;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Tensor};

/// Selection among `variables` variables.
#[derive(Module, Debug)]
pub(crate) struct Selection {
    /// `[variables, features, embedding]`
    embed: Param<Tensor<3>>,
    /// `[variables, 1, embedding]`
    embed_bias: Param<Tensor<3>>,
    hidden: Hidden,
    scores: Linear,
    project: Linear,
}

/// Widths of a selection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SelectionSizes {
    pub(crate) variables: usize,
    pub(crate) features: usize,
    pub(crate) embedding: usize,
    pub(crate) hidden: usize,
    pub(crate) output: usize,
}

/// What a selection gives.
pub(crate) struct Selected {
    /// `[rows, output]`
    pub(crate) token: Tensor<2>,
    /// `[rows, variables]`: their softmax are the weights of the variables
    pub(crate) scores: Tensor<2>,
    /// `[rows, variables, embedding]`
    pub(crate) embeddings: Tensor<3>,
}

impl Selection {
    pub(crate) fn new(sizes: SelectionSizes, random: &mut Random, device: &Device) -> Self {
        let SelectionSizes {
            variables,
            features,
            embedding,
            hidden,
            output,
        } = sizes;
        let flat = variables * embedding;
        Self {
            embed: random.weights(
                [variables, features, embedding],
                features,
                embedding,
                device,
            ),
            embed_bias: constant([variables, 1, embedding], 0.0, device),
            hidden: Hidden::new(flat, hidden, random, device),
            scores: random.linear(hidden, variables, device),
            // The weights of the variables sum to 1, so each one's part is as wide as if it were alone.
            project: Linear {
                weight: random.weights([flat, output], embedding, output, device),
                bias: Some(constant([output], 0.0, device)),
            },
        }
    }

    /// `x`: `[variables, tokens × batch, features]`; `context`: `[batch, hidden]`. Unless `select`, all variables weigh the same.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        context: Option<Tensor<2>>,
        random: &mut Option<&mut Random>,
        select: bool,
    ) -> Selected {
        let [variables, rows, _] = x.dims();
        let flat = fused::elu(x.matmul(self.embed.val()), self.embed_bias.val());
        let [_, width] = flat.dims();
        let hidden = self.hidden.forward(flat.clone(), context);
        let scores = tanh(self.scores.forward(dropped(hidden, random)));
        let scores = if select {
            scores
        } else {
            scores.mul_scalar(0.0)
        };
        let token = self
            .project
            .forward(fused::weigh(flat.clone(), scores.clone()));
        Selected {
            token,
            scores,
            embeddings: flat.reshape([rows, variables, width / variables]),
        }
    }
}
