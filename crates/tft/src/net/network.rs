//! The whole network, from assembled inputs to quantiles.

use super::attention::Attention;
use super::gate::{Gate, Grn};
use super::head::Head;
use super::lstm::{Lstm, encode_decode};
use super::random::{Random, dropped};
use super::select::{Selection, SelectionSizes};
use crate::batch::Batch;
use crate::config::{Parts, STATIC_FEATURES, Shape};
use crate::fused::{self, HeadInputs};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};

/// Weights of the network.
#[derive(Module, Debug)]
pub(crate) struct Network {
    statics: Selection,
    past: Selection,
    future: Selection,
    /// `[profiles, hidden]` and `[id_buckets, hidden]`
    profile: Param<Tensor<2>>,
    identity: Param<Tensor<2>>,
    past_context: Linear,
    future_context: Linear,
    hidden_context: Linear,
    cell_context: Linear,
    enrich_context: Linear,
    encoder: Lstm,
    decoder: Lstm,
    after_lstm: Gate,
    enrich: Grn,
    attention: Attention,
    after_attention: Gate,
    feed: Grn,
    last: Gate,
    head: Head,
}

/// A batch on a device; shapes as in [`Batch`].
pub(crate) struct Inputs {
    batch: usize,
    parts: Parts,
    past: Tensor<3>,
    future: Tensor<3>,
    statics: Tensor<3>,
    profile: Tensor<2>,
    identity: Tensor<2>,
}

/// What the network gives.
pub(crate) struct Output {
    /// `[metrics, H × batch, HEAD × block]`: what [`fused::head_quantiles`] and [`fused::head_loss`] take
    pub(crate) numbers: Tensor<3>,
    /// `[T × batch, variables]`: their softmax are the weights of the variables
    pub(crate) scores: Tensor<2>,
    /// `[batch, H, T + H]`
    pub(crate) attention: Tensor<3>,
}

impl Inputs {
    /// The same in numbers of another kind, that of the weights.
    pub(crate) fn cast(self, kind: FloatDType) -> Self {
        Self {
            past: self.past.cast(kind),
            future: self.future.cast(kind),
            statics: self.statics.cast(kind),
            profile: self.profile.cast(kind),
            identity: self.identity.cast(kind),
            ..self
        }
    }

    /// Moves the arrays of `batch` to `device`, leaving them empty; what the head starts from stays on the host.
    pub(crate) fn new(batch: &mut Batch, shape: &Shape, device: &Device) -> (Self, HeadInputs) {
        let (n, v, m) = (batch.size, shape.variables(), shape.metrics);
        let rows = shape.future() * n;
        let inputs = Self {
            batch: n,
            parts: shape.config.parts,
            past: tensor(
                &mut batch.past,
                [v, shape.past() * n, shape.past_features()],
                device,
            ),
            future: tensor(
                &mut batch.future,
                [v, rows, shape.future_features()],
                device,
            ),
            statics: tensor(&mut batch.statics, [m, n, STATIC_FEATURES], device),
            profile: tensor(&mut batch.profile, [n, shape.profiles], device),
            identity: tensor(&mut batch.identity, [n, shape.config.id_buckets], device),
        };
        let head = HeadInputs {
            metrics: m,
            tokens: shape.future(),
            batch: n,
            block: shape.config.block,
            anchors: std::mem::take(&mut batch.anchors),
            recent: std::mem::take(&mut batch.recent),
            target: std::mem::take(&mut batch.target),
            weight: std::mem::take(&mut batch.weight),
            total: batch.total,
        };
        (inputs, head)
    }
}

/// Moves `values` into a tensor, leaving an empty vector.
fn tensor<const D: usize>(values: &mut Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(std::mem::take(values), shape), device)
}

impl Network {
    /// First weights for `shape` from `seed`.
    pub(crate) fn new(shape: &Shape, seed: u64, device: &Device) -> Self {
        let (c, random) = (&shape.config, &mut Random::new(seed, 0.0));
        let d = c.hidden;
        let sizes = |variables, features| SelectionSizes {
            variables,
            features,
            embedding: c.variable,
            hidden: c.selection,
            output: d,
        };
        Self {
            statics: Selection::new(sizes(shape.metrics, STATIC_FEATURES), random, device),
            past: Selection::new(
                sizes(shape.variables(), shape.past_features()),
                random,
                device,
            ),
            future: Selection::new(
                sizes(shape.variables(), shape.future_features()),
                random,
                device,
            ),
            profile: random.weights([shape.profiles, d], d, d, device),
            identity: random.weights([c.id_buckets, d], d, d, device),
            past_context: random.linear(d, c.selection, device),
            future_context: random.linear(d, c.selection, device),
            hidden_context: random.linear(d, d, device),
            cell_context: random.linear(d, d, device),
            enrich_context: random.linear(d, d, device),
            encoder: Lstm::new(d, random, device),
            decoder: Lstm::new(d, random, device),
            after_lstm: Gate::new(d, d, random, device),
            enrich: Grn::new(d, random, device),
            attention: Attention::new(d, c.heads, random, device),
            after_attention: Gate::new(d, d, random, device),
            feed: Grn::new(d, random, device),
            last: Gate::new(d, d, random, device),
            head: Head::new(shape, random, device),
        }
    }

    /// Where the weights are.
    pub(crate) fn device(&self) -> Device {
        self.profile.val().device()
    }

    /// The head's numbers for a batch; with `random`, as in training.
    pub(crate) fn forward(&self, inputs: Inputs, mut random: Option<&mut Random>) -> Output {
        let random = &mut random;
        let (n, parts) = (inputs.batch, inputs.parts);
        let select = parts.selection;
        let statics = self.statics.forward(inputs.statics, None, random, select);
        let identity = inputs
            .profile
            .matmul(self.profile.val())
            .add(inputs.identity.matmul(self.identity.val()));
        let [_, d] = identity.dims();
        let whole = fused::elu(statics.token.unsqueeze_dim(0), identity.reshape([1, n, d]));

        let past = self.past.forward(
            inputs.past,
            Some(self.past_context.forward(whole.clone())),
            random,
            select,
        );
        let future = self.future.forward(
            inputs.future,
            Some(self.future_context.forward(whole.clone())),
            random,
            select,
        );

        let tokens = Tensor::cat(vec![past.token.clone(), future.token.clone()], 0);
        let locals = if parts.lstm {
            let hidden = tanh(self.hidden_context.forward(whole.clone()));
            let cell = self.cell_context.forward(whole.clone());
            let layers = [&self.encoder, &self.decoder];
            let seen = encode_decode(layers, [past.token, future.token], hidden, cell);
            self.after_lstm.forward(dropped(seen, random), tokens)
        } else {
            tokens
        };

        let context = self.enrich_context.forward(whole);
        let all = self.enrich.forward(locals.clone(), Some(context), random);
        let [rows, _] = all.dims();
        let [horizon_rows, _, _] = future.embeddings.dims();
        let horizon = |x: Tensor<2>| x.narrow(0, rows - horizon_rows, horizon_rows);
        let asking = horizon(all.clone());
        let (heard, attention) = self.attention.forward(asking.clone(), all, n);
        let heard = self.after_attention.forward(dropped(heard, random), asking);
        let out = self.feed.forward(heard, None, random);
        let out = self.last.forward(out, horizon(locals));

        let [_, metrics, _] = statics.embeddings.dims();
        let yesterday = future.embeddings.narrow(1, 0, metrics).permute([1, 0, 2]);
        let summary = statics.embeddings.permute([1, 0, 2]);
        let numbers = self.head.forward(out, yesterday, summary);
        Output {
            numbers,
            scores: past.scores,
            attention,
        }
    }
}
