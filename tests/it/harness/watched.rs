//! Child processes that can't outlive the test process.
//!
//! Statics of a test binary are never dropped, and a test can be killed at any time, so dropping
//! is not enough. Each child starts as a shell that leaves a watcher behind and becomes the
//! program (`exec`: the pid is the program's). The watcher reads a pipe whose other end only the
//! test process has; when that ends, however it ends, the watcher stops the program. A line on
//! the pipe dismisses the watcher.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const LEASH: &str = r#"
exec 3<&0 </dev/null
(
    read -r _ <&3 && exit
    kill -TERM $$
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $$ || exit; sleep 0.5; done
    kill -KILL $$
) >/dev/null 2>&1 &
exec "$@" 3<&-
"#;

/// How long a child may take to end by itself when it is dropped.
const GRACE: Duration = Duration::from_secs(5);

/// A running program with its output in files.
pub struct Watched {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Watched {
    /// Starts `program` in `folder`, which gets its output as `stdout` and `stderr`. Settings of
    /// comanda in this process's environment are not handed on, only those of `variables`.
    pub fn start<S: AsRef<OsStr>>(
        program: &str,
        arguments: &[S],
        variables: &[(String, String)],
        folder: &Path,
    ) -> Result<Self> {
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        let mut command = Command::new("sh");
        let ours = |name: &OsString| name.to_string_lossy().starts_with("COMANDA");
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        let child = command
            .args(["-c", LEASH, "sh", program])
            .args(arguments)
            .env_remove("RUST_LOG")
            .envs(variables.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        Ok(Self { child, stdout, stderr })
    }

    /// What it has written to its standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.try_wait().expect("a child of ours");
        if ended.is_some() {
            self.dismiss_watcher();
        }
        ended
    }

    /// Sends SIGTERM, as an orchestrator does.
    pub fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// Sends SIGSTOP: it stands still, with its connections open.
    pub fn pause(&mut self) {
        self.signal("STOP");
    }

    /// Sends SIGCONT.
    pub fn unpause(&mut self) {
        self.signal("CONT");
    }

    /// Memory that it occupies, in bytes.
    pub fn memory(&self) -> u64 {
        let id = self.child.id().to_string();
        let told = Command::new("ps").args(["-o", "rss=", "-p", &id]).output().expect("ps runs");
        let told = String::from_utf8_lossy(&told.stdout);
        told.trim().parse::<u64>().unwrap_or_else(|e| panic!("{e} in {told:?}")) * 1024
    }

    fn signal(&mut self, name: &str) {
        if self.ended().is_none() {
            let kill = format!("kill -{name} {}", self.child.id());
            let sent = Command::new("sh").args(["-c", &kill]).status();
            assert!(sent.is_ok_and(|s| s.success()), "{kill}");
        }
    }

    /// Sends SIGKILL and waits until it is gone.
    pub fn kill9(&mut self) {
        if self.ended().is_none() {
            self.child.kill().expect("a child of ours");
            self.child.wait().expect("a child of ours");
            self.dismiss_watcher();
        }
    }

    fn dismiss_watcher(&mut self) {
        if let Some(mut leash) = self.child.stdin.take() {
            let _ = leash.write_all(b"\n");
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.unpause();
        self.terminate();
        let until = Instant::now() + GRACE;
        while self.ended().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill9();
        if std::thread::panicking() {
            let last = |text: String| {
                let from = text.char_indices().rev().nth(8_000).map_or(0, |(at, _)| at);
                text[from..].to_owned()
            };
            eprintln!("--- {}\n{}", self.stdout.display(), last(self.stdout()));
            eprintln!("--- {}\n{}", self.stderr.display(), last(self.stderr()));
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

#[tokio::test]
async fn a_child_ends_when_nobody_holds_its_leash() {
    let folder = super::run_dir::folder("leash");
    let mut child = Watched::start("sleep", &["600"], &[], &folder).unwrap();
    assert!(child.ended().is_none());
    drop(child.child.stdin.take());
    let ended = async || child.ended();
    super::eventually("the watcher ends its child", Duration::from_secs(10), ended).await;
}
