//! `--set path=value`: changes to the tree before it is decoded.

use std::sync::Arc;

use super::decode::Decoder;
use super::error::{ConfigError, ProblemKind};
use super::hints::{suggestion, unknown_key};
use super::node::{Mark, Node, Scalars, Source, Value};
use super::path::{Path, Step};
use super::schema::Shape;
use super::substitute::braced_variable;
use super::yaml;

/// Applies one override to `root`, whose plain scalars are `scalars`; a path that leads nowhere is reported to `at`.
///
/// # Errors
/// When `text` is not `path=value` with a YAML scalar or flow value.
pub(crate) fn apply(
    root: &mut Node,
    scalars: Scalars,
    text: &str,
    at: &mut Decoder,
) -> Result<(), ConfigError> {
    let fail = |message: String| ConfigError::Override {
        text: text.to_owned(),
        message,
    };
    let (path, rest) = Path::read(text).map_err(|error| fail(error.to_string()))?;
    let Some(value) = rest.strip_prefix('=') else {
        return Err(fail(
            "write it as path=value, such as training.num_train_steps=100".to_owned(),
        ));
    };
    let source = Source::Override(Arc::from(text));
    let mark = Mark {
        source,
        line: 1,
        column: 1,
    };
    let value = yaml::parse(value, scalars, &|_| mark.clone())
        .map_err(|error| fail(format!("the value is not YAML: {}", error.message)))?
        .root;
    if let Some(name) = variable_in(&value) {
        return Err(fail(format!(
            "the value holds ${{{name}}}: variables are put into the file alone, not into --set; let the shell do it, in \
             double quotes instead of single ones"
        )));
    }
    let shape = at.root();
    let change = Change {
        path: &path,
        mark: &mark,
        shape: &shape,
    };
    if let Err((depth, kind)) = change.set(root, &shape, 0, value) {
        let reached = Path(path.0[..depth].to_vec());
        at.report(reached, &mark, kind);
    }
    Ok(())
}

/// The first variable that a text below `node` names as `${NAME}`.
fn variable_in(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Str(text) => braced_variable(text),
        Value::List(items) => items.iter().find_map(variable_in),
        Value::Map(entries) => entries.iter().find_map(|(_, value)| variable_in(value)),
        _ => None,
    }
}

/// One override on its way down the tree.
struct Change<'a> {
    path: &'a Path,
    mark: &'a Mark,
    /// Of the whole document.
    shape: &'a Shape,
}

/// How many steps of the path were taken, and why it ends there.
type Stuck = (usize, ProblemKind);

impl Change<'_> {
    fn set(&self, node: &mut Node, shape: &Shape, depth: usize, value: Node) -> Result<(), Stuck> {
        match self.path.0.get(depth) {
            None => *node = value,
            Some(Step::Key(key)) => {
                let shape = self.shape_of_key(node, shape, key, depth)?;
                let child = self.child(node, key, depth)?;
                self.set(child, &shape, depth + 1, value)?;
            }
            Some(Step::Index(index)) => {
                let shape = match shape {
                    Shape::List(item) => item,
                    Shape::Any => shape,
                    _ => {
                        return Err(stuck(
                            depth,
                            shape.expected(),
                            format!("the index [{index}]"),
                        ));
                    }
                };
                let found = node.describe();
                let items = match &mut node.value {
                    Value::List(items) => &mut items[..],
                    _ => &mut [],
                };
                let Some(item) = items.get_mut(*index) else {
                    return Err(stuck(
                        depth,
                        &format!("a list with an entry [{index}]"),
                        found,
                    ));
                };
                self.set(item, shape, depth + 1, value)?;
            }
        }
        Ok(())
    }

    /// The shape below `key`, or why there is no such key.
    fn shape_of_key(
        &self,
        node: &Node,
        shape: &Shape,
        key: &str,
        depth: usize,
    ) -> Result<Shape, Stuck> {
        let unknown = |hint| (depth + 1, ProblemKind::UnknownKey { hint });
        match shape {
            Shape::Section(section) => {
                let section = section();
                let field = section.fields.iter().find(|f| f.name == key);
                field
                    .map(|f| f.shape.clone())
                    .ok_or_else(|| unknown(unknown_key(key, &section, self.shape)))
            }
            Shape::Map(value) => {
                let is_last = depth + 1 == self.path.0.len();
                if is_last || node.get(key).is_some() {
                    return Ok((**value).clone());
                }
                let names = node
                    .entries()
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|(k, _)| k.as_str());
                let hint = match self.unquoted(node, depth) {
                    Some(name) => format!(", put the name with dots in double quotes: \"{name}\""),
                    None => suggestion(key, names),
                };
                Err(unknown(hint))
            }
            Shape::Any => Ok(Shape::Any),
            Shape::List(_) => Err(stuck(
                depth,
                "a list index such as [0]",
                format!("the key {key}"),
            )),
            Shape::Scalar(words) => Err(stuck(depth, words, format!("the key {key} below it"))),
        }
    }

    /// The key of `node` that was written without quotes, so that its dots parted it.
    fn unquoted<'n>(&self, node: &'n Node, depth: usize) -> Option<&'n str> {
        let mut joined = String::new();
        for step in &self.path.0[depth..] {
            let Step::Key(part) = step else { return None };
            if !joined.is_empty() {
                joined.push('.');
            }
            joined.push_str(part);
            let found = node
                .entries()?
                .iter()
                .find(|(name, _)| name.as_str() == Some(&joined));
            if let Some((name, _)) = found {
                return name.as_str();
            }
        }
        None
    }

    /// The value of `key`, made null first where there is none.
    fn child<'n>(
        &self,
        node: &'n mut Node,
        key: &str,
        depth: usize,
    ) -> Result<&'n mut Node, Stuck> {
        let null = || Node {
            value: Value::Null,
            mark: self.mark.clone(),
            written: None,
        };
        if node.is_null() {
            *node = Node {
                value: Value::Map(Vec::new()),
                ..null()
            };
        }
        let found = node.describe();
        let Value::Map(entries) = &mut node.value else {
            return Err(stuck(depth, "a mapping", found));
        };
        let index = match entries
            .iter()
            .position(|(name, _)| name.as_str() == Some(key))
        {
            Some(index) => index,
            None => {
                let name = Node {
                    value: Value::Str(key.into()),
                    ..null()
                };
                entries.push((name, null()));
                entries.len() - 1
            }
        };
        Ok(&mut entries[index].1)
    }
}

fn stuck(depth: usize, expected: &str, found: String) -> Stuck {
    let kind = ProblemKind::Unexpected {
        expected: expected.to_owned(),
        found,
        hint: String::new(),
    };
    (depth, kind)
}
