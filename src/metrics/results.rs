//! What metrics come to.

use indexmap::IndexMap;

/// Numbers by name, in a fixed order. NaN means not defined on these rows; JSON shows it as null.
pub type Results = IndexMap<String, f64>;
