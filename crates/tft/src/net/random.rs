//! First weights and dropout masks from a seeded generator.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded source of weights and masks.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    rng: ChaCha8Rng,
    dropout: f32,
}

impl Random {
    /// A source for `seed`; masks drop the share `dropout`.
    pub(crate) fn new(seed: u64, dropout: f32) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            dropout,
        }
    }

    /// Uniform weights with the variance of Glorot and Bengio (2010) for `inputs` and `outputs`.
    pub(crate) fn weights<const D: usize>(
        &mut self,
        shape: [usize; D],
        inputs: usize,
        outputs: usize,
        device: &Device,
    ) -> Param<Tensor<D>> {
        let bound = (6.0 / (inputs + outputs) as f32).sqrt();
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| self.rng.random_range(-bound..bound))
            .collect();
        Param::from_data(TensorData::new(values, shape), device)
    }

    /// A layer with a zero bias.
    pub(crate) fn linear(&mut self, inputs: usize, outputs: usize, device: &Device) -> Linear {
        Linear {
            weight: self.weights([inputs, outputs], inputs, outputs, device),
            bias: Some(constant([outputs], 0.0, device)),
        }
    }

    /// Drops values at random and enlarges the others, so that the mean stays.
    pub(crate) fn drop<const D: usize>(&mut self, x: Tensor<D>) -> Tensor<D> {
        if self.dropout <= 0.0 {
            return x;
        }
        let shape: [usize; D] = x.dims();
        let count: usize = shape.iter().product();
        // Eight bits decide: 1/256 is fine enough for a dropout share, and a draw serves eight values.
        let limit = (self.dropout * 256.0).round().min(255.0) as u8;
        let keep = 256.0 / (256.0 - f32::from(limit));
        let mut mask = vec![0.0_f32; count];
        for chunk in mask.chunks_mut(8) {
            let bits = self.rng.random::<u64>().to_le_bytes();
            for (slot, bit) in chunk.iter_mut().zip(bits) {
                *slot = if bit >= limit { keep } else { 0.0 };
            }
        }
        let device = x.device().without_autodiff();
        let mask: Tensor<D> = Tensor::from_data(TensorData::new(mask, shape), &device);
        let kind = x.dtype();
        x.mul(mask.cast(kind))
    }
}

/// Drops values where training hands in a generator.
pub(crate) fn dropped<const D: usize>(x: Tensor<D>, random: &mut Option<&mut Random>) -> Tensor<D> {
    match random {
        Some(random) => random.drop(x),
        None => x,
    }
}

/// Weights that start at one value.
pub(crate) fn constant<const D: usize>(
    shape: [usize; D],
    value: f32,
    device: &Device,
) -> Param<Tensor<D>> {
    let count = shape.iter().product();
    Param::from_data(TensorData::new(vec![value; count], shape), device)
}
