//! Placing many orders with one question to the order store, one hand-over to Kafka and one wait.

use std::sync::Arc;

use comanda_schemas::{OrderEvent, TraceContext};
use comanda_store::fingerprint;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, join_all};

use super::{Placed, Placing, Refused, Shown, event, lost, of_store, written};
use crate::input::PlaceOrder;
use crate::lasting::Lasting;
use crate::recent::{Ending, Entered, First, Outcome, Stored};

/// An order of which nothing is known here, to be looked up and written.
struct Fresh {
    /// Its place among the orders that are asked for.
    index: usize,
    event: Arc<OrderEvent>,
    trace: TraceContext,
    /// Where it has an idempotency key.
    first: Option<First>,
}

/// An outcome and its place.
type Indexed = (usize, Outcome);

impl Placing {
    /// Places orders as [`Placing::place`] does each; the outcomes in the order of `wanted`.
    pub async fn place_all(
        self: &Arc<Self>,
        wanted: Vec<(PlaceOrder, TraceContext)>,
    ) -> Vec<Result<Placed, Refused>> {
        let mut events = Vec::with_capacity(wanted.len());
        let (mut fresh, mut others) = (Vec::with_capacity(wanted.len()), Vec::new());
        let mut outcomes: Vec<Option<Outcome>> = wanted.iter().map(|_| None).collect();
        for (index, (wanted, trace)) in wanted.into_iter().enumerate() {
            let is_keyed = wanted.idempotency_key.is_some();
            let event = Arc::new(event(wanted.order_id(), wanted));
            events.push(event.clone());
            if is_keyed {
                match self.enter(event, trace) {
                    Way::Fresh(event, first) => {
                        fresh.push(Fresh { index, event, trace, first: Some(first) });
                    }
                    Way::Settled(outcome) => outcomes[index] = Some(outcome),
                    Way::Other(other) => others.push(other.map(move |ended| (index, ended))),
                }
            } else {
                fresh.push(Fresh { index, event, trace, first: None });
            }
        }
        // Others may wait for them, and the events are on their way even if this client goes.
        let writing = Lasting::new(self.clone().write_all(fresh));
        let (written, others) = join(writing, join_all(others)).await;
        for (index, outcome) in written.unwrap_or_default().into_iter().chain(others) {
            outcomes[index] = Some(outcome);
        }
        let (mut answers, mut repeated) = (Vec::with_capacity(events.len()), Vec::new());
        for (index, (event, outcome)) in events.into_iter().zip(outcomes).enumerate() {
            // Without an outcome is what was lost in a panic.
            let outcome = self.counted(outcome.unwrap_or_else(|| Err(lost())));
            if outcome.as_ref().is_ok_and(|known| !known.is_new) {
                repeated.push((index, event.order_id));
            }
            answers.push(outcome.map(|known| Placed::new(event, known)));
        }
        let reading = repeated.into_iter().map(async |(index, id)| (index, self.current(id).await));
        for (index, order) in join_all(reading).await {
            if let (Ok(placed), Some(order)) = (&mut answers[index], order) {
                placed.order = Shown::Stored(order);
            }
        }
        answers
    }

    /// Which way an order with an idempotency key goes.
    fn enter(self: &Arc<Self>, event: Arc<OrderEvent>, trace: TraceContext) -> Way {
        let print: Arc<str> = fingerprint(&event.customer_id, &event.order).into();
        match self.recent.enter(event.order_id, &print) {
            Entered::Conflict => Way::Settled(Err(Refused::Conflict)),
            Entered::Known(known) => Way::Settled(Ok(known)),
            Entered::Waiting(outcome) => Way::Other(outcome),
            Entered::First(first) if first.is_fresh() => Way::Fresh(event, first),
            Entered::First(first) => {
                let settling = Lasting::new(self.clone().settle_first(event, trace, first));
                Way::Other(settling.map(|outcome| outcome.unwrap_or_else(|| Err(lost()))).boxed())
            }
            Entered::Full => {
                let this = self.clone();
                let settling = async move { this.settle_unseen(&event, &trace, &print).await };
                Way::Other(settling.boxed())
            }
        }
    }

    /// What was placed under the same keys before, or else new events.
    async fn write_all(self: Arc<Self>, fresh: Vec<Fresh>) -> Vec<Indexed> {
        let (unknown, mut ended) = self.look_up(fresh).await;
        let events: Vec<_> = unknown.iter().map(|one| (&*one.event, one.trace)).collect();
        let told = self.publisher.publish_all(&events).await;
        let mut doubtful = Vec::new();
        for (one, told) in unknown.into_iter().zip(told) {
            let Fresh { index, event, first, .. } = one;
            let outcome = self.published(&event, told);
            let Some(first) = first else {
                let outcome = outcome.inspect(|known| self.recent.remember(event.order_id, known));
                ended.push((index, outcome));
                continue;
            };
            match written(&first, outcome) {
                Ok(ours) if self.publisher.has_log() && !self.is_first(&first, &ours) => {
                    doubtful.push((index, event, first, ours));
                }
                Ok(ours) => ended.push((index, first.finish(Ending::Decided(ours)))),
                Err(ending) => ended.push((index, first.finish(ending))),
            }
        }
        let deciding = doubtful.into_iter().map(|(index, event, first, ours)| {
            let this = &self;
            async move { (index, this.decided(&event, first, ours).await) }
        });
        ended.extend(join_all(deciding).await);
        ended
    }

    async fn decided(&self, event: &OrderEvent, first: First, ours: Stored) -> Outcome {
        let ending = self.decide(event, &first, ours).await;
        first.finish(ending)
    }

    /// Those that the order store does not know, and what became of the others.
    async fn look_up(&self, fresh: Vec<Fresh>) -> (Vec<Fresh>, Vec<Indexed>) {
        let keyed = fresh.iter().filter(|one| one.first.is_some());
        let ids: Vec<_> = keyed.map(|one| one.event.order_id).collect();
        let mut ended = Vec::with_capacity(fresh.len());
        if ids.is_empty() {
            return (fresh, ended);
        }
        let mut found = self.lookup.placements(&ids).await.into_iter();
        let mut unknown = Vec::with_capacity(fresh.len());
        for mut one in fresh {
            let Some(first) = one.first.take() else {
                unknown.push(one);
                continue;
            };
            let ending = match found.next() {
                Some(Ok(None)) => {
                    one.first = Some(first);
                    unknown.push(one);
                    continue;
                }
                Some(Ok(Some(earlier))) => Ending::Decided(of_store(&one.event, earlier)),
                Some(Err(failure)) => Ending::Failed(Refused::Failed(failure)),
                None => Ending::Failed(lost()),
            };
            ended.push((one.index, first.finish(ending)));
        }
        (unknown, ended)
    }
}

/// Where an order with an idempotency key goes.
enum Way {
    /// Nothing is known of it.
    Fresh(Arc<OrderEvent>, First),
    Settled(Outcome),
    /// It is seldom, and has a way of its own.
    Other(BoxFuture<'static, Outcome>),
}
