//! DCN-V2 (arXiv 2008.13535): cross layers that multiply their input with the network's input, and MLPs around them.

use tch::Tensor;

use super::linear::Linear;
use super::mlp::Mlp;
use super::scope::{Builder, Layer, Scope};
use super::{Mode, ModelError};
use crate::config::{DcnSpec, MlpSpec, Size};
use crate::torch::TorchError;

/// One cross layer: `x₀ ⊙ (W x + b) + x`.
#[derive(Debug)]
enum Cross {
    /// W is `[D, D]`.
    Full(Linear),
    /// W = U Vᵀ: `down` holds Vᵀ, `[R, D]`, `up` holds U, `[D, R]`, and b.
    LowRank { down: Tensor, up: Linear },
}

impl Cross {
    fn build(
        builder: &mut Builder,
        scope: &Scope,
        width: i64,
        rank: Option<i64>,
    ) -> Result<Self, ModelError> {
        let Some(rank) = rank else {
            return Linear::build(builder, scope, width, width).map(Self::Full);
        };
        let name = scope.child("_v", "");
        let down = builder.xavier(name.tensor("weight"), rank, width)?;
        builder.record(Layer {
            name: name.name,
            kind: "Linear",
            input: width,
            output: rank,
            parameters: rank.saturating_mul(width),
            flops_per_row: rank.saturating_mul(width).saturating_mul(2),
        });
        let up = Linear::build(builder, &scope.child("_u", ""), rank, width)?;
        Ok(Self::LowRank { down, up })
    }

    /// `[B, D]`, `[B, D]` → `[B, D]`.
    fn forward(&self, x0: &Tensor, x: &Tensor) -> Result<Tensor, TorchError> {
        let mixed = match self {
            Self::Full(linear) => linear.forward(x)?,
            Self::LowRank { down, up } => up.forward(&x.f_linear(down, None::<&Tensor>)?)?,
        };
        Ok(x0.f_mul(&mixed)?.f_add(x)?)
    }
}

/// Cross layers, with an MLP beside or after them, and one on top.
#[derive(Debug)]
pub(super) struct Dcn {
    crosses: Vec<Cross>,
    deep: Option<Mlp>,
    parallel: bool,
    output: Option<Mlp>,
    out_features: i64,
}

impl Dcn {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: i64,
        spec: &DcnSpec,
    ) -> Result<Self, ModelError> {
        let rank = spec.rank.map(Size::to_i64);
        let crosses = (0..spec.depth.get()).map(|i| {
            let scope = scope.child(&format!("_cross_layers.{i}"), "");
            Cross::build(builder, &scope, input, rank)
        });
        let crosses = crosses.collect::<Result<Vec<_>, _>>()?;
        let mut mlp = |name, width, spec: &Option<MlpSpec>| {
            let scope = scope.child(name, "");
            let spec = spec.as_ref();
            spec.map(|spec| Mlp::build(builder, &scope, width, spec))
                .transpose()
        };
        let deep = mlp("_parallel_mlp", input, &spec.deep)?;
        let width = match &deep {
            Some(deep) if spec.parallel => input + deep.out_features(),
            Some(deep) => deep.out_features(),
            None => input,
        };
        let output = mlp("_output_mlp", width, &spec.output)?;
        Ok(Self {
            crosses,
            deep,
            parallel: spec.parallel,
            out_features: output.as_ref().map_or(width, Mlp::out_features),
            output,
        })
    }

    /// Columns of the output.
    pub(super) fn out_features(&self) -> i64 {
        self.out_features
    }

    /// `[B, in]` → `[B, out_features]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let mut crossed = x.shallow_clone();
        for cross in &self.crosses {
            crossed = cross.forward(x, &crossed)?;
        }
        let net = match &self.deep {
            Some(deep) if self.parallel => Tensor::f_cat(&[crossed, deep.forward(x, mode)?], 1)?,
            Some(deep) => deep.forward(&crossed, mode)?,
            None => crossed,
        };
        match &self.output {
            Some(output) => output.forward(&net, mode),
            None => Ok(net),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::test_support::{
        builder, check_gradients, double, fill, network, values, wave,
    };
    use super::*;
    use crate::config::NetworkSpec;

    fn dcn(builder: &mut Builder, input: i64, config: &str) -> Dcn {
        let NetworkSpec::Dcn(spec) = network(&format!("{{dcn_config: {config}}}")) else {
            panic!("{config}");
        };
        Dcn::build(builder, &Scope::new("n", "n"), input, &spec).unwrap()
    }

    fn names(builder: &Builder) -> Vec<String> {
        let entries = builder.state.iter();
        entries
            .map(|(name, entry)| format!("{name} {:?}", entry.tensor.size()))
            .collect()
    }

    #[test]
    fn two_full_cross_layers_give_the_numbers_computed_by_hand() {
        let mut builder = builder();
        let net = dcn(&mut builder, 2, "{poly_degree: 2}");
        fill(&builder, "n._cross_layers.0.weight", &[1.0, 2.0, 0.0, 1.0]);
        fill(&builder, "n._cross_layers.0.bias", &[0.5, 0.0]);
        fill(&builder, "n._cross_layers.1.weight", &[0.0, 1.0, 1.0, 0.0]);
        fill(&builder, "n._cross_layers.1.bias", &[0.0, 1.0]);
        let x = Tensor::from_slice(&[1.0_f32, -2.0]).view([1, 2]);
        // W x + b = (-2.5, -2), so x1 = (1, -2) ⊙ (-2.5, -2) + (1, -2) = (-1.5, 2);
        // then W x1 + b = (2, -0.5), so x2 = (1, -2) ⊙ (2, -0.5) + (-1.5, 2) = (0.5, 3).
        let found = net.forward(&x, Mode::Evaluate).unwrap();
        assert_eq!(values(&found), [0.5, 3.0]);
    }

    #[test]
    fn a_low_rank_layer_equals_the_full_one_with_the_product_as_weight() {
        let mut low = builder();
        let net = dcn(&mut low, 3, "{poly_degree: 1, projection_dim: 2}");
        assert_eq!(
            names(&low),
            [
                "n._cross_layers.0._v.weight [2, 3]",
                "n._cross_layers.0._u.weight [3, 2]",
                "n._cross_layers.0._u.bias [3]"
            ]
        );
        let mut full = builder();
        let whole = dcn(&mut full, 3, "{poly_degree: 1}");
        let tensor = |name: &str| low.state.get(name).unwrap().tensor.detach();
        let product =
            tensor("n._cross_layers.0._u.weight").matmul(&tensor("n._cross_layers.0._v.weight"));
        fill(&full, "n._cross_layers.0.weight", &values(&product));
        for (builder, name) in [
            (&low, "n._cross_layers.0._u.bias"),
            (&full, "n._cross_layers.0.bias"),
        ] {
            fill(builder, name, &[0.1, 0.2, 0.3]);
        }
        let x = wave(&[4, 3]).to_kind(Kind::Float);
        let [low, full] = [&net, &whole].map(|net| net.forward(&x, Mode::Evaluate).unwrap());
        assert!(low.allclose(&full, 1e-6, 1e-6, false));
    }

    #[test]
    fn the_mlp_stands_beside_or_after_the_cross_layers() {
        let mlp = "parallel_mlp: {layer_sizes: [4]}, output_mlp: {layer_sizes: [1]}";
        let mut beside = builder();
        let net = dcn(&mut beside, 3, &format!("{{poly_degree: 1, {mlp}}}"));
        assert_eq!(
            names(&beside)[4..],
            [
                "n._output_mlp.layers.0.weight [1, 7]",
                "n._output_mlp.layers.0.bias [1]"
            ]
        );
        assert_eq!(net.out_features(), 1);
        let mut after = builder();
        let config = format!("{{poly_degree: 1, use_parallel: false, {mlp}}}");
        let net = dcn(&mut after, 3, &config);
        assert_eq!(
            names(&after)[4..],
            [
                "n._output_mlp.layers.0.weight [1, 4]",
                "n._output_mlp.layers.0.bias [1]"
            ]
        );
        // With zero cross weights and bias the cross layers pass x on: the MLPs alone are left.
        fill(&after, "n._cross_layers.0.weight", &[0.0; 9]);
        let x = wave(&[5, 3]).to_kind(Kind::Float);
        let tensor = |name: &str| after.state.get(name).unwrap().tensor.detach();
        let by_hand = x
            .matmul(&tensor("n._parallel_mlp.layers.0.weight").tr())
            .matmul(&tensor("n._output_mlp.layers.0.weight").tr());
        let found = net.forward(&x, Mode::Evaluate).unwrap();
        assert!(found.allclose(&by_hand, 1e-5, 1e-6, false));
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let shapes = [
            "",
            ", projection_dim: 2",
            ", use_parallel: false",
            ", projection_dim: 2, use_parallel: false",
        ];
        for shape in shapes {
            let mut builder = builder();
            let mlp = "parallel_mlp: {layer_sizes: [3, 2]}, output_mlp: {layer_sizes: [2]}";
            let net = dcn(
                &mut builder,
                3,
                &format!("{{poly_degree: 3, {mlp}{shape}}}"),
            );
            let mut inputs = double(&builder);
            let x = wave(&[4, 3]).set_requires_grad(true);
            inputs.push(x.shallow_clone());
            check_gradients(&inputs, || {
                let output = net.forward(&x, Mode::Train).unwrap();
                output.square().sum(Kind::Double)
            });
        }
    }
}
