//! `comanda store rebuild`: a new order store from the topics, beside the one in use.
//!
//! The new store is a projector's, whose partitions are all of them and whose groups are its own, so
//! that neither the projectors nor the store in use notice. Nothing is swapped: it is the operator
//! who names the new store in `store.url`, where a projector goes on from the offsets that stand in
//! it. So there is no moment at which either store misses something.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use comanda_processors::projector;
use comanda_schemas::scan::partitions;
use comanda_schemas::{ClientLog, KafkaOptions, Registry, Topic, TopicNames, url_without_login};
use comanda_store::{Options, Position, Store};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio_util::sync::CancellationToken;

use crate::cli::RebuildArgs;
use crate::config::Loaded;
use crate::progress::Goals;
use crate::{output, signals};

/// Records in one SQL transaction at the most, and their bytes: nobody else writes to the store.
const BATCH_RECORDS: u32 = 5_000;
const BATCH_BYTES: u64 = 16 << 20;
/// How long a batch waits to be full, in milliseconds.
const BATCH_WAIT_MS: u64 = 50;
/// How often the progress is shown.
const SHOW: Duration = Duration::from_millis(200);
/// Limit of one question to the broker.
const ASK: Duration = Duration::from_secs(10);

/// Where a partition begins and ends.
struct Extent {
    topic: String,
    partition: i32,
    begin: i64,
    end: i64,
}

/// Fills the store at `args.into`; an error unless it has all that the topics had at the start.
pub async fn run(loaded: Loaded, args: RebuildArgs) -> Result<()> {
    let shutdown = signals::shutdown_token()?;
    let settings = loaded.settings;
    ensure!(args.into != settings.store.url, "--into names the store in use (store.url)");
    let options = Options { url: args.into, auto_migrate: true, ..settings.store };
    let url = url_without_login(&options.url);
    // Without its source: sqlx repeats the value of a parameter that it does not know.
    options.validate().map_err(|error| anyhow!("--into {url}: {error}"))?;
    let (kafka, names) = (settings.kafka, settings.topics.names());
    let extents = {
        let (kafka, names) = (kafka.clone(), names.clone());
        tokio::task::spawn_blocking(move || extents(&kafka, &names)).await??
    };
    let cut = extents.iter().filter(|extent| extent.begin > 0).count();
    ensure!(
        cut == 0 || args.partial,
        "{cut} partitions have lost their oldest records to retention, so that orders which the \
         store in use still has would be missing; --partial goes on without them"
    );
    let store = Store::open(&options).await.with_context(|| format!("opening {url}"))?;
    let is_new = store.positions().await?.is_empty();
    ensure!(is_new, "{url} has records already; name a new file or an empty database");

    let projector = projector::Options {
        batch_records: BATCH_RECORDS,
        batch_bytes: BATCH_BYTES,
        batch_wait_ms: BATCH_WAIT_MS,
        ..settings.projector
    };
    let registry = Registry::new(&settings.registry)?;
    let service = projector::Service::new(projector, kafka, names, registry, store.clone())
        .apart(format!("rebuild-{}", uuid::Uuid::new_v4().simple()));
    let began = Instant::now();
    let records = follow(service, &store, &extents, &shutdown)
        .await
        .with_context(|| format!("{url} is incomplete; delete it"))?;
    let seconds = began.elapsed().as_secs_f64();
    store.close().await;
    output::print(&format!(
        "{records} records in {seconds:.1} s, {rate:.0} records/s\n\n\
         {url} has all that the topics had when this began. To use it: set store.url to it for every \
         projector and gateway, restart the projectors, then the gateways. The projectors go on from \
         where this ended; the old store can be deleted once nobody has it open.\n",
        rate = records as f64 / seconds
    ))
}

/// Runs the projector until it has caught up; the number of records.
async fn follow(
    service: projector::Service,
    store: &Store,
    extents: &[Extent],
    shutdown: &CancellationToken,
) -> Result<u64> {
    let handle = service.handle();
    let goal = extents.iter().map(|extent| (extent.end - extent.begin).cast_unsigned()).sum();
    let goals = Goals::new(&["offsets"], goal);
    let stop = CancellationToken::new();
    let mut running = tokio::spawn(service.run_until_stopped(stop.clone()));
    while !handle.caught_up() {
        tokio::select! {
            () = shutdown.cancelled() => bail!("interrupted"),
            ended = &mut running => {
                ended??;
                bail!("the projector ended without being asked");
            }
            () = tokio::time::sleep(SHOW) => {}
        }
        // One that fails for a moment is waited for by the projector.
        if let Ok(positions) = store.positions().await {
            goals.set(&[done(extents, &positions)]);
        }
    }
    stop.cancel();
    running.await??;
    // Ends of transactions take offsets, too, and no position moves past the last one.
    goals.set(&[goal]);
    goals.finish();
    Ok(handle.records())
}

/// Offsets below the positions, of those that there were at the start.
fn done(extents: &[Extent], positions: &[Position]) -> u64 {
    let done = positions.iter().filter_map(|position| {
        let extent = extents
            .iter()
            .find(|e| (&e.topic, e.partition) == (&position.topic, position.partition))?;
        let next = position.next_offset.clamp(extent.begin, extent.end);
        Some((next - extent.begin).cast_unsigned())
    });
    done.sum()
}

/// Where the partitions of all topics begin and end. Blocking.
fn extents(kafka: &KafkaOptions, names: &TopicNames) -> Result<Vec<Extent>> {
    let client: BaseConsumer<ClientLog> =
        kafka.client_config("rebuild").create_with_context(ClientLog)?;
    let mut extents = Vec::new();
    for topic in Topic::ALL.map(|topic| names.name(topic)) {
        let partitions = partitions(&client, &topic, ASK).context("asking Kafka")?;
        ensure!(!partitions.is_empty(), "there is no topic {topic}");
        for partition in partitions {
            let (begin, end) =
                client.fetch_watermarks(&topic, partition, ASK).context("asking Kafka")?;
            extents.push(Extent { topic: topic.clone(), partition, begin, end });
        }
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_what_there_was_at_the_start() {
        let extent = |partition, begin, end| Extent { topic: "o".into(), partition, begin, end };
        let position =
            |partition, next_offset| Position { topic: "o".into(), partition, next_offset };
        let extents = [extent(0, 0, 10), extent(1, 100, 150), extent(2, 5, 5)];
        assert_eq!(done(&extents, &[]), 0);
        assert_eq!(done(&extents, &[position(0, 4)]), 4);
        let all = [position(0, 12), position(1, 120), position(2, 7), position(3, 9)];
        assert_eq!(done(&extents, &all), 10 + 20);
    }
}
