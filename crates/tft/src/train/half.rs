//! Weights in bf16 and gradients back in f32, for passes that compute in bf16.

use crate::net::Network;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{FloatDType, Tensor};

/// A copy of the weights in bf16, with a graph of its own and the same names of parameters.
pub(crate) fn halved(network: &Network) -> Network {
    struct Halve;
    impl ModuleMapper for Halve {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, weights, mapper) = param.consume();
            let half = Tensor::from_inner(weights.inner().cast(FloatDType::BF16));
            Param::from_mapped_value(id, half.require_grad(), mapper)
        }
    }
    network.clone().map(&mut Halve)
}

/// The gradients of `network`'s weights in f32.
pub(crate) fn widened(network: &Network, mut gradients: GradientsParams) -> GradientsParams {
    struct Widen<'a>(&'a mut GradientsParams);
    impl ModuleVisitor for Widen<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, gradient.cast(FloatDType::F32));
            }
        }
    }
    network.visit(&mut Widen(&mut gradients));
    gradients
}
