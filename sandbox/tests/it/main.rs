//! The sandbox over its real interfaces.

mod broker;
mod faults;
mod mailbox;
mod payment;
mod registry;
mod support;
