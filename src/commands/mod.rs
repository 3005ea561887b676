//! One file per command.

pub mod audit;
pub mod bench;
pub mod config;
pub mod demo;
pub mod dlq;
pub mod mail;
pub mod orders;
pub mod payments;
pub mod run;
pub mod sandbox;
pub mod schemas;
pub mod store;
pub mod tail;
pub mod topics;
pub mod up;
