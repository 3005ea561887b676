use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::*;

const PATIENCE: Duration = Duration::from_secs(3600);

fn told(readiness: &Readiness) -> Value {
    serde_json::to_value(readiness.report()).unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect(what);
}

struct House {
    shutdown: CancellationToken,
    readiness: Readiness,
    supervisor: Supervisor,
    starts: Arc<AtomicU32>,
}

impl House {
    fn new() -> Self {
        let shutdown = CancellationToken::new();
        Self {
            readiness: Readiness::default(),
            supervisor: Supervisor::new(shutdown.clone()),
            shutdown,
            starts: Arc::default(),
        }
    }

    /// A role whose nth run does `what`, the first of them 0.
    fn role<F>(&mut self, name: &'static str, what: fn(u32, CancellationToken) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (starts, readiness) = (self.starts.clone(), self.readiness.clone());
        let judge = |failure: &anyhow::Error| match format!("{failure}").as_str() {
            "harmful" => Verdict::StayDown,
            _ => Verdict::Restart,
        };
        self.readiness.not_ready(name, "is not started yet");
        self.supervisor.run_role(name, &self.readiness, judge, move |stop| {
            let n = starts.fetch_add(1, Ordering::SeqCst);
            let readiness = readiness.clone();
            async move {
                if n == 2 {
                    readiness.add(name, || Ok(()));
                }
                what(n, stop).await
            }
        });
    }

    /// A role that works until it is stopped.
    fn neighbour(&mut self) {
        self.readiness.add("neighbour", || Ok(()));
        self.supervisor.run_role(
            "neighbour",
            &self.readiness,
            |_| Verdict::Restart,
            |stop| async move {
                stop.cancelled().await;
                Ok(())
            },
        );
    }

    async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.supervisor.wait(PATIENCE).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_fails_or_panics_is_started_again_and_ends_no_other() {
    let mut house = House::new();
    house.neighbour();
    house.role("payment", |n, stop| async move {
        match n {
            0 => bail!("the provider's name is wrong"),
            1 => panic!("out of {}", "luck"),
            _ => {
                stop.cancelled().await;
                Ok(())
            }
        }
    });
    until("the first failure is told", || {
        let report = told(&house.readiness);
        report["parts"]["payment"].as_str().unwrap().contains("the provider's name is wrong")
    })
    .await;
    assert_eq!(told(&house.readiness)["parts"]["neighbour"], "ready");
    assert!(told(&house.readiness)["since"]["payment"].is_string());
    until("the panic is told", || {
        let report = told(&house.readiness);
        report["parts"]["payment"].as_str().unwrap().contains("it panicked: out of luck")
    })
    .await;
    until("it works", || house.readiness.is_ready()).await;
    assert_eq!(house.starts.load(Ordering::SeqCst), 3);
    assert!(house.supervisor.failure().unwrap().to_string().contains("payment failed"));
    assert!(house.supervisor.failure().is_none(), "it is told once");
    house.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_role_whose_restart_would_do_harm_stays_down_alone() {
    let mut house = House::new();
    house.neighbour();
    house.role("payment", |_, _| async { Err(anyhow!("harmful")) });
    until("it is down", || {
        let report = told(&house.readiness);
        report["parts"]["payment"].as_str().unwrap().contains("stays down")
    })
    .await;
    tokio::time::sleep(2 * RESTART_PAUSE_MAX).await;
    assert_eq!(house.starts.load(Ordering::SeqCst), 1);
    assert_eq!(told(&house.readiness)["parts"]["neighbour"], "ready");
    house.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wrong_configuration_ends_the_process_at_start_and_not_later() {
    let mut house = House::new();
    house.role("gateway", |n, stop| async move {
        match n {
            0 | 2 => bail!("the log ends"),
            1 => Err(anyhow!("the port is taken")).context(Misconfigured),
            _ => {
                stop.cancelled().await;
                Ok(())
            }
        }
    });
    until("it is started a fourth time", || house.starts.load(Ordering::SeqCst) == 4).await;
    house.stop().await.unwrap();

    let mut house = House::new();
    house.neighbour();
    house
        .role("gateway", |_, _| async { Err(anyhow!("the port is taken")).context(Misconfigured) });
    let failure = house.supervisor.wait(PATIENCE).await.unwrap_err();
    let failure = format!("{failure:#}");
    assert!(failure.starts_with("gateway failed: ") && failure.ends_with("the port is taken"));
}

#[tokio::test(start_paused = true)]
async fn the_first_of_a_crew_to_end_ends_the_others() {
    let stop = CancellationToken::new();
    let mut crew = Crew::new(stop.clone());
    let asked = stop.clone();
    crew.add(async move {
        asked.cancelled().await;
        Ok(())
    });
    crew.add(async { bail!("lost") });
    assert_eq!(crew.run().await.unwrap_err().to_string(), "lost");
    assert!(stop.is_cancelled());

    let stop = CancellationToken::new();
    let mut crew = Crew::new(stop.clone());
    crew.add_blocking(|| Ok(()));
    let failure = crew.run().await.unwrap_err();
    assert_eq!(failure.to_string(), "it ended without being asked");
}
