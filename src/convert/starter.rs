//! A config to begin with: the data as it was written, and a model of its size.

use std::path::Path;

use indexmap::IndexMap;

use super::converted::Part;
use super::dealer::{Dealer, MIN_ROWS, VALIDATION};
use super::encode::Encoder;
use super::error::ConvertError;
use super::recipe::{Facts, Recipe};
use super::vocabulary::Vocabulary;
use super::yaml::{Node, map, text, word};

/// Widest embedding of an id.
const MAX_EMBEDDING: usize = 16;

/// What the config is about.
#[derive(Debug)]
pub(super) struct Starter<'a> {
    pub(super) folder: &'a Path,
    pub(super) dealer: &'a Dealer<'a>,
    pub(super) encoder: &'a Encoder<'a>,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) parts: &'a IndexMap<String, Part>,
    /// Whether some values are so far out that their logarithm says more.
    pub(super) is_heavy_tailed: bool,
}

impl Starter<'_> {
    /// The text of the config.
    pub(super) fn config(&self) -> Result<String, ConvertError> {
        let Some(folder) = self.folder.to_str() else {
            let reason = format!(
                "`{}` is no text in UTF-8, as a config is",
                self.folder.display()
            );
            return Err(ConvertError::setting("output_dir", reason));
        };
        let recipe = Recipe::of(&self.facts());
        let config = map([
            ("training", self.training(folder, &recipe)),
            ("model", self.model(&recipe)),
            ("train_data", self.train_data(folder, &recipe)),
            ("validation_data", self.validation_data(folder)),
            ("optimizer", optimizer(&recipe)),
        ]);
        Ok(format!("{}{}", self.remark(), config.document()))
    }

    /// The part that training is stopped by.
    fn validation(&self) -> Option<&str> {
        if self.dealer.keeps_apart() {
            return Some(VALIDATION);
        }
        Dealer::validation(self.encoder.plan)
    }

    fn facts(&self) -> Facts {
        let validation = self.validation().and_then(|name| self.parts.get(name));
        let rarest = |part: &Part| {
            let positives = part.positives.values();
            positives
                .map(|n| *n.min(&(part.rows - n)))
                .min()
                .unwrap_or(0)
        };
        Facts {
            rows: self.parts.values().next().map_or(0, |part| part.rows),
            dense: self.encoder.plan.continuous.len() + self.encoder.binary_width,
            validation_rows: validation.map_or(0, |part| part.rows),
            validation_rarest: validation.map_or(0, rarest),
        }
    }

    /// What a reader should know first.
    fn remark(&self) -> String {
        let how = match self.validation() {
            Some(_) if self.dealer.keeps_apart() => {
                "Training is stopped, and its best checkpoint chosen, by the part `validation`: rows that convert kept \
                 apart\n# of those to train on (`validation_share` of the mapping)."
                    .to_owned()
            }
            Some(_) => {
                "Training is stopped, and its best checkpoint chosen, by the validation part of the mapping.".to_owned()
            }
            None => format!(
                "No part is for validation (fewer than {MIN_ROWS} rows to train on, an old vocabulary, or \
                 `validation_share: 0`):\n# training ends after a fixed number of steps."
            ),
        };
        format!(
            "# A first config for this data: every key is described in configs/REFERENCE.md.\n# {how}\n"
        )
    }

    fn training(&self, folder: &str, recipe: &Recipe) -> Node {
        let mut training = map([
            ("save_dir", text(format!("{folder}/{RUN}"))),
            ("num_train_steps", word(recipe.steps)),
            ("checkpoint_every_n", word(recipe.every)),
            ("checkpoint_max_to_keep", word(1)),
            ("train_log_every_n", word(recipe.every)),
            ("eval_log_every_n", word(recipe.every)),
            ("num_eval_steps", word(-1)),
        ]);
        if let (Some(part), Some(patience)) = (self.validation(), recipe.patience) {
            let labels = &self.encoder.plan.labels;
            let metric = match labels.as_slice() {
                _ if !recipe.by_ranking => format!("{part}/loss"),
                [label] => format!("{part}/{}/auroc", label.task),
                _ => "mean auroc".to_owned(),
            };
            training.add("evaluate", word(true));
            training.add("evaluate_partitions", Node::List(vec![text(part)]));
            training.add("keep_best_metric", text(metric));
            training.add("early_stopping_patience", word(patience));
        }
        training
    }

    fn model(&self, recipe: &Recipe) -> Node {
        let is_linear = recipe.layers.is_empty();
        let sharing = if is_linear {
            "share_none"
        } else {
            "share_partial"
        };
        let mut model = map([("multi_task_type", word(sharing))]);
        if !self.vocabulary.discrete.is_empty() {
            let tables = self.vocabulary.discrete.iter().enumerate();
            let tables = tables.map(|(index, (column, values))| {
                map([
                    ("name", text(column)),
                    ("num_embeddings", word(values.width())),
                    ("embedding_dim", word(embedding_dim(values.width()))),
                    ("index", word(index)),
                ])
            });
            model.add(
                "small_embeddings",
                map([("tables", Node::List(tables.collect()))]),
            );
        }
        let norm = map([("affine", word(false)), ("momentum", word(0.05))]);
        let log = word(self.is_heavy_tailed);
        let transform = map([("log", log), ("batch_norm_config", norm)]);
        model.add(
            "featurization_config",
            map([("double_norm_log_config", transform)]),
        );
        if !is_linear {
            let sizes = recipe.layers.iter().map(word).collect();
            let mut mlp = map([("layer_sizes", Node::List(sizes))]);
            if let Some(rate) = recipe.dropout {
                mlp.add("dropout", map([("rate", word(rate))]));
            }
            mlp.add("final_layer_activation", word(true));
            model.add("backbone", map([("mlp_config", mlp)]));
        }
        let tower = map([(
            "mlp_config",
            map([("layer_sizes", Node::List(vec![word(1)]))]),
        )]);
        let labels = self.encoder.plan.labels.iter();
        let tasks = labels.map(|label| (text(&label.task), tower.clone()));
        model.add("tasks", Node::Map(tasks.collect()));
        model
    }

    fn train_data(&self, folder: &str, recipe: &Recipe) -> Node {
        let plan = self.encoder.plan;
        let is_label = |name: &str| plan.labels.iter().any(|label| label.task == name);
        let features = self.encoder.schema().into_iter().map(|(name, _, _)| name);
        let features = features.filter(|name| !is_label(name)).map(text);
        let schema = map([
            ("schema_path", text(format!("{folder}/segdense.json"))),
            ("features", Node::List(features.collect())),
        ]);
        let tasks = plan.labels.iter().map(|label| {
            let weight = plan.weights.iter().find(|weight| weight.task == label.task);
            let options = weight.map_or(map([]), |weight| {
                map([("weight_feature", text(&weight.key))])
            });
            (text(&label.task), options)
        });
        let data = map([
            ("inputs", self.files(folder, &self.dealer.parts[0])),
            ("global_batch_size", word(recipe.batch)),
            ("examples_shuffle_buffer_size", word(16384)),
            ("seg_dense_schema", schema),
            ("tasks", Node::Map(tasks.collect())),
        ]);
        Node::Anchor("data", Box::new(data))
    }

    fn validation_data(&self, folder: &str) -> Node {
        let others = self.dealer.parts[1..].iter();
        let parts = others.map(|part| {
            let data = map([
                ("<<", Node::Alias("data")),
                ("inputs", self.files(folder, part)),
            ]);
            (text(part), data)
        });
        Node::Map(parts.collect())
    }

    fn files(&self, folder: &str, part: &str) -> Node {
        text(format!("{}/{part}/*.gz", glob::Pattern::escape(folder)))
    }
}

/// The folder of the training, inside that of the data: it goes when the data goes.
pub(super) const RUN: &str = "run";

/// About the fourth root of the ids there are, twice.
fn embedding_dim(ids: usize) -> usize {
    let root = (ids as f64).sqrt().sqrt();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let width = (2.0 * root).ceil() as usize;
    width.clamp(2, MAX_EMBEDDING)
}

fn optimizer(recipe: &Recipe) -> Node {
    let ramp = (recipe.steps / 20).clamp(1, 200);
    let rate = map([
        ("learning_rate", word(recipe.learning_rate)),
        ("final_learning_rate", word(recipe.learning_rate / 100.0)),
        ("num_ramp_steps", word(ramp)),
        ("final_num_steps", word(recipe.steps.max(ramp + 1))),
    ]);
    let adam = recipe.adam_epsilon;
    let adam = adam.map_or(map([]), |epsilon| map([("epsilon", word(epsilon))]));
    map([
        ("adam", adam),
        (
            "single_task_learning_rate",
            map([("linear_ramp_to_cosine", rate)]),
        ),
    ])
}
