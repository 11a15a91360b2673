//! Black-box tests of the whole program, in one binary because linking libtorch takes time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a test that cannot go on should panic, and its numbers are small"
)]

mod check;
mod check_agrees;
mod checkpoints;
mod cli;
mod columns;
mod config;
mod config_messages;
mod config_reference;
mod convert;
mod convert_parquet;
mod convert_parquet_types;
mod convert_starter;
mod convert_tables;
mod data;
mod data_files;
mod data_golden;
mod data_random;
mod distributed;
mod distributed_accidents;
mod distributed_promises;
mod distributed_training;
mod ending;
mod evaluate;
mod examples;
mod files;
mod golden_loop;
mod golden_model;
mod help;
mod inspect;
mod kills;
mod metrics;
mod model_build;
mod model_mistakes;
mod numerics;
mod outside;
mod predict;
mod python_checkpoint;
mod records;
mod remote;
mod resume;
mod rooms;
mod sizes;
mod sockets;
mod store_server;
mod support;
mod sweep;
