//! What runs in this process, and what becomes of the rest when a part ends.
//!
//! A service (the admin port, a part of the sandbox) ends the process with it. A role never ends
//! another: one that fails or panics is started again, each time after a longer pause, and
//! `/readyz` tells which and why. Two things still end the process: a signal, and a role that can't
//! be started as it is configured, the first time.

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use metrics::counter;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::readiness::Readiness;

/// Roles that were started again, by `role` (counter).
pub const RESTARTS_TOTAL: &str = "comanda_role_restarts_total";

/// Pause before the first restart of a role; it doubles with each further one.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(60);
/// A role that ran as long as this begins with the first pause again.
const STEADY: Duration = Duration::from_secs(120);

/// Context of an error that says: as it is configured, the role can't be started.
#[derive(Debug, Clone, Copy)]
pub struct Misconfigured;

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it can't be started as it is configured")
    }
}

/// What follows from the failure of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is started again after a pause that grows.
    Restart,
    /// It is started again, but not before this time: at once it would do harm.
    RestartAfter(Duration),
    /// It stays down until the process is started again, because each start would do harm.
    StayDown,
}

/// The parts of this process. Dropping it stops all at once.
pub struct Supervisor {
    parts: JoinSet<(&'static str, Result<()>)>,
    shutdown: CancellationToken,
    /// The first failure of a role, until it is asked for.
    role_failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Supervisor {
    /// Nothing runs yet; `shutdown` stops whatever will.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { parts: JoinSet::new(), shutdown, role_failure: Arc::default() }
    }

    /// Runs a service. Its end before the shutdown is a failure of the process.
    pub fn run<F>(&mut self, name: &'static str, part: F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.parts.spawn(async move { (name, part.await) });
    }

    /// Runs a role, again and again. `attempt` makes one run of it, which its token stops; `judge`
    /// says what follows from a failure.
    pub fn run_role<F>(
        &mut self,
        name: &'static str,
        readiness: &Readiness,
        judge: fn(&anyhow::Error) -> Verdict,
        attempt: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let role = Role {
            name,
            readiness: readiness.clone(),
            judge,
            shutdown: self.shutdown.clone(),
            failure: self.role_failure.clone(),
        };
        self.parts.spawn(async move { (name, role.run(attempt).await) });
    }

    /// Waits for a part to end before the shutdown, which is a failure.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.parts.join_next().await {
            Some(ended) => early(ended),
            None => std::future::pending().await,
        }
    }

    /// The failure of a part that has ended already, or the first one of a role, if any.
    pub fn failure(&mut self) -> Option<anyhow::Error> {
        let ended = self.parts.try_join_next().map(early);
        ended.or_else(|| lock(&self.role_failure).take())
    }

    /// Waits for the shutdown, then for all parts to end, up to `deadline`. A part that ends on
    /// its own stops the others and is the error.
    pub async fn wait(mut self, deadline: Duration) -> Result<()> {
        let mut outcome = Ok(());
        tokio::select! {
            // First, because parts that stop when asked can end in the same moment.
            biased;
            () = self.shutdown.cancelled() => {}
            Some(ended) = self.parts.join_next() => {
                outcome = Err(early(ended));
                self.shutdown.cancel();
            }
        }
        let stopped = async {
            while let Some(ended) = self.parts.join_next().await {
                match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((name, Err(failure))) => {
                        error!(
                            part = name,
                            error = format!("{failure:#}"),
                            "stopped with an error"
                        );
                        if outcome.is_ok() {
                            outcome = Err(failure.context(name));
                        }
                    }
                    Err(failure) => error!(%failure, "a part panicked while stopping"),
                }
            }
        };
        if tokio::time::timeout(deadline, stopped).await.is_err() {
            warn!(?deadline, "what had not stopped by the deadline was cut off");
        }
        outcome
    }
}

fn early(ended: Result<(&'static str, Result<()>), JoinError>) -> anyhow::Error {
    match ended {
        Ok((name, Ok(()))) => anyhow!("{name} ended without being asked"),
        Ok((name, Err(failure))) => failure.context(format!("{name} failed")),
        Err(failure) => anyhow!(failure).context("a part panicked"),
    }
}

/// A role under supervision.
struct Role {
    name: &'static str,
    readiness: Readiness,
    judge: fn(&anyhow::Error) -> Verdict,
    shutdown: CancellationToken,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Role {
    async fn run<F>(self, attempt: impl Fn(CancellationToken) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (mut pause, mut is_first) = (RESTART_PAUSE, true);
        loop {
            let began = Instant::now();
            let ended = self.attempt(&attempt).await;
            if self.shutdown.is_cancelled() {
                return ended;
            }
            let failure = ended.err().unwrap_or_else(|| anyhow!("it ended without being asked"));
            if is_first && failure.downcast_ref::<Misconfigured>().is_some() {
                return Err(failure);
            }
            if began.elapsed() > STEADY {
                pause = RESTART_PAUSE;
            }
            let wait = match (self.judge)(&failure) {
                Verdict::Restart => Some(pause),
                Verdict::RestartAfter(least) => Some(least.max(pause)),
                Verdict::StayDown => None,
            };
            self.report(failure, wait);
            let Some(wait) = wait else {
                self.shutdown.cancelled().await;
                return Ok(());
            };
            if self.shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Ok(());
            }
            (pause, is_first) = ((pause * 2).min(RESTART_PAUSE_MAX), false);
            counter!(RESTARTS_TOTAL, "role" => self.name).increment(1);
            info!(role = self.name, "role is started again");
            self.readiness.not_ready(self.name, "is being started again");
        }
    }

    /// One run, on a task of its own: a panic ends it alone. Whatever it leaves behind is stopped.
    async fn attempt<F>(&self, attempt: impl Fn(CancellationToken) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let stop = self.shutdown.child_token();
        let _stopping = stop.clone().drop_guard();
        match tokio::spawn(attempt(stop)).await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Err(anyhow!("it panicked: {}", words(panic.as_ref()))),
                Err(error) => Err(anyhow!(error)),
            },
        }
    }

    fn report(&self, failure: anyhow::Error, wait: Option<Duration>) {
        let error = format!("{failure:#}");
        let next = match wait {
            Some(wait) => {
                error!(role = self.name, error, pause = ?wait, "role ended, is started again after a pause");
                "is started again after a pause"
            }
            None => {
                error!(
                    role = self.name,
                    error, "role ended and stays down until the process is restarted"
                );
                "stays down until the process is restarted"
            }
        };
        self.readiness.not_ready(self.name, format!("has ended and {next}: {error}"));
        lock(&self.failure).get_or_insert_with(|| failure.context(format!("{} failed", self.name)));
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// The tasks of one run of a role. The first to end ends the others.
pub struct Crew {
    tasks: JoinSet<Result<()>>,
    stop: CancellationToken,
}

impl Crew {
    /// Nobody works yet; `stop` is told to all of them.
    pub fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop }
    }

    /// Adds a task.
    pub fn add(&mut self, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Adds a task on a thread that may block.
    pub fn add_blocking(&mut self, task: impl FnOnce() -> Result<()> + Send + 'static) {
        self.tasks.spawn_blocking(task);
    }

    /// Waits until all have ended; the first failure. An end before `stop` is one.
    pub async fn run(mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let was_asked = self.stop.is_cancelled();
            self.stop.cancel();
            let ended = match ended {
                Ok(Ok(())) if !was_asked => Err(anyhow!("it ended without being asked")),
                Ok(ended) => ended,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    Err(error) => Err(anyhow!(error)),
                },
            };
            outcome = outcome.and(ended);
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
