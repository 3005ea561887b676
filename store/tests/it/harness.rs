//! The end-to-end tests' PostgreSQL, and what that stands on.
#![allow(dead_code)]

#[path = "../../../tests/it/harness/basics.rs"]
mod basics;
#[path = "../../../tests/it/harness/downloads.rs"]
mod downloads;
#[path = "../../../tests/it/harness/postgres.rs"]
pub mod postgres;
#[path = "../../../tests/it/harness/run_dir.rs"]
mod run_dir;
#[path = "../../../tests/it/harness/tools.rs"]
pub mod tools;
#[path = "../../../tests/it/harness/watched.rs"]
mod watched;

pub use basics::{eventually, free_ports, on_free_ports, unique};
