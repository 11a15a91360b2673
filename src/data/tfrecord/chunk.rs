//! Reused buffers of inflated bytes, shared by the records that lie in them.

use std::sync::{Arc, Mutex, PoisonError};

/// Size of an ordinary chunk, in bytes.
const CHUNK_BYTES: usize = 512 * 1024;
/// How many idle buffers are kept.
const MAX_IDLE: usize = 64;

/// Where chunks come from and return to.
#[derive(Debug, Default)]
pub(crate) struct ChunkPool {
    idle: Mutex<Vec<Vec<u8>>>,
}

impl ChunkPool {
    /// A buffer of [`CHUNK_BYTES`] initialised bytes of no particular value.
    pub(super) fn take(&self) -> Vec<u8> {
        let reused = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        reused.unwrap_or_else(|| vec![0; CHUNK_BYTES])
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() == CHUNK_BYTES && idle.len() < MAX_IDLE {
            idle.push(buffer);
        }
    }
}

/// Bytes that several records share; the buffer goes back to its pool with the last of them.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    pool: Arc<ChunkPool>,
}

impl Chunk {
    pub(super) fn new(bytes: Vec<u8>, pool: Arc<ChunkPool>) -> Self {
        Self { bytes, pool }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}
