//! A real Mailpit: it takes mails over HTTP and shows them through its API.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use reqwest::Client;
use serde_json::Value;

use super::watched::Watched;
use super::{downloads, free_ports, on_free_ports, run_dir};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Mailpit without mails; stops when dropped, or with the test process.
pub struct Mailpit {
    url: String,
    http: Client,
    _server: Watched,
}

impl Mailpit {
    /// Builds Mailpit if needed, starts it with `arguments` and waits until it answers.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::try_to_start(arguments).await.unwrap_or_else(|e| panic!("no Mailpit: {e:#}"))
    }

    async fn try_to_start(arguments: &[&str]) -> Result<Self> {
        let binary = tokio::task::spawn_blocking(downloads::mailpit).await??.display().to_string();
        on_free_ports(async || Self::start_once(&binary, arguments).await).await
    }

    async fn start_once(binary: &str, arguments: &[&str]) -> Result<Self> {
        let folder = run_dir::folder("mailpit");
        let [port, smtp] = free_ports()?;
        let (listen, smtp) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{smtp}"));
        let own = ["--disable-version-check", "--listen", &listen, "--smtp", &smtp];
        let mut server = Watched::start(binary, &[&own[..], arguments].concat(), &[], &folder)?;
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        let url = format!("http://{listen}");
        let ready = format!("{url}/readyz");
        let until = Instant::now() + START_LIMIT;
        while !http.get(&ready).send().await.is_ok_and(|r| r.status().is_success()) {
            if let Some(status) = server.ended() {
                bail!("Mailpit ended with {status}: {}{}", server.stdout(), server.stderr());
            }
            ensure!(Instant::now() < until, "not ready after {START_LIMIT:?}, see {folder:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { url, http, _server: server })
    }

    /// Base URL of page and API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All mails that it has, each with its bodies.
    pub async fn mails(&self) -> Vec<Value> {
        let listing: Value = serde_json::from_str(&self.get("messages?limit=500").await).unwrap();
        let mut mails = Vec::new();
        for mail in listing["messages"].as_array().expect("a list of mails") {
            let id = mail["ID"].as_str().expect("an id");
            mails.push(serde_json::from_str(&self.get(&format!("message/{id}")).await).unwrap());
        }
        mails
    }

    /// The mail as it would go over the wire: headers and encoded bodies.
    pub async fn raw(&self, mail: &Value) -> String {
        self.get(&format!("message/{}/raw", mail["ID"].as_str().expect("an id"))).await
    }

    async fn get(&self, path: &str) -> String {
        let url = format!("{}/api/v1/{path}", self.url);
        let answer = self.http.get(&url).send().await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }
}
