//! A real PostgreSQL, on a free port of 127.0.0.1, where everybody is let in.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;

use super::tools::Tool;
use super::watched::Watched;
use super::{downloads, free_ports, on_free_ports, run_dir, tools, unique};

const START_LIMIT: Duration = Duration::from_secs(60);
/// Who runs it where the tests run as root, which it refuses: `nobody`, on most systems.
const UNPRIVILEGED: u32 = 65534;

/// A server with a data folder of its own; stops when dropped, or with the test process.
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    folder: PathBuf,
    server: Mutex<Watched>,
}

/// The server shared by the whole run, started by the first test that asks; `None` where the
/// prerequisites are missing and the test is to be skipped.
pub async fn shared() -> Option<&'static Postgres> {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    if !is_available() {
        return None;
    }
    let start = || async {
        Postgres::start().await.unwrap_or_else(|e| panic!("PostgreSQL does not start: {e:#}"))
    };
    Some(SERVER.get_or_init(start).await)
}

/// Whether a server can be had; says so where not, as [`tools::have`].
pub fn is_available() -> bool {
    tools::have(&[Tool::Java, Tool::Maven, Tool::Xz, Tool::Setpriv])
}

impl Postgres {
    /// Downloads PostgreSQL if needed, makes a new data folder, starts it and waits until it
    /// answers.
    pub async fn start() -> Result<Self> {
        let programs = tokio::task::spawn_blocking(downloads::postgres).await??.join("bin");
        let folder = run_dir::folder("postgres");
        let data = folder.join("data");
        fs::create_dir(&data)?;
        if is_root()? {
            chown(&data, Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
        }
        let initdb = unprivileged(&programs.join("initdb"));
        let made = Command::new(&initdb[0])
            .args(&initdb[1..])
            .args(["--username=comanda", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--no-instructions", "--pgdata", "data"])
            .current_dir(&folder)
            .output()?;
        let said = [made.stdout, made.stderr].concat();
        ensure!(
            made.status.success(),
            "initdb as user {UNPRIVILEGED} in {data:?}: {}",
            String::from_utf8_lossy(&said)
        );
        on_free_ports(async || {
            let [port] = free_ports()?;
            let server = Mutex::new(launch(&programs, &folder, port)?);
            let (programs, folder) = (programs.clone(), folder.clone());
            let postgres = Self { port, programs, folder, server };
            postgres.wait_until_ready().await?;
            Ok(postgres)
        })
        .await
    }

    /// URL of a database of it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://comanda@127.0.0.1:{}/{database}", self.port)
    }

    /// URL of a new, empty database.
    pub async fn create_database(&self) -> String {
        let name = unique("it").trim_end_matches('-').replace('-', "_");
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        self.url(&name)
    }

    /// Sends SIGKILL and waits until it is gone.
    pub fn kill9(&self) {
        self.server().kill9();
    }

    /// Starts it again after it was killed, where it was and with what it stored.
    pub async fn restart(&self) -> Result<()> {
        *self.server() = launch(&self.programs, &self.folder, self.port)?;
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let until = Instant::now() + START_LIMIT;
        while PgConnection::connect(&self.url("postgres")).await.is_err() {
            if self.server().ended().is_some() {
                // Those of its processes that outlive it for a moment keep the next one from
                // starting.
                let said = self.server().stderr();
                ensure!(said.contains("still in use"), "PostgreSQL ended: {said}");
                *self.server() = launch(&self.programs, &self.folder, self.port)?;
            }
            ensure!(
                Instant::now() < until,
                "not ready after {START_LIMIT:?}, see {:?}",
                self.folder
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn server(&self) -> MutexGuard<'_, Watched> {
        self.server.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Asked to end, it would wait for its clients.
        self.kill9();
    }
}

fn launch(programs: &Path, folder: &Path, port: u16) -> Result<Watched> {
    let mut command = unprivileged(&programs.join("postgres"));
    let port = format!("port={port}");
    let settings =
        [port.as_str(), "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"];
    let sizes = ["max_connections=200", "shared_buffers=64MB"];
    command.extend(["-D".to_owned(), "data".to_owned()]);
    for setting in settings.into_iter().chain(sizes) {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    Watched::start(&command[0], &command[1..], &[], folder)
}

/// The command that runs `program` as somebody whom PostgreSQL accepts.
fn unprivileged(program: &Path) -> Vec<String> {
    let mut command = Vec::new();
    if is_root().unwrap_or(false) {
        command.extend(["setpriv".to_owned(), "--clear-groups".to_owned()]);
        command.push(format!("--reuid={UNPRIVILEGED}"));
        command.push(format!("--regid={UNPRIVILEGED}"));
    }
    command.push(program.display().to_string());
    command
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}
