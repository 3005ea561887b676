//! The generation of the group that a commit belongs to.

#![allow(unsafe_code)]

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka_sys as sys;

use comanda_kafka::group::Context;

/// The group's metadata for a transaction that begins now; `None` while the consumer is in no
/// generation of it: coordinators of the classic protocol take offsets without one from anybody.
///
/// To be asked by the thread that answers the group's decisions: librdkafka can't go on to the
/// next generation before it has, so what this tells belongs to the partitions that are ours now.
pub(crate) fn current(consumer: &BaseConsumer<Context>) -> Option<ConsumerGroupMetadata> {
    let metadata = consumer.group_metadata()?;
    // After the metadata was taken: a generation that ended before shows here.
    (generation(consumer) >= 0).then_some(metadata)
}

/// The binding keeps it to itself.
fn generation(consumer: &BaseConsumer<Context>) -> i32 {
    // SAFETY: the handle is that of a live consumer, which `consumer` borrows; the metadata is a
    // copy that belongs to us, not used after it is destroyed, and may be null outside a group.
    unsafe {
        let metadata = sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return -1;
        }
        let generation = sys::rd_kafka_consumer_group_metadata_generation_id(metadata);
        sys::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    }
}
