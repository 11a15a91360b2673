//! Decoded rows that are kept, so that later epochs neither inflate nor parse.
//!
//! What is kept is what a file yields to this rank, in file order. So the order of the stream and its positions are the
//! same with and without a cache.

mod block;
mod store;

pub(crate) use block::RowBlock;
pub(crate) use store::{CachedFile, Filling, Store};
