//! What a network reads: how many columns, and which of them are whose.

/// An embedding among the features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EmbeddingColumns {
    /// What messages call it.
    pub(super) name: String,
    /// Its columns.
    pub(super) width: i64,
}

/// The features side by side: the transformed dense columns, then one embedding after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// `Fc + Fb`.
    pub(super) dense: i64,
    /// In the order of their columns.
    pub(super) embeddings: Vec<EmbeddingColumns>,
}

impl Layout {
    /// All columns together.
    pub(super) fn width(&self) -> i64 {
        self.dense + self.embeddings.iter().map(|e| e.width).sum::<i64>()
    }
}

/// What one network reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    /// The features as they are.
    Features(&'a Layout),
    /// So many columns, some of which another network computed.
    Computed(i64),
}

impl Input<'_> {
    /// Columns.
    pub(super) fn width(self) -> i64 {
        match self {
            Self::Features(layout) => layout.width(),
            Self::Computed(width) => width,
        }
    }
}

/// A width as libtorch counts.
pub(super) fn columns(width: usize) -> i64 {
    i64::try_from(width).unwrap_or(i64::MAX)
}
