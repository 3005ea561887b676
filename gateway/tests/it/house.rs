//! A gateway with all it stands on, for one test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comanda_gateway::{
    ApiKey, Audience, ForwardedHeader, JwtOptions, Options, Parts, Publisher, Service,
    WebhookOptions,
};
use comanda_producer::Producer;
use comanda_sandbox::{Broker, registry};
use comanda_schemas::{
    Encoder, Event, KafkaOptions, PaymentReport, Registry, RegistryOptions, Topic, TopicNames,
};
use comanda_store::Store;
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::projector::Projector;

pub const OPERATOR: &str = "operators-key-0001";
pub const ANA: &str = "anas-key-0000000001";
pub const BOB: &str = "bobs-key-0000000001";

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct House {
    pub broker: Broker,
    pub store: Store,
    pub names: TopicNames,
    pub kafka: KafkaOptions,
    pub registry: Registry,
    pub addr: SocketAddr,
    pub http: reqwest::Client,
    pub shutdown: CancellationToken,
    pub serving: Option<JoinHandle<Result<(), comanda_gateway::Error>>>,
    /// The gateway's own.
    pub gateways_producer: Option<Producer>,
    producing: comanda_producer::Options,
    _folder: TempDir,
}

pub fn options() -> Options {
    Options {
        listen: ([127, 0, 0, 1], 0).into(),
        api_keys: vec![
            ApiKey::operator("ops", OPERATOR),
            ApiKey::customer("ana", ANA, "ana"),
            ApiKey::customer("bob", BOB, "bob"),
        ],
        api_keys_file: String::new(),
        api_keys_refresh_ms: 20,
        jwt: JwtOptions {
            secret: SecretString::default(),
            secret_file: String::new(),
            jwks_file: String::new(),
            jwks_url: String::new(),
            issuer: "https://issuer.example".into(),
            audience: "comanda".into(),
            leeway_seconds: 0,
            role_claim: "role".into(),
            operator_role: "operator".into(),
            customer_role: "customer".into(),
            customer_claim: "sub".into(),
            jwks_refresh_ms: 3_600_000,
            jwks_cooldown_ms: 3_600_000,
            jwks_timeout_ms: 5_000,
            max_cached_tokens: 100,
        },
        webhook: WebhookOptions {
            stripe_secrets: vec!["whsec_new".into(), "whsec_old".into()],
            tolerance_seconds: 300,
            rate: 0,
            burst: 0,
        },
        max_connections: 1000,
        max_connections_per_address: 0,
        trusted_proxies: vec![],
        forwarded_header: ForwardedHeader::XForwardedFor,
        operator_rate: 0,
        operator_burst: 0,
        customer_rate: 0,
        customer_burst: 0,
        customer_in_flight: 0,
        customer_reads: 0,
        address_rate: 0,
        address_burst: 0,
        wrong_keys_per_minute: 0,
        wrong_keys_burst: 0,
        max_rate_keys: 1000,
        cors_origins: vec![],
        compress_min_bytes: 1024,
        access_log: false,
        max_body_bytes: 1 << 20,
        max_anonymous_body_bytes: 128 << 10,
        max_request_bytes: 64 << 20,
        max_anonymous_request_bytes: 16 << 20,
        max_request_bytes_per_client: 4 << 20,
        head_timeout_ms: 10_000,
        body_timeout_ms: 10_000,
        request_timeout_ms: 30_000,
        max_tokens: 10_000,
        max_operations: 10,
        max_depth: 15,
        max_complexity: 5_000,
        max_root_fields: 20,
        max_aliases: 50,
        max_directives: 50,
        max_variable_values: 50_000,
        max_variable_depth: 15,
        document_cache_entries: 1_000,
        document_cache_bytes: 32 << 20,
        introspection: Audience::Everybody,
        persisted_documents: String::new(),
        ad_hoc_documents: Audience::Everybody,
        automatic_persisted_queries: true,
        max_batch: 100,
        max_lines: 200,
        max_order_versions: 100,
        max_open_changes: 1_000,
        receipt_wait_ms: 10_000,
        max_recent_placements: 10_000,
        recent_placement_ms: 600_000,
        max_recent_bytes: 64 << 20,
        ws_init_timeout_ms: 5_000,
        ws_ping_ms: 15_000,
        ws_max_operations: 100,
        ws_anonymous_ms: 60_000,
        max_anonymous_websockets_per_address: 0,
        max_websockets_per_customer: 0,
        ws_ping_rate: 10,
        ws_queue: 64,
        max_event_streams: 100,
        max_event_streams_per_client: 0,
        event_stream_ping_ms: 15_000,
        subscriber_queue: 256,
        drain_ms: 5_000,
    }
}

impl House {
    pub async fn open() -> Result<Self> {
        Self::with(|_| {}).await
    }

    /// With options of its own.
    pub async fn with(edit: impl FnOnce(&mut Options)) -> Result<Self> {
        let names = TopicNames {
            prefix: String::new(),
            orders: "orders".into(),
            payments: "payments".into(),
            notifications: "notifications".into(),
            payment_reports: "payment-reports".into(),
        };
        let broker = Broker::start(&names.all(), 3)?;
        let kafka = KafkaOptions {
            brokers: broker.bootstrap_servers().into(),
            security_protocol: "plaintext".into(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password: SecretString::default(),
            ssl_ca_location: String::new(),
            properties: BTreeMap::new(),
        };
        let shutdown = CancellationToken::new();
        let service = registry::Service::bind(([127, 0, 0, 1], 0).into()).await?;
        let registry = Registry::new(&RegistryOptions {
            url: service.url(),
            username: String::new(),
            password: SecretString::default(),
            auto_register: true,
            timeout_ms: 5_000,
        })?;
        tokio::spawn(service.run_until_stopped(CancellationToken::new()));
        let folder = tempfile::tempdir()?;
        let store = Store::open(&comanda_store::Options {
            url: format!("sqlite://{}", folder.path().join("orders.db").display()),
            max_connections: 4,
            keyed_connections: 2,
            busy_timeout_ms: 5_000,
            statement_timeout_ms: 5_000,
            auto_migrate: true,
        })
        .await?;
        let producing = comanda_producer::Options {
            max_in_flight_records: 10_000,
            max_in_flight_bytes: 64 << 20,
            delivery_timeout_ms: 5_000,
            linger_ms: 0,
            compression: "none".into(),
        };
        let mut house = Self {
            broker,
            store,
            names,
            kafka,
            registry,
            addr: ([127, 0, 0, 1], 0).into(),
            http: reqwest::Client::builder().no_proxy().build()?,
            shutdown,
            serving: None,
            gateways_producer: None,
            producing,
            _folder: folder,
        };
        let mut options = options();
        edit(&mut options);
        let producer = house.producer().await?;
        house.gateways_producer = Some(producer.clone());
        let reports = house.producer().await?;
        let service = Service::build(options, house.parts(producer.into(), reports)).await?;
        house.addr = service.addr();
        house.serving = Some(tokio::spawn(service.run_until_stopped(house.shutdown.clone())));
        Ok(house)
    }

    /// A gateway on the same topics and the same store.
    pub async fn another(&self, options: Options) -> Result<Service> {
        let producer = self.producer().await?;
        self.another_with(options, producer.into()).await
    }

    /// As [`House::another`], with a publisher of its own.
    pub async fn another_with(&self, options: Options, publisher: Publisher) -> Result<Service> {
        let reports = self.producer().await?;
        Ok(Service::build(options, self.parts(publisher, reports)).await?)
    }

    fn parts(&self, producer: Publisher, reports: Producer<PaymentReport>) -> Parts {
        Parts {
            producer,
            reports: Some(reports),
            store: self.store.clone(),
            registry: self.registry.clone(),
            kafka: self.kafka.clone(),
            names: self.names.clone(),
        }
    }

    /// A producer of events, as the gateway and the processors have one.
    pub async fn producer<E: Event>(&self) -> Result<Producer<E>> {
        let id = self.registry.resolve(&self.names, E::TOPIC).await?;
        let topic = self.names.name(E::TOPIC);
        let encoder = Encoder::new(id);
        Ok(Producer::start(&self.producing, &self.kafka, topic, encoder, "/comanda/test")?)
    }

    /// Lets the order store follow the topics until the value is dropped.
    pub async fn projector(&self) -> Result<Projector> {
        for topic in Topic::ALL {
            self.registry.resolve(&self.names, topic).await?;
        }
        Ok(Projector::start(&self.kafka, &self.names, &self.registry, &self.store))
    }

    pub fn url(&self) -> String {
        format!("http://{}/graphql", self.addr)
    }

    /// Sends a request; its status and its body.
    pub async fn ask(
        &self,
        key: Option<&str>,
        query: &str,
        variables: Value,
    ) -> Result<(StatusCode, Value)> {
        let mut request = self
            .http
            .post(self.url())
            .header("accept", "application/graphql-response+json")
            .json(&json!({ "query": query, "variables": variables }));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await?;
        Ok((response.status(), response.json().await?))
    }

    /// The data of a request that has to succeed.
    pub async fn data(&self, key: &str, query: &str, variables: Value) -> Result<Value> {
        let (status, answer) = self.ask(Some(key), query, variables).await?;
        if status != StatusCode::OK || !answer["errors"].is_null() {
            bail!("{status}: {answer}");
        }
        Ok(answer["data"].clone())
    }

    /// Places an order; its payload.
    pub async fn place(&self, key: &str, input: Value) -> Result<Value> {
        let data = self.data(key, PLACE, json!({ "input": input })).await?;
        Ok(data["placeOrder"].clone())
    }

    /// Places an order that has to be taken; its id and its receipt's token.
    pub async fn placed(&self, key: &str, input: Value) -> Result<(String, String)> {
        let payload = self.place(key, input).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let id = text(&payload["order"]["id"]).with_context(|| payload.to_string())?;
        let token = text(&payload["receipt"]["token"]).with_context(|| payload.to_string())?;
        Ok((id, token))
    }
}

pub const PLACE: &str = "mutation($input: PlaceOrderInput!) { placeOrder(input: $input) {
    order { id customerId status version totalMinor payment { status } timeline { type } }
    receipt { topic partition offset timestamp token }
    errors { code message path retriable } } }";

/// An order of `customer`.
pub fn order(customer: &str, key: Option<&str>) -> Value {
    json!({
        "idempotencyKey": key,
        "customerId": customer,
        "contact": { "name": "Ana Ruiz", "email": "ana@example.com" },
        "currency": "EUR",
        "lines": [
            { "sku": "TAP-03", "name": "Patatas bravas", "quantity": 2, "unitPriceMinor": 650 },
            { "sku": "VIN-11", "name": "Albariño", "quantity": 1, "unitPriceMinor": 480 },
        ],
        "paymentMethod": "pm_card_visa",
    })
}

/// The code of the first error.
pub fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

/// Waits until `look` finds what it looks for.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > until {
            bail!("{what} did not come about within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
