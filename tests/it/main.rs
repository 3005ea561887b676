//! End-to-end tests of the `comanda` binary, on the sandbox and on a real Kafka.

mod bench;
mod chaos;
mod clients;
mod compose;
mod config;
mod dead_letters;
mod demo;
mod dlq;
mod engine;
mod gateway;
mod harness;
mod hostile;
mod kill;
mod lifecycle;
mod mail;
mod projectors;
mod races;
mod real_parts;
mod sandbox;
mod store;
mod stripe_openapi;
mod stuck;
mod tail;
mod truth;
mod twice;
mod webhook;
