//! Where the keys come from that tokens are verified with.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::header::ACCEPT;
use reqwest::{Client, StatusCode, Url, redirect};
use secrecy::ExposeSecret;

use super::load::{LoadError, read};
use super::options::JwtOptions;
use super::token::{Key, KeySet};
use super::{jwks, secret};
use crate::Error;
use crate::config::millis;

/// Most bytes of a key set that is fetched.
const MAX_FETCHED_BYTES: usize = 256 << 10;

/// Where the keys come from.
pub(super) enum Source {
    /// The settings: they stay as they are.
    Fixed(String),
    SecretFile(PathBuf),
    JwksFile(PathBuf),
    JwksUrl {
        client: Client,
        url: Url,
    },
}

impl Source {
    /// The one source that is set.
    pub fn new(options: &JwtOptions) -> Result<Self, Error> {
        let secret = options.secret.expose_secret();
        if !secret.is_empty() {
            return Ok(Self::Fixed(secret.to_owned()));
        }
        if !options.secret_file.is_empty() {
            return Ok(Self::SecretFile(options.secret_file.as_str().into()));
        }
        if !options.jwks_file.is_empty() {
            return Ok(Self::JwksFile(options.jwks_file.as_str().into()));
        }
        let refuse = |problem: String| Error::Options { key: "jwt.jwks_url", problem };
        let url = options.jwks_url.parse().map_err(|error| refuse(format!("{error}")))?;
        let timeout = millis(options.jwks_timeout_ms);
        let client = Client::builder()
            .user_agent(concat!("comanda/", env!("CARGO_PKG_VERSION")))
            // Whoever can give keys can give any rights: they come from this host and no other.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .build()
            .map_err(|error| refuse(format!("can't be fetched: {error}")))?;
        Ok(Self::JwksUrl { client, url })
    }

    /// The setting's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fixed(_) => "jwt.secret",
            Self::SecretFile(_) => "jwt.secret_file",
            Self::JwksFile(_) => "jwt.jwks_file",
            Self::JwksUrl { .. } => "jwt.jwks_url",
        }
    }

    /// Whether what it gives can change.
    pub fn can_change(&self) -> bool {
        !matches!(self, Self::Fixed(_))
    }

    /// Whether it is on another host, which may be away for a while.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::JwksUrl { .. })
    }

    /// What it gives now.
    pub async fn read(&self) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::Fixed(secret) => Ok(secret.clone().into_bytes()),
            Self::SecretFile(path) | Self::JwksFile(path) => read(path).await,
            Self::JwksUrl { client, url } => fetch(client, url).await,
        }
    }

    /// The keys in what it gave.
    pub fn parse(&self, content: &[u8]) -> Result<KeySet, LoadError> {
        match self {
            Self::Fixed(_) | Self::SecretFile(_) => {
                let decoding = DecodingKey::from_secret(secret::of_file(content)?.as_bytes());
                Ok(KeySet::Secret(Key { id: None, algorithm: Algorithm::HS256, decoding }))
            }
            Self::JwksFile(_) | Self::JwksUrl { .. } => jwks::parse(content).map(KeySet::Published),
        }
    }
}

async fn fetch(client: &Client, url: &Url) -> Result<Vec<u8>, LoadError> {
    let failed = |error: reqwest::Error| LoadError::Fetch(error.without_url());
    let request = client.get(url.clone()).header(ACCEPT, "application/json");
    let mut response = request.send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(LoadError::Status(response.status()));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        if body.len() + part.len() > MAX_FETCHED_BYTES {
            return Err(LoadError::TooLarge(MAX_FETCHED_BYTES as u64));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
