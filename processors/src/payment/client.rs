//! The calls to the payment provider, whichever it is, seen by the circuit breaker.

use std::time::Duration;

use comanda_schemas::{Currency, OrderEvent, OrderId, Stage};

use super::Options;
use super::api::{Api, Charge, Failure, Found, Standing};
use crate::provider::Circuit;

/// Whether the circuit to a provider is open, by `provider` (gauge).
const CIRCUIT_OPEN: &str = "comanda_payment_circuit_open";

/// A client of the payment provider; the calls are those of [`Api`].
#[derive(Debug)]
pub(super) struct Client {
    api: Box<dyn Api>,
    pub circuit: Circuit,
}

impl Client {
    pub fn new(api: Box<dyn Api>, options: &Options) -> Self {
        let pause = Duration::from_millis(options.circuit_pause_ms);
        let name = options.provider.name();
        let failures = options.circuit_failures;
        Self { api, circuit: Circuit::new(Stage::Payment, CIRCUIT_OPEN, name, failures, pause) }
    }

    pub fn can_charge(&self, minor: i64, currency: Currency) -> bool {
        self.api.can_charge(minor, currency)
    }

    pub async fn charge(&self, event: &OrderEvent, key: u32) -> Result<Standing, Failure> {
        self.seen(self.api.charge(event, key).await)
    }

    pub async fn look_up(&self, order_id: OrderId, version: i32) -> Result<Standing, Failure> {
        self.seen(self.api.look_up(order_id, version).await)
    }

    pub async fn look_up_order(&self, order_id: OrderId, version: i32) -> Result<Found, Failure> {
        self.seen(self.api.look_up_order(order_id, version).await)
    }

    pub async fn refund(
        &self,
        event: &OrderEvent,
        charge: &Charge,
        is_only: bool,
        key: u32,
    ) -> Result<(), Failure> {
        self.seen(self.api.refund(event, charge, is_only, key).await)
    }

    fn seen<T>(&self, answer: Result<T, Failure>) -> Result<T, Failure> {
        match &answer {
            Err(
                failure @ (Failure::NotSent(_)
                | Failure::TimedOut
                | Failure::Open(_)
                | Failure::Refused(_)
                | Failure::Foreign { .. }),
            ) => {
                self.circuit.failed(failure, failure.retry_after());
            }
            Err(failure @ Failure::Busy { .. }) => {
                self.circuit.busy(failure, failure.retry_after());
            }
            Ok(_)
            | Err(
                Failure::Declined { .. }
                | Failure::Invalid(_)
                | Failure::KeyReused
                | Failure::KeyBurnt(_)
                | Failure::InProgress,
            ) => self.circuit.answered(),
        }
        answer
    }
}
