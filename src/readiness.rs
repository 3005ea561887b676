//! Which parts of the process work, and what stands still, why and since when: what `/readyz` and
//! the metric tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use comanda_schemas::Timestamp;
use metrics::gauge;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a part has not been ready; 0 where it is (gauge, by `part`).
pub const NOT_READY_SECONDS: &str = "comanda_part_not_ready_seconds";

/// How often the parts are asked for the metric and the log.
const LOOK: Duration = Duration::from_secs(1);

/// Whether a part is ready, and if not, why.
type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Something to tell that does not decide whether the process is ready.
type Detail = Arc<dyn Fn() -> Value + Send + Sync>;

/// The parts that must be ready before the process is; cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
    details: Arc<Mutex<BTreeMap<&'static str, Detail>>>,
}

struct Part {
    check: Check,
    /// Since when it has not been ready.
    since: Option<(Timestamp, Instant)>,
    /// The state that the log was told.
    told: Option<Result<(), String>>,
}

/// Answer of `/readyz`.
#[derive(Serialize)]
pub struct Report {
    /// Whether every part is ready.
    pub ready: bool,
    parts: BTreeMap<&'static str, String>,
    /// Since when the parts that are not ready are not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    since: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<&'static str, Value>,
}

impl Readiness {
    /// Adds a part, or another check of one that is known.
    pub fn add(
        &self,
        part: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let check: Check = Arc::new(check);
        let mut parts = self.parts();
        match parts.get_mut(part) {
            Some(known) => known.check = check,
            None => {
                parts.insert(part, Part { check, since: None, told: None });
            }
        }
    }

    /// A part is not ready, for `reason`, until it gets another check.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        self.add(part, move || Err(reason.clone()));
    }

    /// Adds something to tell, whatever it says.
    pub fn tell(&self, what: &'static str, detail: impl Fn() -> Value + Send + Sync + 'static) {
        let mut details = self.details.lock().unwrap_or_else(|e| e.into_inner());
        details.insert(what, Arc::new(detail));
    }

    /// Asks every part.
    pub fn report(&self) -> Report {
        let mut parts = self.parts();
        let mut report = Report {
            ready: !parts.is_empty(),
            parts: BTreeMap::new(),
            since: BTreeMap::new(),
            details: BTreeMap::new(),
        };
        for (name, part) in parts.iter_mut() {
            let state = part.look();
            report.ready &= state.is_ok();
            report.since.extend(part.since.map(|(since, _)| (*name, since.to_rfc3339())));
            report.parts.insert(name, state.err().unwrap_or_else(|| "ready".to_owned()));
        }
        let details = self.details.lock().unwrap_or_else(|e| e.into_inner());
        report.details = details.iter().map(|(what, detail)| (*what, detail())).collect();
        report
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.report().ready
    }

    /// Sets the metric, and logs what changes, until `stop`.
    pub fn watch(&self, stop: CancellationToken) {
        let readiness = self.clone();
        tokio::spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
                readiness.publish();
            }
        });
    }

    fn publish(&self) {
        for (name, part) in self.parts().iter_mut() {
            let state = part.look();
            let seconds = part.since.map(|(_, since)| since.elapsed().as_secs_f64());
            gauge!(NOT_READY_SECONDS, "part" => *name).set(seconds.unwrap_or(0.0));
            if part.told.as_ref() == Some(&state) {
                continue;
            }
            match (&state, &part.told) {
                (Ok(()), _) => info!(part = name, "part is ready"),
                // Only the words changed, as they do with every count in them.
                (Err(_), Some(Err(_))) => {}
                (Err(reason), _) => warn!(part = name, reason, "part is not ready"),
            }
            part.told = Some(state);
        }
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<&'static str, Part>> {
        self.parts.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Part {
    fn look(&mut self) -> Result<(), String> {
        let state = (self.check)();
        match (&state, self.since) {
            (Ok(()), _) => self.since = None,
            (Err(_), Some(_)) => {}
            (Err(_), None) => self.since = Some((Timestamp::now(), Instant::now())),
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn told(readiness: &Readiness) -> Value {
        serde_json::to_value(readiness.report()).unwrap()
    }

    #[test]
    fn a_part_that_is_not_ready_says_why_and_since_when() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready(), "nothing is announced yet");
        let works = Arc::new(AtomicBool::new(true));
        let state = works.clone();
        readiness.add("projector", move || {
            state.load(Ordering::SeqCst).then_some(()).ok_or_else(|| "disk is full".to_owned())
        });
        assert!(readiness.is_ready());
        assert_eq!(told(&readiness)["parts"]["projector"], "ready");
        assert!(told(&readiness).get("since").is_none());
        works.store(false, Ordering::SeqCst);
        let first = told(&readiness);
        assert_eq!(first["ready"], false);
        assert_eq!(first["parts"]["projector"], "disk is full");
        assert!(first["since"]["projector"].is_string());
        readiness.not_ready("projector", "is started again");
        let second = told(&readiness);
        assert_eq!(second["parts"]["projector"], "is started again");
        assert_eq!(second["since"], first["since"], "it was not ready all the time");
        readiness.add("projector", || Ok(()));
        assert!(told(&readiness).get("since").is_none());
    }
}
