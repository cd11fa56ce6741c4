//! AdamW (Loshchilov and Hutter, 2019, algorithm 2), with moments that can be stored and read again by the weights' names, and the
//! running mean of the weights (Polyak and Juditsky, 1992; decayed as in Adam, section 7.2), which is what is judged and served: single
//! steps are noise, their mean is calmer and forecasts servers better that were not trained on.
//!
//! Not burn's own: its state is keyed by numbers that each process draws anew, so that a state could not be laid beside a model.

use super::TrainError;
use crate::net::Network;
use crate::weights::{self, Tensors};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

/// Decay of the mean of gradients.
const BETA_1: f32 = 0.9;
/// Decay of the mean of their squares.
const BETA_2: f32 = 0.999;
/// Decay of the mean of the weights: it looks back over some 200 steps. Early on over a tenth of the steps done.
const BETA_MEAN: f32 = 0.995;
/// Keeps a step finite where a gradient was always 0.
const EPSILON: f32 = 1e-8;

/// What AdamW remembers.
pub(crate) struct Adam {
    weight_decay: f32,
    /// Steps done: the moments' bias is corrected by it.
    steps: u64,
    first: GradientsParams,
    second: GradientsParams,
    /// Mean of the weights.
    mean: GradientsParams,
}

/// The moments on the host, by name; no tensor where no step was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moments {
    pub(crate) steps: u64,
    pub(crate) tensors: Tensors,
}

impl Adam {
    pub(crate) fn new(weight_decay: f32) -> Self {
        Self {
            weight_decay,
            steps: 0,
            first: GradientsParams::new(),
            second: GradientsParams::new(),
            mean: GradientsParams::new(),
        }
    }

    /// One step of all weights that have a gradient.
    pub(crate) fn step(
        &mut self,
        rate: f64,
        network: Network,
        gradients: GradientsParams,
    ) -> Network {
        self.steps += 1;
        let time = i32::try_from(self.steps).unwrap_or(i32::MAX);
        network.map(&mut Step {
            decay: (1.0 - rate * f64::from(self.weight_decay)) as f32,
            rate: rate as f32,
            bias_1: 1.0 - BETA_1.powi(time),
            bias_2: 1.0 - BETA_2.powi(time),
            kept: BETA_MEAN.min((1.0 + time as f32) / (10.0 + time as f32)),
            adam: self,
            gradients,
        })
    }

    /// `network` with the mean of its weights; as it is where no step was made.
    pub(crate) fn mean(&self, network: &Network) -> Network {
        network.clone().map(&mut Mean(&self.mean))
    }

    /// The moments as they are now, for the weights of `network`.
    pub(crate) fn moments(&self, network: &Network) -> Moments {
        let mut tensors = Tensors::new();
        let kinds = [
            ("first", &self.first),
            ("second", &self.second),
            ("mean", &self.mean),
        ];
        for (kind, store) in kinds {
            network.visit(&mut Save {
                store,
                path: vec![kind.to_owned()],
                tensors: &mut tensors,
            });
        }
        let steps = self.steps;
        Moments { steps, tensors }
    }

    /// Goes on from `moments`, which belong to the weights of `network`.
    ///
    /// # Errors
    /// When one is of another shape or not finite.
    pub(crate) fn restore(
        &mut self,
        network: &Network,
        mut moments: Moments,
    ) -> Result<(), TrainError> {
        self.steps = moments.steps;
        let kinds = [
            ("first", &mut self.first),
            ("second", &mut self.second),
            ("mean", &mut self.mean),
        ];
        for (kind, store) in kinds {
            *store = GradientsParams::new();
            let mut load = Load {
                store,
                path: vec![kind.to_owned()],
                tensors: &mut moments.tensors,
                fault: None,
            };
            network.visit(&mut load);
            if let Some(fault) = load.fault {
                return Err(TrainError::Resume(format!(
                    "state of the optimiser: {fault}"
                )));
            }
        }
        Ok(())
    }
}

struct Step<'a> {
    adam: &'a mut Adam,
    gradients: GradientsParams,
    decay: f32,
    rate: f32,
    bias_1: f32,
    bias_2: f32,
    /// Decay of the mean of the weights at this step.
    kept: f32,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, weights, mapper) = param.consume();
        let Some(gradient) = self.gradients.remove::<D>(id) else {
            return Param::from_mapped_value(id, weights, mapper);
        };
        let mean = |before: Option<Tensor<D>>, now: Tensor<D>, beta: f32| {
            let now = now.mul_scalar(1.0 - beta);
            before.map_or(now.clone(), |before| before.mul_scalar(beta).add(now))
        };
        let first = mean(self.adam.first.remove(id), gradient.clone(), BETA_1);
        let second = mean(self.adam.second.remove(id), gradient.square(), BETA_2);
        self.adam.first.register(id, first.clone());
        self.adam.second.register(id, second.clone());
        let height = second.div_scalar(self.bias_2).sqrt().add_scalar(EPSILON);
        let change = first.div_scalar(self.bias_1).div(height);
        let weights = weights.inner().mul_scalar(self.decay);
        let weights = weights.sub(change.mul_scalar(self.rate));
        let before = self.adam.mean.remove(id).unwrap_or(weights.clone());
        self.adam
            .mean
            .register(id, mean(Some(before), weights.clone(), self.kept));
        Param::from_mapped_value(id, Tensor::from_inner(weights).require_grad(), mapper)
    }
}

struct Mean<'a>(&'a GradientsParams);

impl ModuleMapper for Mean<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, weights, mapper) = param.consume();
        let mean = self.0.get::<D>(id);
        let weights = mean.map_or(weights, |mean| Tensor::from_inner(mean).require_grad());
        Param::from_mapped_value(id, weights, mapper)
    }
}

struct Save<'a> {
    store: &'a GradientsParams,
    path: Vec<String>,
    tensors: &'a mut Tensors,
}

impl ModuleVisitor for Save<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(moment) = self.store.get::<D>(param.id) {
            let name = self.path.join(".");
            self.tensors.insert(name, weights::stored(moment));
        }
    }
}

struct Load<'a> {
    store: &'a mut GradientsParams,
    path: Vec<String>,
    tensors: &'a mut Tensors,
    fault: Option<String>,
}

impl ModuleVisitor for Load<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        if !self.tensors.contains_key(&name) {
            // No step has given this weight a gradient yet.
            return;
        }
        let value = param.val().inner();
        let shape = value.dims();
        match weights::take(self.tensors, &name, &shape) {
            Ok(values) => {
                let data = TensorData::new(values, shape);
                let moment = Tensor::from_data(data, &value.device());
                self.store.register::<D>(param.id, moment);
            }
            Err(fault) => {
                self.fault.get_or_insert(fault);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Shape;
    use crate::device::tests::handle;
    use crate::domain::Domain;
    use crate::train::support;
    use burn::optim::AdamWConfig;

    fn network() -> Network {
        let shape = Shape::of(support::sizes(), &Domain::of(&support::contract())).unwrap();
        Network::new(&shape, 3, &handle()).train()
    }

    /// Gradients that differ from weight to weight and step to step.
    fn gradients(network: &Network, step: usize) -> GradientsParams {
        struct Make(GradientsParams, usize);
        impl ModuleVisitor for Make {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let shape = param.val().dims();
                let count = shape.iter().product::<usize>();
                let value = |i: usize| ((i * 7 + self.1 * 13) % 11) as f32 / 5.0 - 1.0;
                let values: Vec<f32> = (0..count).map(value).collect();
                let data = TensorData::new(values, shape);
                let gradient = Tensor::from_data(data, &handle());
                self.0.register::<D>(param.id, gradient);
            }
        }
        let mut make = Make(GradientsParams::new(), step);
        network.visit(&mut make);
        make.0
    }

    fn numbers(network: &Network) -> Tensors {
        let mut tensors = Tensors::new();
        weights::read(&network.valid(), "", &mut tensors);
        tensors
    }

    #[test]
    fn steps_as_the_reference_does() {
        let (mut ours, mut reference) = (network(), network());
        let mut adam = Adam::new(0.05);
        let config = AdamWConfig::new()
            .with_epsilon(EPSILON)
            .with_weight_decay(0.05);
        let mut burns = config.init();
        for step in 0..20 {
            let gradients_of = |n: &Network| gradients(n, step);
            let (mine, theirs) = (gradients_of(&ours), gradients_of(&reference));
            ours = adam.step(0.01, ours, mine);
            reference = burns.step(0.01, reference, theirs);
        }
        let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
        let (ours, reference) = (numbers(&ours), numbers(&reference));
        for (name, (_, _, bytes)) in &ours {
            for (a, b) in bytes.chunks_exact(4).zip(reference[name].2.chunks_exact(4)) {
                let (a, b) = (float(a), float(b));
                assert!((a - b).abs() <= 1e-6, "{name}: {a} {b}");
            }
        }
        assert_ne!(ours, numbers(&network()));
    }

    #[test]
    fn the_mean_of_the_weights_by_hand() {
        let mut network = network();
        let mut adam = Adam::new(0.0);
        let bias = |network: &Network| {
            let all = numbers(network);
            let (_, (_, _, bytes)) = all
                .iter()
                .find(|(n, _)| n.ends_with("encoder.bias"))
                .unwrap();
            f32::from_le_bytes(bytes[..4].try_into().unwrap())
        };
        assert_eq!(numbers(&adam.mean(&network)), numbers(&network));
        // One step: itself. Then 3/12 of the mean stays, then 4/13.
        let mut expected = 0.0;
        for (step, kept) in [0.0, 3.0 / 12.0, 4.0 / 13.0].into_iter().enumerate() {
            let g = gradients(&network, step);
            network = adam.step(0.01, network, g);
            expected = expected * kept + bias(&network) * (1.0 - kept);
            let found = bias(&adam.mean(&network));
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert!((bias(&network) - expected).abs() > 1e-4);
    }

    #[test]
    fn moments_restored_elsewhere_go_on_to_the_same_weights() {
        let mut adam = Adam::new(0.01);
        let mut here = network();
        for step in 0..3 {
            let g = gradients(&here, step);
            here = adam.step(0.01, here, g);
        }
        let moments = adam.moments(&here);
        let mut copied = numbers(&here);
        let mut there = weights::write(network().valid(), "", &mut copied)
            .unwrap()
            .train();
        let mut other = Adam::new(0.01);
        other.restore(&there, moments.clone()).unwrap();
        for step in 3..5 {
            let (a, b) = (gradients(&here, step), gradients(&there, step));
            here = adam.step(0.01, here, a);
            there = other.step(0.01, there, b);
        }
        assert_eq!(numbers(&here), numbers(&there));
        assert_eq!(numbers(&adam.mean(&here)), numbers(&other.mean(&there)));
        let mut wrong = moments;
        wrong
            .tensors
            .iter_mut()
            .for_each(|(_, (_, shape, _))| shape.push(1));
        assert!(other.restore(&there, wrong).is_err());
    }
}
