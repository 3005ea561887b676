//! The `comanda` binary as a child process.

use std::process::ExitStatus;
use std::time::Duration;

use comanda_sandbox::payment::Ledger;
use serde_json::Value;

use super::watched::Watched;
use super::{eventually, run_dir};

/// How long a start or an end may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings that move every address to a free port.
pub const FREE_PORTS: [&str; 10] = [
    "--set",
    "gateway.listen=127.0.0.1:0",
    "--set",
    "admin.listen=127.0.0.1:0",
    "--set",
    "sandbox.registry_listen=127.0.0.1:0",
    "--set",
    "sandbox.payment_listen=127.0.0.1:0",
    "--set",
    "sandbox.mailbox_listen=127.0.0.1:0",
];

/// A running `comanda`; stopped when dropped, its output shown where a test fails.
pub struct Comanda {
    process: Watched,
    command: String,
}

impl Comanda {
    /// Starts it in a folder of its own.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// As [`Comanda::start`], with environment variables.
    pub fn start_with(arguments: &[&str], variables: &[(String, String)]) -> Self {
        let folder = run_dir::folder("comanda");
        let binary = env!("CARGO_BIN_EXE_comanda");
        let process = Watched::start(binary, arguments, variables, &folder)
            .unwrap_or_else(|e| panic!("comanda does not start: {e:#}"));
        Self { process, command: format!("comanda {}", arguments.join(" ")) }
    }

    /// The first line of its output that contains `text`, as soon as it is there.
    pub async fn line(&mut self, text: &str) -> String {
        let what = format!("{}: a line with {text:?}", self.command);
        eventually(&what, PATIENCE, async || {
            // Before the output, which is whole once the process has ended.
            let ended = self.process.ended();
            let output = self.output();
            // Without the line that is being written.
            let mut lines = output.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let found =
                lines.find(|line| line.contains(text)).map(|line| line.trim_end().to_owned());
            assert!(found.is_some() || ended.is_none(), "{what}: it ended with {ended:?}");
            found
        })
        .await
    }

    /// What follows `label` on its line of the banner, e.g. a URL.
    pub async fn banner(&mut self, label: &str) -> String {
        let line = self.line(&format!("{label:<10} ")).await;
        let (_, value) = line.split_once(label).expect("the line has it");
        value.trim().to_owned()
    }

    /// The value of `field=` on the first log line that contains `text`.
    pub async fn logged(&mut self, text: &str, field: &str) -> String {
        let line = self.line(text).await;
        let value = line.split_once(&format!("{field}=")).map(|(_, rest)| rest);
        let value = value.unwrap_or_else(|| panic!("no {field} in {line:?}"));
        value.split_whitespace().next().expect("a value").to_owned()
    }

    /// All it has written so far: standard output, then standard error.
    pub fn output(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Sends SIGTERM.
    pub fn terminate(&mut self) {
        self.process.terminate();
    }

    /// Sends SIGSTOP.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// Sends SIGCONT.
    pub fn unpause(&mut self) {
        self.process.unpause();
    }

    /// Sends SIGKILL and waits until it is gone.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Memory that it occupies, in bytes.
    pub fn memory(&self) -> u64 {
        self.process.memory()
    }

    /// How it ends, within `limit`.
    pub async fn exit_within(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.command);
        eventually(&what, limit, async || self.process.ended()).await
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The JSON object in the last line of its standard output.
    pub fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e} in the last line of {self:#?}"))
    }
}

/// What the sandbox's payment provider at this URL has in its books.
pub async fn ledger(provider: &str) -> Ledger {
    let http = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let answer = http.get(format!("{provider}/ledger")).send().await.unwrap();
    answer.json().await.unwrap()
}

/// Runs a command to its end.
pub async fn run(arguments: &[&str]) -> Finished {
    run_with(arguments, &[]).await
}

/// As [`run`], with environment variables.
pub async fn run_with(arguments: &[&str], variables: &[(String, String)]) -> Finished {
    let mut comanda = Comanda::start_with(arguments, variables);
    let status = comanda.exit_within(6 * PATIENCE).await;
    Finished { status, stdout: comanda.process.stdout(), stderr: comanda.process.stderr() }
}
