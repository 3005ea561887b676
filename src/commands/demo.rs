//! `comanda demo`: sample orders through everything, followed to the last mail and audited.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comanda_schemas::OrderId;
use comanda_schemas::scan::From;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::audit::verdict;
use super::up::{self, House};
use crate::audit::{Audit, Follower, Report, Update};
use crate::cli::DemoArgs;
use crate::config::Loaded;
use crate::progress::Goals;
use crate::supervisor::Supervisor;
use crate::{samples, signals};

/// Orders that are being placed at one time.
const CONCURRENCY: usize = 64;
/// Tries at placing one order; the same key each time.
const TRIES: u32 = 5;
/// Wait between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// How long the topics are read on after everything was seen.
const SETTLE: Duration = Duration::from_millis(1_500);
/// How often the progress is shown.
const SHOW: Duration = Duration::from_millis(200);

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    orders: u64,
    accepted: u64,
    rejected: u64,
    paid: u64,
    failed: u64,
    mails: u64,
    lost: u64,
    duplicated: u64,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// The answer to one order.
enum Placed {
    Accepted(OrderId, Instant),
    Rejected(String),
}

/// Starts everything, places the orders, follows them; an error unless all is well.
pub async fn run(loaded: Loaded, args: DemoArgs) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    // Where starting fails, what runs already must not keep the process alive.
    let _stopping = shutdown.clone().drop_guard();
    let deadline = Duration::from_millis(loaded.settings.shutdown.deadline_ms);
    let mut supervisor = Supervisor::new(shutdown.clone());
    note!("starting comanda …");
    let Some(house) = up::open(&loaded, true, &mut supervisor, &shutdown).await? else {
        bail!("interrupted while starting");
    };
    let outcome = tokio::select! {
        outcome = demo(&house, &args) => outcome,
        failure = supervisor.failed() => Err(failure),
        () = shutdown.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    shutdown.cancel();
    let stopped = supervisor.wait(deadline).await;
    house.sandbox.close(deadline).await?;
    outcome.and(stopped)
}

async fn demo(house: &House, args: &DemoArgs) -> Result<()> {
    let settings = &house.sandbox.settings;
    let names = settings.topics.names();
    let mut follower = Follower::open(&settings.kafka, &names, &house.registry, From::End).await?;
    let mut run = Run::new(u64::from(args.orders));
    let mut placed = place_all(house, args);
    let goals = Goals::new(&["placed", "results", "mails"], run.goal);
    let mut show = tokio::time::interval(SHOW);
    let patience = Duration::from_secs(args.patience);
    let began = Instant::now();
    let mut last_progress = began;
    let mut complete_since: Option<Instant> = None;
    // Read on for a while when all is there: what is doubled comes late.
    while complete_since.is_none_or(|since| since.elapsed() < SETTLE) {
        tokio::select! {
            Some(answer) = placed.recv() => {
                run.answered(answer);
                last_progress = Instant::now();
            }
            update = follower.next() => match update.context("the readers ended")? {
                Update::Seen(fact, at) => {
                    run.audit.add(fact, at);
                    last_progress = Instant::now();
                }
                Update::CaughtUp => {}
                Update::Failed(error) => return Err(error),
            },
            _ = show.tick() => {
                run.look();
                goals.set(&run.counts());
                if run.is_complete() {
                    complete_since.get_or_insert_with(Instant::now);
                }
                if last_progress.elapsed() > patience {
                    break;
                }
            }
        }
    }
    goals.set(&run.counts());
    goals.finish();
    let took = last_progress.duration_since(began);
    run.finish(house, took, args.json)
}

/// A demo on its way.
struct Run {
    goal: u64,
    placed_at: HashMap<OrderId, Instant>,
    accepted: HashSet<OrderId>,
    rejected: Vec<String>,
    audit: Audit,
    report: Report,
}

impl Run {
    fn new(goal: u64) -> Self {
        Self {
            goal,
            placed_at: HashMap::new(),
            accepted: HashSet::new(),
            rejected: Vec::new(),
            audit: Audit::default(),
            report: Report::default(),
        }
    }

    fn answered(&mut self, answer: Placed) {
        match answer {
            Placed::Accepted(id, at) => {
                self.accepted.insert(id);
                self.placed_at.insert(id, at);
            }
            Placed::Rejected(why) => self.rejected.push(why),
        }
    }

    fn answers(&self) -> u64 {
        (self.placed_at.len() + self.rejected.len()) as u64
    }

    /// Audits what is known so far.
    fn look(&mut self) {
        self.report = self.audit.report(Some(&self.accepted));
    }

    fn counts(&self) -> [u64; 3] {
        [self.answers(), self.report.results, self.report.notifications]
    }

    /// Every order is answered, and every accepted one has its result and its notification.
    fn is_complete(&self) -> bool {
        let report = &self.report;
        self.answers() >= self.goal
            && report.order_events >= self.accepted.len() as u64
            && report.lost + report.unnotified == 0
    }

    /// Milliseconds from placing to the first sight of the result, sorted.
    fn latencies(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self
            .placed_at
            .iter()
            .filter_map(|(id, placed)| {
                let seen = self.audit.first_result(*id)?;
                Some(seen.saturating_duration_since(*placed).as_secs_f64() * 1000.0)
            })
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }

    fn finish(mut self, house: &House, took: Duration, json: bool) -> Result<()> {
        self.look();
        let report = &self.report;
        let accepted = self.accepted.len() as u64;
        let latencies = self.latencies();
        let count = |kind: &str| report.by_type.get(kind).copied().unwrap_or(0);
        // An order that was answered with a receipt and is not in the topic is lost as well.
        let missing = accepted.saturating_sub(report.order_events);
        let summary = Summary {
            orders: self.goal,
            accepted,
            rejected: self.rejected.len() as u64,
            paid: count("SUCCEEDED"),
            failed: count("FAILED"),
            mails: report.sent,
            lost: report.lost + missing,
            duplicated: report.duplicated,
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
            p50_ms: percentile(&latencies, 0.50),
            p99_ms: percentile(&latencies, 0.99),
        };
        say!("{}", text(&summary, report));
        for why in self.rejected.iter().take(5) {
            say!("rejected: {why}");
        }
        let problems = self.problems(&summary, house);
        for problem in &problems {
            say!("PROBLEM: {problem}");
        }
        if json {
            say!("{}", serde_json::to_string(&summary)?);
        }
        if !problems.is_empty() {
            bail!("not all went well: {}", problems.join("; "));
        }
        Ok(())
    }

    fn problems(&self, summary: &Summary, house: &House) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |wrong: bool, words: String| {
            if wrong {
                problems.push(words);
            }
        };
        let unanswered = self.goal - self.answers().min(self.goal);
        check(unanswered > 0, format!("{unanswered} orders were not answered in time"));
        check(summary.rejected > 0, format!("{} orders were rejected", summary.rejected));
        check(summary.lost > 0, format!("{} orders have no result", summary.lost));
        check(summary.duplicated > 0, format!("{} events are doubled", summary.duplicated));
        check(
            self.report.out_of_order > 0,
            format!("{} results are out of order", self.report.out_of_order),
        );
        check(
            summary.mails != summary.accepted,
            format!("{} mails for {} orders", summary.mails, summary.accepted),
        );
        check(self.report.dead_letters > 0, format!("{} dead letters", self.report.dead_letters));
        // On a broker of our own nothing but this run can have reached the providers.
        if house.sandbox.broker.is_none() {
            return problems;
        }
        if let Some(mailbox) = &house.sandbox.mailbox {
            let arrived = mailbox.counts().received;
            check(
                arrived != summary.mails,
                format!("the mailbox has {arrived} mails, the topic says {}", summary.mails),
            );
        }
        if let Some(payment) = &house.sandbox.payment {
            let charges = payment.ledger().totals.charges;
            check(
                charges != summary.paid,
                format!("the provider charged {charges} times, {} orders are paid", summary.paid),
            );
        }
        problems
    }
}

fn text(summary: &Summary, report: &Report) -> String {
    format!(
        "\n{verdict}\n{accepted} of {orders} orders accepted, {paid} paid, {failed} not paid, \
         {mails} mails, in {seconds:.1} s\nplaced → result stored: median {p50:.1} ms, \
         99th percentile {p99:.1} ms",
        verdict = verdict(report),
        accepted = summary.accepted,
        orders = summary.orders,
        paid = summary.paid,
        failed = summary.failed,
        mails = summary.mails,
        seconds = summary.seconds,
        p50 = summary.p50_ms,
        p99 = summary.p99_ms,
    )
}

/// The value below which `share` of the sorted values lie (nearest rank); 0 of none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0);
    (value * 100.0).round() / 100.0
}

/// Places all orders through GraphQL, bounded in number and rate; the answers as they come.
fn place_all(house: &House, args: &DemoArgs) -> mpsc::Receiver<Placed> {
    let (answers, receiver) = mpsc::channel(CONCURRENCY);
    let client = Client {
        http: reqwest::Client::new(),
        url: format!("http://{}/graphql", house.gateway),
        key: house.sandbox.api_key.clone(),
        run: uuid::Uuid::new_v4().simple().to_string(),
    };
    let (orders, rate) = (args.orders as usize, args.rate);
    tokio::spawn(async move {
        let (client, free) = (Arc::new(client), Arc::new(Semaphore::new(CONCURRENCY)));
        let stop = CancellationToken::new();
        let mut tick = rate.map(|rate| {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            tick
        });
        let mut placing = JoinSet::new();
        for n in 0..orders {
            if let Some(tick) = &mut tick {
                tick.tick().await;
            }
            let Ok(room) = free.clone().acquire_owned().await else { return };
            let (client, answers, gone) = (client.clone(), answers.clone(), stop.clone());
            placing.spawn(async move {
                let answer = client.place(n).await;
                if answers.send(answer).await.is_err() {
                    gone.cancel();
                }
                drop(room);
            });
            while placing.try_join_next().is_some() {}
            if stop.is_cancelled() {
                return;
            }
        }
        while placing.join_next().await.is_some() {}
    });
    receiver
}

struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
    run: String,
}

const PLACE: &str = "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) \
                     { order { id } errors { code message path } } }";

impl Client {
    async fn place(&self, n: usize) -> Placed {
        let mut input = samples::order(n);
        input["idempotencyKey"] = json!(format!("demo-{}-{n}", self.run));
        let body = json!({ "query": PLACE, "variables": { "input": input } });
        let at = Instant::now();
        let mut why = String::new();
        for attempt in 1..=TRIES {
            match self.send(&body).await {
                Ok(id) => return Placed::Accepted(id, at),
                Err((_, false)) if attempt == TRIES => {}
                Err((error, true)) => return Placed::Rejected(format!("{error:#}")),
                Err((error, false)) => {
                    why = format!("{error:#}");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
        Placed::Rejected(format!("{why} ({TRIES} tries)"))
    }

    /// The order's id, or why not and whether that is final.
    async fn send(&self, body: &Value) -> Result<OrderId, (anyhow::Error, bool)> {
        let passing = |error: reqwest::Error| (error.into(), false);
        let request = self.http.post(&self.url).bearer_auth(&self.key).json(body);
        let answer: Value = request.send().await.map_err(passing)?.json().await.map_err(passing)?;
        let payload = &answer["data"]["placeOrder"];
        if let Some(id) = payload["order"]["id"].as_str() {
            let id = id.parse().context("the gateway's order id");
            return id.map_err(|error| (error, true));
        }
        let retriable = answer["errors"][0]["extensions"]["retriable"] == json!(true);
        let errors = if payload["errors"].is_array() { payload } else { &answer };
        Err((anyhow::anyhow!("{}", errors["errors"]), !retriable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 0.50), 100.0);
        assert_eq!(percentile(&sorted, 0.99), 198.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
