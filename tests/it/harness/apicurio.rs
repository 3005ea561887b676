//! A real schema registry: Apicurio, through its Confluent-compatible API.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use comanda_schemas::{Registry, RegistryOptions};

use super::watched::Watched;
use super::{downloads, free_ports, on_free_ports, run_dir};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running registry with an empty in-memory database; stops when dropped, or with the test
/// process.
pub struct Apicurio {
    url: String,
    _server: Watched,
}

impl Apicurio {
    /// Downloads Apicurio if needed, starts it and waits until it answers.
    pub async fn start() -> Result<Self> {
        let jar = tokio::task::spawn_blocking(downloads::apicurio).await??.display().to_string();
        on_free_ports(async || Self::try_start(&jar).await).await
    }

    async fn try_start(jar: &str) -> Result<Self> {
        let folder = run_dir::folder("apicurio");
        let [port] = free_ports()?;
        let arguments = [
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "-Dquarkus.http.host=127.0.0.1",
            &format!("-Dquarkus.http.port={port}"),
            "-jar",
            jar,
        ];
        let mut server = Watched::start("java", &arguments, &[], &folder)?;
        let url = format!("http://127.0.0.1:{port}/apis/ccompat/v7");
        let http = reqwest::Client::builder().no_proxy().build()?;
        let until = Instant::now() + START_LIMIT;
        let subjects = format!("{url}/subjects");
        while !http.get(&subjects).send().await.is_ok_and(|r| r.status().is_success()) {
            if let Some(status) = server.ended() {
                bail!("Apicurio ended with {status}: {}{}", server.stdout(), server.stderr());
            }
            ensure!(Instant::now() < until, "not ready after {START_LIMIT:?}, see {folder:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { url, _server: server })
    }

    /// Base URL of the Confluent-compatible API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client that registers what is missing.
    pub fn client(&self) -> Registry {
        client(&self.url)
    }
}

/// A client of the registry at `url` that registers what is missing.
pub fn client(url: &str) -> Registry {
    let options = RegistryOptions {
        url: url.to_owned(),
        username: String::new(),
        password: "".into(),
        auto_register: true,
        timeout_ms: 5_000,
    };
    Registry::new(&options).expect("a URL of ours")
}
