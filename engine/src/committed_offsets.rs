//! Where the group stands: committed offsets, and what is finished above them.

use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use tracing::{error, warn};

use crate::offset_metadata::{self, Spans};
use comanda_kafka::TopicId;
use comanda_kafka::group::{Context, list_of};
use comanda_kafka::offsets::metadata;

/// Limit of one question for committed offsets; the one who asks has other things to do.
const ASK: Duration = Duration::from_secs(1);

/// The offset that a partition's next record will get; blocks for a second at the most.
pub(crate) fn end(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
) -> Result<i64, KafkaError> {
    consumer.fetch_watermarks(topic, partition, ASK).map(|(_, end)| end)
}

/// Where the group stands in a partition.
#[derive(Debug)]
pub(crate) struct Standing {
    pub partition: i32,
    /// The committed offset, and what is finished above it; `None` before the first commit.
    pub at: Option<(i64, Spans)>,
}

/// Of a partition, where the group stands there, or why that is not known.
type Answer = (i32, Result<Standing, KafkaError>);

/// Where the group stands in each of `partitions` of the topic with this id, or why that is not known of one; blocks for a
/// second at the most.
pub(crate) fn committed(
    consumer: &BaseConsumer<Context>,
    stage: &'static str,
    topic: &str,
    topic_id: Option<TopicId>,
    partitions: &[i32],
) -> Result<Vec<Answer>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let list = consumer.committed_offsets(list_of(topic, partitions), ASK)?;
    let elements = list.elements();
    let standing = |index: usize, element: &TopicPartitionListElem<'_>| {
        element.error()?;
        let partition = element.partition();
        let Offset::Offset(next) = element.offset() else {
            return Ok(Standing { partition, at: None });
        };
        let metadata = metadata(&list, index).unwrap_or_default();
        let text = std::str::from_utf8(metadata).ok();
        if let (Some(of), Some(id)) = (text.and_then(offset_metadata::topic), topic_id)
            && of != id
        {
            error!(
                stage,
                topic,
                partition,
                offset = next,
                "the committed offset is of a topic that was deleted; the one that has its name now \
                 is read from its beginning"
            );
            return Ok(Standing { partition, at: None });
        }
        let above = text.and_then(|text| Spans::decode(next, text));
        let above = above.unwrap_or_else(|| {
            warn!(
                stage,
                partition,
                offset = next,
                "the offset's metadata is not ours: what is above it runs again"
            );
            Spans::default()
        });
        Ok(Standing { partition, at: Some((next, above)) })
    };
    let elements = elements.iter().enumerate();
    Ok(elements.map(|(index, element)| (element.partition(), standing(index, element))).collect())
}
