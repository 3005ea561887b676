//! What resolvers can reach.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::Context;
use comanda_schemas::{OrderId, TopicNames, TraceContext};
use comanda_store::{OrderState, Position, Store};
use tokio::sync::OnceCell;

use crate::auth::{Caller, Principal};
use crate::change::Changing;
use crate::failure::{Code, Failure};
use crate::place::Placing;
use crate::progress::Progress;
use crate::rate::{Prepaid, Rates, ReadPermit};
use crate::receipt;
use crate::updates::Updates;

/// Limits that the schema itself knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub max_depth: usize,
    pub max_complexity: usize,
    pub max_batch: usize,
    pub max_lines: usize,
    pub receipt_wait: Duration,
}

/// The parts behind the schema.
pub(crate) struct House {
    pub limits: Limits,
    pub names: TopicNames,
    pub store: Store,
    pub progress: Progress,
    pub placing: Arc<Placing>,
    pub changing: Changing,
    pub updates: Updates,
    pub rates: Arc<Rates>,
}

impl House {
    pub fn of<'c>(context: &'c Context<'_>) -> &'c Self {
        context.data_unchecked::<Arc<Self>>()
    }

    /// The order, where there is one that `principal` may see. Another's order takes no longer than
    /// none, and can't fail in a way of its own.
    pub async fn order(
        &self,
        principal: &Principal,
        id: OrderId,
    ) -> Result<Option<OrderState>, Failure> {
        Ok(match principal {
            Principal::Operator => self.store.state(id).await?,
            Principal::Customer(own) => self.store.state_of(id, own).await?,
        })
    }

    /// Waits until the store has seen what `token` tells of.
    pub async fn wait_for(&self, token: &str) -> Result<(), Failure> {
        let wanted = receipt::parse(token)
            .filter(|position| self.names.topic_of(&position.topic).is_some())
            .ok_or_else(|| Failure::new(Code::Invalid, "receipt is not a receipt's token"))?;
        self.wait_until_passed(&[wanted]).await
    }

    /// Waits until the store has applied everything below `wanted`.
    pub async fn wait_until_passed(&self, wanted: &[Position]) -> Result<(), Failure> {
        if self.progress.passed(wanted, self.limits.receipt_wait).await {
            return Ok(());
        }
        let message = "the order store has not come that far yet; try again";
        Err(Failure::new(Code::ReceiptTimeout, message))
    }
}

/// Who sent a request, and in which trace.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub caller: Caller,
    pub trace: TraceContext,
    pub prepaid: Prepaid,
    pub reading: Reading,
}

/// The permit of a request to read, from its first read on until it is answered.
#[derive(Debug, Default)]
pub(crate) struct Reading(OnceCell<ReadPermit>);

/// Operations that share their asker's words read each for itself.
impl Clone for Reading {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Asker {
    /// Who it is, once its customer's other reads leave room for this one.
    pub async fn reader(&self, rates: &Rates) -> Result<&Principal, Failure> {
        let principal = self.principal()?;
        self.reading.0.get_or_try_init(|| rates.shares.read(principal)).await?;
        Ok(principal)
    }

    pub fn of<'c>(context: &'c Context<'_>) -> &'c Self {
        context.data_unchecked()
    }

    /// Who it is, where that is needed.
    pub fn principal(&self) -> Result<&Principal, Failure> {
        self.caller.as_ref().ok_or_else(Failure::no_principal)
    }
}
