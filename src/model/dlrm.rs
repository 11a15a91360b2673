//! DLRM (arXiv 1906.00091): the dense features become one more embedding, and every two embeddings meet in a dot
//! product.
//!
//! The embeddings are all that the features have: small embeddings, `user_embedding`, `user_eng_embedding`,
//! `author_embedding`, position. So a DLRM reads the features themselves, not what a backbone makes of them, and all
//! embeddings are as wide as the bottom MLP's output.

use tch::Tensor;

use super::input::{EmbeddingColumns, Input, columns};
use super::mlp::Mlp;
use super::scope::{Builder, Layer, Scope};
use super::{Mode, ModelError};
use crate::config::DlrmSpec;
use crate::torch::TorchError;

/// Bottom MLP, pairwise dot products, top MLP.
#[derive(Debug)]
pub(super) struct Dlrm {
    bottom: Mlp,
    top: Mlp,
    /// Dense columns.
    dense: i64,
    /// Embeddings, the dense one excluded.
    count: i64,
    /// Width of every embedding.
    width: i64,
    /// Where the pairs (i, j), j < i, stand in a flattened `[N, N]`, N = count + 1.
    pairs: Tensor,
}

impl Dlrm {
    pub(super) fn build(
        builder: &mut Builder,
        scope: &Scope,
        input: Input<'_>,
        spec: &DlrmSpec,
    ) -> Result<Self, ModelError> {
        let Input::Features(layout) = input else {
            let problem = "a DLRM reads the features themselves: use it as the backbone, or for towers with \
                           multi_task_type share_none";
            return Err(scope.error("", problem));
        };
        if layout.embeddings.is_empty() {
            let problem =
                "needs embeddings to multiply: add one to renamed_features, or small_embeddings";
            return Err(scope.error("", problem));
        }
        let below = scope.child("_bottom_mlp", "bottom_mlp");
        let bottom = Mlp::build(builder, &below, layout.dense, &spec.bottom)?;
        let width = bottom.out_features();
        if let Some(other) = layout.embeddings.iter().find(|e| e.width != width) {
            return Err(below.error("layer_sizes", misfit(other, width)));
        }
        let count = columns(layout.embeddings.len());
        let pairs = pairs(count + 1);
        let met = columns(pairs.len());
        builder.record(Layer {
            name: scope.tensor("_interaction"),
            kind: "DotProducts",
            input: (count + 1) * width,
            output: met,
            parameters: 0,
            flops_per_row: met.saturating_mul(width).saturating_mul(2),
        });
        let above = scope.child("_top_mlp", "");
        Ok(Self {
            top: Mlp::build(builder, &above, width + met, &spec.top)?,
            bottom,
            dense: layout.dense,
            count,
            width,
            pairs: builder.indices(&pairs)?,
        })
    }

    /// Columns of the output.
    pub(super) fn out_features(&self) -> i64 {
        self.top.out_features()
    }

    /// `[B, dense + count · width]` → `[B, out_features]`.
    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let rows = x.size()[0];
        let dense = x.f_narrow(1, 0, self.dense)?;
        let dense = self.bottom.forward(&dense, mode)?;
        let embeddings = x.f_narrow(1, self.dense, self.count * self.width)?;
        let vectors = Tensor::f_cat(&[&dense, &embeddings], 1)?;
        let vectors = vectors.f_view([rows, self.count + 1, self.width])?;
        let dots = vectors.f_bmm(&vectors.f_transpose(1, 2)?)?;
        let dots = dots.f_flatten(1, 2)?.f_index_select(1, &self.pairs)?;
        self.top.forward(&Tensor::f_cat(&[dense, dots], 1)?, mode)
    }
}

fn misfit(embedding: &EmbeddingColumns, width: i64) -> String {
    let EmbeddingColumns {
        name,
        width: expected,
    } = embedding;
    format!(
        "expected a last size of {expected}, the width of {name} (all embeddings must be equally wide), found {width}"
    )
}

/// The pairs (1, 0), (2, 0), (2, 1), (3, 0), … as positions in a flattened `[count, count]`.
fn pairs(count: i64) -> Vec<i64> {
    (0..count)
        .flat_map(|i| (0..i).map(move |j| i * count + j))
        .collect()
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::input::Layout;
    use super::super::test_support::{
        builder, check_gradients, double, fill, network, values, wave,
    };
    use super::*;
    use crate::config::NetworkSpec;

    fn layout(dense: i64, widths: &[i64]) -> Layout {
        let embedding = |(i, &width): (usize, &i64)| EmbeddingColumns {
            name: format!("embedding {i}"),
            width,
        };
        let embeddings = widths.iter().enumerate().map(embedding).collect();
        Layout { dense, embeddings }
    }

    fn build(builder: &mut Builder, input: Input<'_>, sizes: &str) -> Result<Dlrm, ModelError> {
        let NetworkSpec::Dlrm(spec) = network(&format!("{{dlrm_config: {sizes}}}")) else {
            panic!("{sizes}");
        };
        Dlrm::build(builder, &Scope::new("n", "n.dlrm_config"), input, &spec)
    }

    #[test]
    fn pairs_give_the_numbers_computed_by_hand() {
        let mut builder = builder();
        let layout = layout(1, &[2, 2]);
        let sizes = "{bottom_mlp: {layer_sizes: [2]}, top_mlp: {layer_sizes: [5]}}";
        let net = build(&mut builder, Input::Features(&layout), sizes).unwrap();
        fill(&builder, "n._bottom_mlp.layers.0.weight", &[1.0, 2.0]);
        let identity: Vec<f32> = values(&Tensor::eye(5, (Kind::Float, tch::Device::Cpu)));
        fill(&builder, "n._top_mlp.layers.0.weight", &identity);
        // dense 3 → (3, 6); the embeddings are (1, 0) and (2, -1).
        let x = Tensor::from_slice(&[3.0_f32, 1.0, 0.0, 2.0, -1.0]).view([1, 5]);
        let found = net.forward(&x, Mode::Evaluate).unwrap();
        assert_eq!(values(&found), [3.0, 6.0, 3.0, 0.0, 2.0]);
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let mut builder = builder();
        let layout = layout(2, &[3, 3, 3]);
        let sizes = "{bottom_mlp: {layer_sizes: [4, 3]}, top_mlp: {layer_sizes: [3, 1]}}";
        let net = build(&mut builder, Input::Features(&layout), sizes).unwrap();
        let mut inputs = double(&builder);
        let x = wave(&[4, 11]).set_requires_grad(true);
        inputs.push(x.shallow_clone());
        check_gradients(&inputs, || {
            let output = net.forward(&x, Mode::Train).unwrap();
            output.square().sum(Kind::Double)
        });
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_key() {
        let sizes = "{bottom_mlp: {layer_sizes: [2]}, top_mlp: {layer_sizes: [1]}}";
        let refuse =
            |input: Input<'_>| build(&mut builder(), input, sizes).unwrap_err().to_string();
        assert!(refuse(Input::Computed(5)).starts_with("n.dlrm_config: a DLRM reads the features"));
        let none = layout(4, &[]);
        assert!(refuse(Input::Features(&none)).starts_with("n.dlrm_config: needs embeddings"));
        let wide = layout(4, &[2, 3]);
        assert_eq!(
            refuse(Input::Features(&wide)),
            "n.dlrm_config.bottom_mlp.layer_sizes: expected a last size of 3, the width of embedding 1 (all \
             embeddings must be equally wide), found 2"
        );
    }
}
