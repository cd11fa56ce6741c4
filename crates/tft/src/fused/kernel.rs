//! The way between a kernel on slices and burn's graph.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{Device, Tensor, TensorData};

/// Whether kernels can run on `device`: they read and write the CPU's memory.
pub(super) fn runs_on(device: &Device) -> bool {
    device.clone().without_autodiff() == Device::flex()
}

/// A tensor of the CPU backend.
pub(super) type Raw = FloatTensor<Flex>;
type Graph = FloatTensor<Autodiff<Flex>>;

/// An operation on `N` tensors with one result.
pub(super) trait Kernel<const N: usize>: Clone + Send + std::fmt::Debug + 'static {
    /// What the backward pass needs.
    type Saved: Clone + Send + std::fmt::Debug + 'static;

    /// Result, and what the backward pass needs; inputs are contiguous.
    fn forward(&self, inputs: [Raw; N]) -> (Raw, Self::Saved);

    /// Gradients of the inputs from that of the result, which is contiguous.
    fn backward(&self, saved: Self::Saved, gradient: Raw) -> [Raw; N];
}

/// An input, on a device with or without a graph.
pub(super) enum Input {
    Plain(Raw),
    Graph(Graph),
}

impl Input {
    pub(super) fn of<const D: usize>(tensor: Tensor<D>) -> Self {
        if tensor.is_autodiff() {
            match tensor.try_into_primitive::<Autodiff<Flex>>() {
                Ok(graph) => Input::Graph(graph),
                Err(other) => unreachable!("tensor of another device: {other:?}"),
            }
        } else {
            match tensor.try_into_primitive::<Flex>() {
                Ok(plain) => Input::Plain(plain),
                Err(other) => unreachable!("tensor of another device: {other:?}"),
            }
        }
    }
}

#[derive(Debug)]
struct Step<K>(K);

impl<K: Kernel<N>, const N: usize> Backward<Flex, N> for Step<K> {
    type State = K::Saved;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let inputs = self.0.backward(ops.state, gradient);
        for (parent, gradient) in ops.parents.into_iter().zip(inputs) {
            if let Some(parent) = parent {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// Runs `kernel`, and records it where an input is part of a graph.
pub(super) fn run<K: Kernel<N>, const N: usize, const D: usize>(
    kernel: K,
    inputs: [Input; N],
) -> Tensor<D> {
    if inputs.iter().all(|input| matches!(input, Input::Plain(_))) {
        let raw = inputs.map(|input| match input {
            Input::Plain(raw) => raw.to_contiguous(),
            Input::Graph(graph) => graph.into_primitive().to_contiguous(),
        });
        return Tensor::from_primitive::<Flex>(kernel.forward(raw).0);
    }
    let graphs = inputs.map(|input| match input {
        Input::Plain(raw) => Graph::new(raw),
        Input::Graph(graph) => graph,
    });
    let nodes = graphs.each_ref().map(Graph::node);
    let (output, saved) =
        kernel.forward(graphs.map(|graph| graph.into_primitive().to_contiguous()));
    let output = match Step(kernel)
        .prepare::<NoCheckpointing>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prepared) => prepared.finish(saved, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    };
    Tensor::from_primitive::<Autodiff<Flex>>(output)
}

/// A tensor of `values`.
pub(super) fn raw(values: Vec<f32>, shape: impl Into<Vec<usize>>) -> Raw {
    Raw::from_data(TensorData::new(values, shape.into()))
}

/// The values of a contiguous tensor.
pub(super) fn values(raw: &Raw) -> &[f32] {
    raw.as_slice::<f32>().unwrap_or_default()
}

/// Its shape.
pub(super) fn dims<const D: usize>(raw: &Raw) -> [usize; D] {
    raw.layout().shape().dims()
}
