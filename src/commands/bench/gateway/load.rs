//! Clients that place orders, each waiting for its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::{JoinHandle, JoinSet};

use super::client::{Connection, excerpt};
use super::request::Request;
use super::tickets::Tickets;

/// Sends `request` over so many connections to `addr` until there are no more tickets; how long
/// the answers took.
///
/// All on one thread: with the gateway and the broker on the other cores, connections that wander
/// from thread to thread would only cost more.
pub fn start(
    addr: SocketAddr,
    request: Request,
    connections: u32,
    tickets: Arc<Tickets>,
) -> JoinHandle<Result<Vec<Duration>>> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .context("a runtime for the load")?;
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for _ in 0..connections {
                clients.spawn(place(addr, request.clone(), tickets.clone()));
            }
            let mut all = Vec::new();
            while let Some(ended) = clients.join_next().await {
                all.extend(ended??);
            }
            Ok(all)
        })
    })
}

async fn place(
    addr: SocketAddr,
    mut request: Request,
    tickets: Arc<Tickets>,
) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(addr).await?;
    let (mut took, orders) = (Vec::new(), request.orders());
    while let Some(ticket) = tickets.take(orders).await {
        let answer = connection.ask(request.numbered(ticket.number)).await?;
        let stored = Request::stored(answer);
        if stored != orders {
            bail!("{stored} of {orders} orders are stored: {}", excerpt(answer));
        }
        took.extend(tickets.stored(ticket, orders));
    }
    Ok(took)
}
