//! Child processes of this binary: the cases, and the payment provider they call.

use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::sync::mpsc;

use super::case::{Line, Spec};
use super::meter::{Measured, Process};
use crate::cli::SettingsArgs;

/// Lines of a child that wait to be read.
const LINES: usize = 16;
/// How long a child may take to stop when asked.
const STOP: Duration = Duration::from_secs(30);

/// Says something to the parent: one line of JSON on the standard output.
pub fn say(line: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    Ok(out.flush()?)
}

/// Starts children with the settings of this process.
pub struct Starter {
    binary: PathBuf,
    settings: Vec<String>,
}

impl Starter {
    /// Children get `settings`, and the environment as it is.
    pub fn new(settings: &SettingsArgs) -> Result<Self> {
        let binary = std::env::current_exe().context("finding this binary")?;
        if settings.config.as_ref().is_some_and(|path| !path.is_file()) {
            bail!("bench gives --config to its children, so it has to be a plain file");
        }
        let config = settings.config.iter();
        let config = config.flat_map(|file| ["--config".to_owned(), file.display().to_string()]);
        let set = settings.overrides().into_iter().flat_map(|set| ["--set".to_owned(), set]);
        Ok(Self { binary, settings: config.chain(set).collect() })
    }

    /// The sandbox's payment provider, which takes `latency_ms` for a charge.
    pub async fn provider(&self, latency_ms: u64) -> Result<Provider> {
        let latency = format!("sandbox.payment.latency_ms={latency_ms}");
        let mut running =
            self.start(&["sandbox", "payment", "--listen", "127.0.0.1:0"], Some(latency))?;
        let line = running.line().await?;
        let Some((_, url)) = line.split_once("http://") else {
            bail!("the payment provider says {line:?} instead of its address");
        };
        Ok(Provider { url: format!("http://{url}"), _running: running })
    }

    /// A case; it calls the provider at `provider`, where it calls one.
    pub fn case(&self, spec: &Spec, provider: Option<&Provider>) -> Result<Case> {
        let spec = serde_json::to_string(spec)?;
        let url = provider.map(|p| format!("payment.provider_url={}", p.url));
        Ok(Case(self.start(&["bench", "case", &spec], url)?))
    }

    /// Any command; `set` is one more setting.
    pub fn start(&self, arguments: &[&str], set: Option<String>) -> Result<Running> {
        let mut command = Command::new(&self.binary);
        // The last setting wins; all stand after the command, because those before it would be
        // forgotten.
        command.args(arguments).args(&self.settings);
        command.args(set.iter().flat_map(|set| ["--set", set.as_str()]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a process of this binary")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.context("the process has no output")?;
        let (sender, lines) = mpsc::channel(LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Running { child, lines, stdin })
    }
}

/// A running child; killed when dropped.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Its end tells a case that this process is gone.
    stdin: Option<ChildStdin>,
}

impl Running {
    /// The next line that it says.
    pub async fn line(&mut self) -> Result<String> {
        self.lines.recv().await.context("a process ended early; what it said stands above")
    }

    /// What it costs.
    pub fn process(&self) -> Process {
        Process::of(self.child.id())
    }

    /// Asks it to stop, and waits until it has.
    pub async fn end(mut self) -> Result<()> {
        drop(self.stdin.take());
        // Its output ends when it does.
        let silence = async { while self.lines.recv().await.is_some() {} };
        tokio::time::timeout(STOP, silence).await.context("a process does not stop")?;
        let status = self.child.wait().context("waiting for a process")?;
        if !status.success() {
            bail!("a process ended with {status}; what it said stands above");
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing of it is to be kept; one that has ended already is fine as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The payment provider in a process of its own.
pub struct Provider {
    url: String,
    _running: Running,
}

/// A case in a process of its own.
pub struct Case(Running);

impl Case {
    /// Waits until it reads its topic.
    pub async fn ready(&mut self) -> Result<()> {
        match serde_json::from_str(&self.0.line().await?)? {
            Line::Ready => Ok(()),
            Line::Measured(_) => bail!("the case ended before it was ready"),
        }
    }

    /// Waits for its figures.
    pub async fn measured(mut self) -> Result<Measured> {
        loop {
            if let Line::Measured(measured) = serde_json::from_str(&self.0.line().await?)? {
                return Ok(measured);
            }
        }
    }
}
