//! A real Apache Kafka: KRaft nodes, each broker and controller, on free ports of 127.0.0.1.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use comanda_schemas::KafkaOptions;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};

use super::watched::Watched;
use super::{downloads, eventually, free_ports, on_free_ports, run_dir};

const START_LIMIT: Duration = Duration::from_secs(60);

/// A cluster of one broker or more, each of them a controller as well; stops when dropped, or with the
/// test process.
pub struct Kafka {
    brokers: String,
    /// Where another listener of the first broker is, and the port that it advertises for that one.
    side: [u16; 2],
    nodes: Vec<Node>,
}

/// One broker of a cluster.
pub struct Node {
    address: String,
    folder: PathBuf,
    jars: String,
    server: Mutex<Watched>,
}

/// Ports of one broker: for clients, for controllers, and the two of its side listener.
type Ports = [u16; 4];

impl Kafka {
    /// Downloads Kafka if needed, formats a new log folder, starts it and waits for metadata.
    pub async fn start() -> Result<Self> {
        Self::start_nodes::<1>().await
    }

    /// As [`Kafka::start`], three brokers: topics have three replicas, of which two have to be in
    /// sync.
    pub async fn start_cluster() -> Result<Self> {
        Self::start_nodes::<3>().await
    }

    async fn start_nodes<const N: usize>() -> Result<Self> {
        let jars = tokio::task::spawn_blocking(downloads::kafka).await??.join("*");
        on_free_ports(async || Self::try_start::<N>(jars.display().to_string()).await).await
    }

    async fn try_start<const N: usize>(jars: String) -> Result<Self> {
        let ports: [Ports; N] = {
            let mut all = [[0; 4]; N];
            let free: Vec<u16> = free_ports::<12>()?.into();
            for (node, free) in all.iter_mut().zip(free.chunks_exact(4)) {
                node.copy_from_slice(free);
            }
            all
        };
        let nodes = (0..N).map(|node| Node::start(node, &ports, jars.clone()));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let brokers: Vec<&str> = nodes.iter().map(|node| node.address.as_str()).collect();
        let kafka = Self { brokers: brokers.join(","), side: [ports[0][2], ports[0][3]], nodes };
        for node in &kafka.nodes {
            node.wait_until_ready(N).await?;
        }
        Ok(kafka)
    }

    /// How many replicas its topics have.
    pub fn replicas(&self) -> usize {
        self.nodes.len()
    }

    /// Its brokers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Stops the first broker cleanly, as a maintenance does, and waits until it is gone.
    pub async fn stop(&self) {
        self.nodes[0].stop().await;
    }

    /// Sends SIGKILL to the first broker and waits until it is gone.
    pub fn kill9(&self) {
        self.nodes[0].kill9();
    }

    /// Sends SIGSTOP to the first broker: it stands still, with its connections open.
    pub fn pause(&self) {
        self.nodes[0].pause();
    }

    /// Sends SIGCONT to the first broker.
    pub fn unpause(&self) {
        self.nodes[0].unpause();
    }

    /// Starts the first broker again, after it was stopped or killed, where it was and with what it
    /// stored.
    pub async fn restart(&self) -> Result<()> {
        self.nodes[0].restart()?;
        self.nodes[0].wait_until_ready(1).await
    }

    /// Port of another listener, and the port that clients of it are told to connect to: the
    /// place for something in between.
    pub fn side(&self) -> [u16; 2] {
        self.side
    }

    /// `host:port` to start from.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Options of comanda's clients for this broker.
    pub fn options(&self) -> KafkaOptions {
        options(&self.brokers)
    }

    /// Creates topics with one replica each.
    pub async fn create_topics(&self, names: &[&str], partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            self.options().client_config("it-admin").create()?;
        let new = names.iter().map(|n| NewTopic::new(n, partitions, TopicReplication::Fixed(1)));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        for created in admin.create_topics(&new.collect::<Vec<_>>(), &options).await? {
            created.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
        }
        Ok(())
    }

    /// Deletes a topic, and creates another one with its name.
    pub async fn make_anew(&self, name: &str, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            self.options().client_config("it-admin").create()?;
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        for deleted in admin.delete_topics(&[name], &options).await? {
            deleted.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
        }
        eventually(&format!("{name} is deleted and there again"), START_LIMIT, async || {
            self.create_topics(&[name], partitions).await.ok()
        })
        .await;
        Ok(())
    }

    /// Deletes the records of a partition below an offset, as retention does.
    pub async fn delete_records(&self, topic: &str, partition: i32, below: i64) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            self.options().client_config("it-admin").create()?;
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(below))?;
        admin.delete_records(&offsets, &AdminOptions::new()).await?;
        Ok(())
    }
}

impl Node {
    /// Formats the log folder of broker `node` of those with these ports, and starts it.
    fn start(node: usize, ports: &[Ports], jars: String) -> Result<Self> {
        let folder = run_dir::folder("kafka");
        let [port, controller, side, advertised] = ports[node];
        let properties = folder.join("server.properties");
        let data = folder.join("data");
        let voter = |(node, ports): (usize, &Ports)| format!("{}@127.0.0.1:{}", node + 1, ports[1]);
        let voters: Vec<String> = ports.iter().enumerate().map(voter).collect();
        let (replicas, in_sync) = (ports.len(), ports.len().div_ceil(2));
        fs::write(
            &properties,
            format!(
                "process.roles=broker,controller\n\
                 node.id={}\n\
                 controller.quorum.voters={}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},SIDE://127.0.0.1:{side},\
                 CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{port},SIDE://127.0.0.1:{advertised}\n\
                 controller.listener.names=CONTROLLER\n\
                 listener.security.protocol.map=\
                 PLAINTEXT:PLAINTEXT,SIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
                 log.dirs={}\n\
                 auto.create.topics.enable=false\n\
                 default.replication.factor={replicas}\n\
                 min.insync.replicas={in_sync}\n\
                 offsets.topic.replication.factor={replicas}\n\
                 offsets.topic.num.partitions=4\n\
                 transaction.state.log.replication.factor={replicas}\n\
                 transaction.state.log.min.isr={in_sync}\n\
                 transaction.state.log.num.partitions=4\n\
                 transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n\
                 group.initial.rebalance.delay.ms=0\n",
                node + 1,
                voters.join(","),
                data.display()
            ),
        )?;
        let properties = properties.display().to_string();
        let format = Command::new("java")
            .args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &jars, "kafka.tools.StorageTool"])
            .args(["format", "--cluster-id", "Y29tYW5kYS1pdC1rYWZrYQ", "--config", &properties])
            .output()?;
        let said = [format.stdout, format.stderr].concat();
        ensure!(format.status.success(), "{}", String::from_utf8_lossy(&said));
        let server = Mutex::new(launch(&jars, &folder)?);
        Ok(Self { address: format!("127.0.0.1:{port}"), folder, jars, server })
    }

    /// Waits until it answers and knows of so many brokers.
    pub async fn wait_until_ready(&self, brokers: usize) -> Result<()> {
        let until = Instant::now() + START_LIMIT;
        while known_brokers(&self.address).await? < brokers {
            let mut server = self.server();
            if let Some(status) = server.ended() {
                bail!("Kafka ended with {status}: {}{}", server.stdout(), server.stderr());
            }
            ensure!(
                Instant::now() < until,
                "not ready after {START_LIMIT:?}, see {:?}",
                self.folder
            );
        }
        Ok(())
    }

    fn server(&self) -> MutexGuard<'_, Watched> {
        self.server.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Stops it cleanly and waits until it is gone.
    pub async fn stop(&self) {
        self.server().terminate();
        let gone = async || self.server().ended();
        eventually("Kafka stops", START_LIMIT, gone).await;
    }

    /// Sends SIGKILL and waits until it is gone.
    pub fn kill9(&self) {
        self.server().kill9();
    }

    /// Sends SIGSTOP.
    pub fn pause(&self) {
        self.server().pause();
    }

    /// Sends SIGCONT.
    pub fn unpause(&self) {
        self.server().unpause();
    }

    /// Starts it again with what it has stored; it answers some seconds later.
    pub fn restart(&self) -> Result<()> {
        *self.server() = launch(&self.jars, &self.folder)?;
        Ok(())
    }
}

fn launch(jars: &str, folder: &Path) -> Result<Watched> {
    let arguments = [
        "-Xmx512m",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        jars,
        "kafka.Kafka",
        "server.properties",
    ];
    Watched::start("java", &arguments, &[], folder)
}

/// Options of comanda's clients for a broker without security.
pub fn options(brokers: &str) -> KafkaOptions {
    KafkaOptions {
        brokers: brokers.to_owned(),
        security_protocol: "plaintext".into(),
        sasl_mechanism: String::new(),
        sasl_username: String::new(),
        sasl_password: "".into(),
        ssl_ca_location: String::new(),
        properties: Default::default(),
    }
}

/// How many brokers the one at this address tells of; none while it does not answer.
async fn known_brokers(address: &str) -> Result<usize> {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    let consumer: BaseConsumer = options(address).client_config("it-ready").create()?;
    let ask = move || consumer.fetch_metadata(None, Duration::from_millis(500));
    let metadata = tokio::task::spawn_blocking(ask).await?;
    Ok(metadata.map_or(0, |metadata| metadata.brokers().len()))
}
