//! Rules inside of one section that go beyond groups.

use indexmap::IndexSet;

use super::decode::{Decoder, Keys};
use super::error::ProblemKind;
use super::node::Value;
use super::node::key_text;

/// `share_all` and `share_partial` need a backbone, `share_none` must not have one.
pub(super) fn backbone(keys: &Keys<'_>, at: &mut Decoder) {
    let sharing = match keys.find("multi_task_type") {
        None => "share_none",
        Some(node) => node.as_str().unwrap_or_default(),
    };
    let backbone = keys.given("backbone");
    let message = match (sharing, backbone) {
        ("share_all" | "share_partial", None) => {
            format!("multi_task_type {sharing} needs a backbone, add one or use share_none")
        }
        ("share_none", Some(_)) => "multi_task_type share_none must not have a backbone, \
             use share_all or share_partial, or remove backbone"
            .to_owned(),
        _ => return,
    };
    let mark = backbone.map_or(keys.mark(), |node| &node.mark);
    at.report(at.path.clone(), mark, ProblemKind::Rule(message));
}

/// Where features are named that `columns` does not make, there must be a schema. Where none are, the records are looked
/// at, and what they hold is suggested.
pub(super) fn schema_path(keys: &Keys<'_>, at: &mut Decoder) {
    let names_features = ["features", "renamed_features"]
        .iter()
        .any(|key| keys.given(key).is_some());
    let is_needed = names_features && keys.given("columns").is_none();
    if is_needed && keys.given("schema_path").is_none() {
        keys.required::<String>(at, "schema_path");
    }
}

/// Every evaluation task must be in `tasks`.
pub(super) fn evaluation_tasks(keys: &Keys<'_>, at: &mut Decoder) {
    let Some(Value::List(wanted)) = keys.given("evaluation_tasks").map(|node| &node.value) else {
        return;
    };
    let Some(tasks) = keys.given("tasks").and_then(|node| node.entries()) else {
        return;
    };
    let names: IndexSet<String> = tasks
        .iter()
        .filter_map(|(name, _)| key_text(name))
        .collect();
    for (i, node) in wanted.iter().enumerate() {
        let Some(name) = key_text(node).filter(|name| !names.contains(name.as_str())) else {
            continue;
        };
        let hint = at.suggest(&name, names.iter().map(String::as_str));
        let path = at.path.key("evaluation_tasks").index(i);
        let message = format!("the evaluation task {name:?} is not in tasks{hint}");
        at.report(path, &node.mark, ProblemKind::Rule(message));
    }
}
