//! The store at which ranks meet: keys and values, in one process for all.
//!
//! Ranks of one machine and SLURM's are served by [`server`]; torchrun's agent serves one of its own, which speaks the
//! same protocol ([`wire`]). libtorch's own client and server are not used: the client waits for ever where the server
//! is silent, and the server listens everywhere, asks nobody who he is, and takes all memory.

mod client;
mod line;
mod secret;
mod server;
mod wire;

pub use client::{Store, StoreError, StoreOptions};
pub use line::Stop;
pub(super) use line::{Patience, resolve};
pub use secret::{SECRET_VARIABLE, Secret};
pub use server::Server;
