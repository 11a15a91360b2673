//! Random batches of the production shape, shared by the benches of the step and of ranks.

use recap_train::torch::batch::Batch;
use tch::{Device, Kind, Tensor};

/// `rows` rows of noise on `device`, with labels of every data task.
pub(crate) fn random_batch(rows: i64, device: Device) -> Batch {
    let floats = |columns: i64| Tensor::randn([rows, columns], (Kind::Float, device));
    let bits = |columns: i64| floats(columns).gt(0.0).to_kind(Kind::Float);
    Batch {
        continuous: floats(2117),
        binary: bits(59),
        discrete: None,
        user_embedding: Some(floats(200)),
        user_eng_embedding: Some(floats(200)),
        author_embedding: Some(floats(200)),
        labels: Some(bits(13)),
        weights: None,
    }
}
