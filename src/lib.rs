//! Trains the heavy ranker of the For You timeline: what the rooms are, how one example travels, who may import whom.
//!
//! # Rooms
//!
//! | room | owns |
//! |---|---|
//! | [`cli`], [`logging`], [`exit`] | what can be typed, what is said, how the program ends |
//! | [`commands`] | one file per command; short, calls the rooms below |
//! | [`train`] | the step, the two loops, resume |
//! | [`data`] | files to host batches: TFRecord, wire reader, shuffle, preprocessing, position |
//! | [`convert`] | tables to training data: mapping, vocabularies, labels, parts |
//! | [`metrics`] | what is reported of predictions |
//! | [`output`], [`plot`] | files of results: columns, pictures |
//! | [`model`], [`loss`], [`optim`] | logits, what is minimised, what minimises it |
//! | [`checkpoint`] | folders that are complete or invisible, and which of them stay |
//! | [`distributed`] | several processes as one training |
//! | [`torch`] | what tch lacks, behind the only `unsafe`; the batch on a device |
//! | [`config`], [`batch`] | leaves: the typed config, the batch on the host |
//! | [`whole_file`], [`regular_file`] | leaves for every room: files that are written whole or not at all, files from outside that are read with a bound |
//! | [`printable`], [`machine`] | leaves for every room: text that is safe to print, cores and memory that this process may use |
//! | [`splitmix`], [`protobuf`] | leaves for every room: random bits by position, the wire format of records and events |
//! | [`interrupt`], [`redact`], [`place`] | leaves for every room: signals that ask a run to end, what an address must not show, what a path or an address is |
//!
//! # The journey of one example
//!
//! 1. [`config`] says which files and features.
//! 2. [`data`] gives this rank its files in the order of the epoch, inflates them, checks both checksums of every
//!    record, finds the needed features on the wire, shuffles the rows that it makes of them, copies each into a
//!    [`batch::HostBatch`], preprocesses, and hands batches over in an order that does not depend on threads.
//! 3. [`train::pipeline`] copies the batch to the device while the one before it trains.
//! 4. [`train::step`] calls [`model`] (`[B, F]` → logits `[B, T]`), then [`loss`], then backward, then [`optim`].
//! 5. [`train::trainer`] logs, and saves weights, optimizer and data position together through [`checkpoint`].
//!
//! # Who may import whom
//!
//! `main → cli, logging, exit, commands`; `commands → train` and everything below; `train →` everything below;
//! `data, model, loss, optim, metrics, checkpoint, distributed, torch → config, batch` (and `model, loss, optim,
//! checkpoint, distributed → torch`, `plot → metrics`, `convert → data`), never each other, never upward; `output`, `config` and `batch`
//! import nothing of ours but the leaves for every room. tch is unknown to `config`, `batch`, `data`, `convert`, `metrics` and `cli`. `exit` may look at every room's
//! errors; `logging` asks `distributed` which rank this is. A test holds this (`tests/integration/rooms.rs`).
//!
//! # Determinism
//!
//! Every random draw is a function of (seed, purpose, position). So any thread or rank can make it, and a checkpoint
//! needs only the position.

pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod config;
pub mod convert;
pub mod data;
pub mod distributed;
pub mod exit;
pub mod interrupt;
pub mod logging;
pub mod loss;
pub mod machine;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod output;
pub mod place;
pub mod plot;
pub mod printable;
pub mod protobuf;
pub mod redact;
pub mod regular_file;
pub mod splitmix;
pub mod torch;
pub mod train;
pub mod whole_file;
