//! Stands between a broker and its clients, and holds what the broker answers.

use std::collections::HashSet;
use std::io::Result;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Requests of a transaction, by their keys in the Kafka protocol.
pub const PRODUCE: i16 = 0;
pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
pub const END_TXN: i16 = 26;
pub const TXN_OFFSET_COMMIT: i16 = 28;

/// What happens to the messages of one kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They pass.
    None,
    /// Requests wait, with all that follows on their connection, until the fault is another.
    HoldRequests,
    /// Responses wait likewise: the broker has done what was asked.
    HoldResponses,
    /// The connection ends in place of the response.
    CutResponses,
}

/// A proxy for a broker; ends when dropped.
pub struct Proxy {
    fault: watch::Sender<Fault>,
    struck: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

/// What the connections share.
#[derive(Clone)]
struct Rules {
    api_key: i16,
    fault: watch::Receiver<Fault>,
    struck: Arc<AtomicUsize>,
}

impl Proxy {
    /// Between clients at port `at` and the broker at port `to`; faults are those of requests with
    /// `api_key`.
    pub async fn start([to, at]: [u16; 2], api_key: i16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, at)).await?;
        let (fault, rule) = watch::channel(Fault::None);
        let struck = Arc::new(AtomicUsize::new(0));
        let rules = Rules { api_key, fault: rule, struck: struck.clone() };
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, to, rules.clone()));
            }
        });
        Ok(Self { fault, struck, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// What happens from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// How many messages a fault has met.
    pub fn struck(&self) -> usize {
        self.struck.load(Ordering::SeqCst)
    }
}

async fn serve(client: TcpStream, to: u16, rules: Rules) -> Result<()> {
    let broker = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let ((from_client, to_client), (from_broker, to_broker)) =
        (client.into_split(), broker.into_split());
    // Requests of the kind, by correlation id, until they are answered.
    let asked = Arc::new(Mutex::new(HashSet::new()));
    let requests = forward(from_client, to_broker, rules.clone(), Fault::HoldRequests, {
        let (asked, api_key) = (asked.clone(), rules.api_key);
        move |frame: &[u8]| {
            let ours = frame.starts_with(&api_key.to_be_bytes());
            if let (true, Some(id)) = (ours, frame.get(4..8)) {
                asked.lock().unwrap().insert(id.to_vec());
            }
            ours
        }
    });
    let responses = forward(from_broker, to_client, rules, Fault::HoldResponses, {
        move |frame: &[u8]| frame.get(..4).is_some_and(|id| asked.lock().unwrap().remove(id))
    });
    // The end of one direction ends both.
    tokio::select! {
        ended = requests => ended,
        ended = responses => ended,
    }
}

/// Forwards length-prefixed messages; those that `is_ours` wait while the fault is `holds`.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut rules: Rules,
    holds: Fault,
    is_ours: impl Fn(&[u8]) -> bool,
) -> Result<()> {
    loop {
        let length = from.read_u32().await?;
        let mut frame = vec![0; length as usize];
        from.read_exact(&mut frame).await?;
        if is_ours(&frame) {
            let fault = *rules.fault.borrow();
            if fault == holds {
                rules.struck.fetch_add(1, Ordering::SeqCst);
                // Fails when the proxy is gone, and this with it.
                let _ = rules.fault.wait_for(|now| *now != holds).await;
            } else if fault == Fault::CutResponses && holds == Fault::HoldResponses {
                rules.struck.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
        }
        to.write_u32(length).await?;
        to.write_all(&frame).await?;
    }
}
