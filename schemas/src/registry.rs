//! The schema registry: ids of the bundled schemas, and the schemas behind foreign ids.
//!
//! Ids are resolved once at start; after that only a record with an id never seen before asks the
//! registry, so an outage of it stops nobody. Failures are never remembered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_referenced_schema, get_schema_by_id, is_compatible_schema, perform_sr_call,
    post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RegisteredReference, RegisteredSchema, SchemaType, SrCall, SuppliedSchema,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::info;

use answer::Answer;
use reach::Unreachable;

use crate::codec::{DecodeError, WriterSchema, split};
use crate::{Topic, TopicNames, url_without_login};

/// How to reach the registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryOptions {
    /// Base URL of a Confluent-compatible registry.
    pub url: String,
    /// User for HTTP basic authentication; empty for none.
    pub username: String,
    /// Password for HTTP basic authentication.
    pub password: SecretString,
    /// Register the bundled schemas at start; otherwise they must be there already.
    pub auto_register: bool,
    /// Limit of one request, in milliseconds.
    pub timeout_ms: u64,
}

/// The boxed cause of an error, as `source()` gives it.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the registry could not help.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It did not answer, or answered that it can't now; trying again can help.
    #[error("schema registry at {url} (registry.url) is not available")]
    Unavailable {
        /// Its base URL.
        url: String,
        /// What the client met.
        #[source]
        source: Cause,
    },
    /// It knows no such subject, id or version.
    #[error("{what} is not in the schema registry")]
    NotFound {
        /// The subject or id.
        what: String,
    },
    /// It refused the schema as incompatible with a registered version.
    #[error("the schema for {subject} is incompatible with a registered version: {message}")]
    Incompatible {
        /// The subject.
        subject: String,
        /// The registry's words.
        message: String,
    },
    /// Any other refusal: authentication, an unknown schema type, a broken schema.
    #[error("schema registry at {url} (registry.url) refused {what}")]
    Refused {
        /// Its base URL.
        url: String,
        /// What was asked.
        what: String,
        /// What the client met.
        #[source]
        source: Cause,
    },
}

impl RegistryError {
    /// Whether the same call can succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes are at fault; they will never decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The registry was asked for the writer's schema and could not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// How often a schema is offered that the registry calls incompatible and does not have, and the
/// wait in between, in which another process may finish registering it.
const REGISTER_TRIES: u32 = 5;
const REGISTER_AGAIN: Duration = Duration::from_millis(200);

/// How often the registry is asked for an id that it does not know. Behind a registry of several
/// nodes a new id can be missing for a moment.
const UNKNOWN_ID_ATTEMPTS: u32 = 8;

/// Schemas that one schema may refer to, directly or not.
const MAX_REFERENCES: usize = 1_000;

/// Tells whether reading one record can still succeed, over several tries.
#[derive(Debug, Default)]
pub struct ReadTries {
    unknown: u32,
}

impl ReadTries {
    /// Whether to try again after `error`: as long as the registry is away or refuses us, which
    /// says nothing about the record, and a few times when it does not know the schema's id.
    pub fn again_after(&mut self, error: &ReadError) -> bool {
        match error {
            ReadError::Decode(_) => false,
            ReadError::Registry(
                RegistryError::Unavailable { .. } | RegistryError::Refused { .. },
            ) => true,
            ReadError::Registry(
                RegistryError::NotFound { .. } | RegistryError::Incompatible { .. },
            ) => {
                self.unknown += 1;
                self.unknown < UNKNOWN_ID_ATTEMPTS
            }
        }
    }
}

/// A cheap-clone client of one registry, with the schemas it has already fetched.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    url: String,
    /// The same without the login that it may carry.
    shown_url: String,
    settings: SrSettings,
    /// For the one call that the converter's client does not have.
    http: reqwest::Client,
    login: Option<(String, SecretString)>,
    auto_register: bool,
    /// Held while the registry is asked for a schema.
    asking: tokio::sync::Mutex<()>,
    by_id: RwLock<HashMap<u32, Arc<WriterSchema>>>,
}

impl Registry {
    /// A client; nothing is sent yet.
    pub fn new(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let url = options.url.trim_end_matches('/').to_owned();
        let shown_url = url_without_login(&url);
        let timeout = Duration::from_millis(options.timeout_ms);
        let refused = |source: Cause| RegistryError::Refused {
            url: shown_url.clone(),
            what: "the client's settings".into(),
            source,
        };
        let login = (!options.username.is_empty())
            .then(|| (options.username.clone(), options.password.clone()));
        let mut builder = SrSettings::new_builder(url.clone());
        builder.set_timeout(timeout).no_proxy();
        if let Some((user, password)) = &login {
            builder.set_basic_authorization(user, Some(password.expose_secret()));
        }
        let settings = builder.build().map_err(|e| refused(e.into()))?;
        let http = reqwest::Client::builder().timeout(timeout).no_proxy().build();
        let http = http.map_err(|e| refused(e.into()))?;
        let auto_register = options.auto_register;
        let inner = Inner {
            url,
            shown_url,
            settings,
            http,
            login,
            auto_register,
            asking: Default::default(),
            by_id: RwLock::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Id of the bundled schema of `topic`: registered where the options allow it, else looked up.
    pub async fn resolve(&self, names: &TopicNames, topic: Topic) -> Result<u32, RegistryError> {
        let subject = names.subject(topic);
        let id = if self.inner.auto_register {
            self.register_or_find(&subject, topic).await?
        } else {
            self.lookup(&subject, topic).await?
        };
        let schema = WriterSchema::parse(id, topic.schema_json());
        let schema = schema.expect("bundled schemas parse; a test reads each");
        self.remember(id, schema);
        info!(%subject, id, "schema resolved");
        Ok(id)
    }

    /// Registers, where processes that start together can be at it at the same time: a registry
    /// may answer all but the first of them with the 409 of an incompatible schema.
    async fn register_or_find(&self, subject: &str, topic: Topic) -> Result<u32, RegistryError> {
        let mut tries = 1;
        loop {
            let refused = match self.register(subject, topic).await {
                Err(refused @ RegistryError::Incompatible { .. }) => refused,
                answered => return answered,
            };
            match self.lookup(subject, topic).await {
                Err(RegistryError::NotFound { .. }) if tries < REGISTER_TRIES => {
                    tries += 1;
                    tokio::time::sleep(REGISTER_AGAIN).await;
                }
                Err(RegistryError::NotFound { .. }) => return Err(refused),
                found => return found,
            }
        }
    }

    /// Registers the bundled schema of `topic` under `subject`; the id it has, new or not.
    pub async fn register(&self, subject: &str, topic: Topic) -> Result<u32, RegistryError> {
        post_schema(&self.inner.settings, subject.to_owned(), supplied(topic))
            .await
            .map(|registered| registered.id)
            .map_err(|e| self.error(subject, e))
    }

    /// Id of the bundled schema of `topic` under `subject`, where it is registered.
    pub async fn lookup(&self, subject: &str, topic: Topic) -> Result<u32, RegistryError> {
        let body = serde_json::json!({ "schema": topic.schema_json(), "schemaType": "AVRO" });
        let call = SrCall::PostForVersion(subject, &body.to_string());
        let found = perform_sr_call(&self.inner.settings, call)
            .await
            .map_err(|e| self.error(subject, e))?;
        found.id.ok_or_else(|| self.unavailable(answer::NotTheRegistry { status: 200 }))
    }

    /// Whether the bundled schema of `topic` may be registered under `subject`. A subject that is
    /// not there yet takes any schema.
    pub async fn is_compatible(&self, subject: &str, topic: Topic) -> Result<bool, RegistryError> {
        let asked =
            is_compatible_schema(&self.inner.settings, subject.to_owned(), supplied(topic)).await;
        match asked.map_err(|e| self.error(subject, e)) {
            Err(RegistryError::NotFound { .. }) => Ok(true),
            other => other,
        }
    }

    /// Asks the registry to refuse, from now on, schemas of `subject` that are not compatible both
    /// ways with every version before.
    pub async fn require_full_compatibility(&self, subject: &str) -> Result<(), RegistryError> {
        let request = self
            .inner
            .http
            .put(format!("{}/config/{subject}", self.inner.url))
            .json(&serde_json::json!({ "compatibility": "FULL_TRANSITIVE" }));
        let request = match &self.inner.login {
            Some((user, password)) => request.basic_auth(user, Some(password.expose_secret())),
            None => request,
        };
        let answer =
            request.send().await.map_err(|error| self.unavailable(Unreachable::of(error)))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.unavailable(error))?;
        if status.is_success() {
            return answer::confirms_level(&body).then_some(()).ok_or_else(|| {
                self.unavailable(answer::NotTheRegistry { status: status.as_u16() })
            });
        }
        let what = format!("FULL_TRANSITIVE for {subject}");
        let answer = Answer::read(status.as_u16(), answer::error_in(&body));
        Err(self.refusal(&what, answer))
    }

    /// Decodes a record value with the schema that wrote it, fetched when its id is new.
    pub async fn read<T: DeserializeOwned>(&self, value: &[u8]) -> Result<T, ReadError> {
        let (id, datum) = split(value)?;
        Ok(self.schema(id).await?.decode(datum)?)
    }

    /// As [`Registry::read`], into JSON, whatever the schema.
    pub async fn read_json(&self, value: &[u8]) -> Result<serde_json::Value, ReadError> {
        let (id, datum) = split(value)?;
        Ok(self.schema(id).await?.decode_json(datum)?)
    }

    async fn schema(&self, id: u32) -> Result<Arc<WriterSchema>, ReadError> {
        if let Some(schema) = self.known(id) {
            return Ok(schema);
        }
        // One asks, the others of the same moment wait for its answer.
        let _asking = self.inner.asking.lock().await;
        match self.known(id) {
            Some(schema) => Ok(schema),
            None => self.fetch(id).await,
        }
    }

    /// As [`Registry::read`], without asking the registry: `None` when the id is new.
    pub fn read_known<T: DeserializeOwned>(&self, value: &[u8]) -> Option<Result<T, DecodeError>> {
        match split(value) {
            Ok((id, datum)) => Some(self.known(id)?.decode(datum)),
            Err(error) => Some(Err(error)),
        }
    }

    fn known(&self, id: u32) -> Option<Arc<WriterSchema>> {
        self.inner.by_id.read().unwrap_or_else(|e| e.into_inner()).get(&id).cloned()
    }

    fn remember(&self, id: u32, schema: WriterSchema) -> Arc<WriterSchema> {
        let mut by_id = self.inner.by_id.write().unwrap_or_else(|e| e.into_inner());
        by_id.entry(id).or_insert_with(|| Arc::new(schema)).clone()
    }

    async fn fetch(&self, id: u32) -> Result<Arc<WriterSchema>, ReadError> {
        let what = format!("schema id {id}");
        let found =
            get_schema_by_id(id, &self.inner.settings).await.map_err(|e| self.error(&what, e))?;
        let references = self.references(&found).await?;
        let schema = WriterSchema::parse_with_references(id, &found.schema, &references)
            .map_err(|source| DecodeError::Schema { schema_id: id, source })?;
        Ok(self.remember(id, schema))
    }

    /// Texts of the schemas that `root` refers to, directly or not; each once, and after those
    /// that it refers to itself.
    async fn references(&self, root: &RegisteredSchema) -> Result<Vec<String>, RegistryError> {
        enum Visit {
            Enter(RegisteredReference),
            Leave(String),
        }
        let enter = |schema: &RegisteredSchema| {
            schema.references.iter().rev().cloned().map(Visit::Enter).collect::<Vec<_>>()
        };
        let (mut stack, mut seen, mut texts) = (enter(root), HashSet::new(), Vec::new());
        while let Some(visit) = stack.pop() {
            let reference = match visit {
                Visit::Leave(text) => {
                    texts.push(text);
                    continue;
                }
                Visit::Enter(reference) => reference,
            };
            if !seen.insert((reference.subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > MAX_REFERENCES {
                let source = format!("more than {MAX_REFERENCES} schemas are referred to").into();
                let what = format!("schema {} of {}", reference.version, reference.subject);
                return Err(RegistryError::Refused {
                    url: self.inner.shown_url.clone(),
                    what,
                    source,
                });
            }
            let what = format!("version {} of {}", reference.version, reference.subject);
            let found = get_referenced_schema(&self.inner.settings, &reference).await;
            let found = found.map_err(|e| self.error(&what, e))?;
            stack.push(Visit::Leave(found.schema.clone()));
            stack.extend(enter(&found));
        }
        Ok(texts)
    }

    /// What a failure of the client means. An error without an answer is a failure to reach the
    /// registry.
    fn error(&self, what: &str, error: SRCError) -> RegistryError {
        match Answer::of(&error) {
            Some(answer) => self.refusal(what, answer),
            None => self.unavailable(Unreachable::of(error)),
        }
    }

    fn refusal(&self, what: &str, answer: Answer) -> RegistryError {
        let what = what.to_owned();
        match answer {
            Answer::NotFound => RegistryError::NotFound { what },
            Answer::Incompatible(message) => RegistryError::Incompatible { subject: what, message },
            Answer::Refused(source) => {
                RegistryError::Refused { url: self.inner.shown_url.clone(), what, source }
            }
            Answer::Unavailable(source) => self.unavailable(source),
        }
    }

    fn unavailable(&self, source: impl Into<Cause>) -> RegistryError {
        RegistryError::Unavailable { url: self.inner.shown_url.clone(), source: source.into() }
    }
}

fn supplied(topic: Topic) -> SuppliedSchema {
    SuppliedSchema::new(None, SchemaType::Avro, topic.schema_json().to_owned())
}

mod answer;
mod reach;
#[cfg(test)]
mod tests;
