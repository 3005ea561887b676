//! Which topic a name stands for: a topic that was deleted and made anew has another id (KIP-516).
//!
//! Offsets mean nothing in another log: what stood at 30 was read, what stands there now was not. The
//! binding has no call for ids, so librdkafka is asked directly.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::ptr::{self, NonNull};
use std::str::FromStr;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;
use rdkafka_sys as sys;

/// A topic's id, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicId(u128);

impl TopicId {
    /// The id of these halves; `None` where they are zero, as brokers without ids have it.
    fn new(most: i64, least: i64) -> Option<Self> {
        let id = u128::from(most.cast_unsigned()) << 64 | u128::from(least.cast_unsigned());
        (id != 0).then_some(Self(id))
    }
}

/// 32 hex digits.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The text is not what [`TopicId`] is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a topic")]
pub struct NoTopicId;

impl FromStr for TopicId {
    type Err = NoTopicId;

    fn from_str(text: &str) -> Result<Self, NoTopicId> {
        let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.filter(|id| *id != 0).map(Self).ok_or(NoTopicId)
    }
}

/// The ids of `topics`, without those that are not there. Asks twice, each time for `limit` at the
/// most.
///
/// Nothing is in it where the broker or cluster knows no ids.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[String],
    limit: Duration,
) -> KafkaResult<HashMap<String, TopicId>> {
    let failed = KafkaError::MetadataFetch;
    let Some(first) = topics.first() else { return Ok(HashMap::new()) };
    // By itself librdkafka would ask the controller, which can be a broker that is away.
    let metadata = client.fetch_metadata(Some(first), limit)?;
    let brokers = || metadata.brokers().iter().map(MetadataBroker::id);
    let answered = metadata.orig_broker_id();
    let broker = brokers().find(|id| *id == answered).or_else(|| brokers().next());
    let broker = broker.ok_or(failed(RDKafkaErrorCode::BrokerNotAvailable))?;
    let names: Vec<CString> = topics
        .iter()
        .map(|topic| CString::new(topic.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| failed(RDKafkaErrorCode::InvalidTopic))?;
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let client = client.native_ptr();
    // SAFETY: the handle is that of a live client, which `client` borrows. What is made here is
    // destroyed by the guards, after its last use: the event last of all that points into it.
    unsafe {
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let collection = Guard::new(
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            sys::rd_kafka_TopicCollection_destroy,
        )?;
        let options = Guard::new(
            sys::rd_kafka_AdminOptions_new(
                client,
                sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            sys::rd_kafka_AdminOptions_destroy,
        )?;
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            millis,
            ptr::null_mut(),
            0,
        );
        sys::rd_kafka_AdminOptions_set_broker(options.as_ptr(), broker, ptr::null_mut(), 0);
        let queue = Guard::new(sys::rd_kafka_queue_new(client), sys::rd_kafka_queue_destroy)?;
        sys::rd_kafka_DescribeTopics(client, collection.as_ptr(), options.as_ptr(), queue.as_ptr());
        let event = sys::rd_kafka_queue_poll(queue.as_ptr(), millis);
        let late = || failed(RDKafkaErrorCode::OperationTimedOut);
        let event = Guard::new(event, sys::rd_kafka_event_destroy).map_err(|_| late())?;
        let error = sys::rd_kafka_event_error(event.as_ptr());
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(error.into()));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if result.is_null() {
            return Err(failed(RDKafkaErrorCode::BadMessage));
        }
        let mut count = 0;
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = HashMap::with_capacity(count);
        for index in 0..count {
            let topic = *found.add(index);
            let name = sys::rd_kafka_TopicDescription_name(topic);
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            if name.is_null() || id.is_null() {
                continue;
            }
            let id = TopicId::new(
                sys::rd_kafka_Uuid_most_significant_bits(id),
                sys::rd_kafka_Uuid_least_significant_bits(id),
            );
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            ids.extend(id.map(|id| (name, id)));
        }
        Ok(ids)
    }
}

/// Something of librdkafka's that is destroyed with this.
struct Guard<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Guard<T> {
    fn new(made: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> KafkaResult<Self> {
        let made = NonNull::new(made);
        made.map(|made| Self(made, destroy))
            .ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::InvalidArgument))
    }

    fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: it was made for this function, and nobody else has it.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;
    use crate::ClientLog;

    #[test]
    fn an_id_survives_its_text() {
        let id = TopicId::new(-1, 7).unwrap();
        assert_eq!(id.to_string(), "ffffffffffffffff0000000000000007");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TopicId::new(0, 0), None);
        for wrong in
            ["", "7", "00000000000000000000000000000000", "+fffffffffffffff0000000000000007"]
        {
            assert_eq!(wrong.parse::<TopicId>(), Err(NoTopicId), "{wrong}");
        }
    }

    #[test]
    fn ids_are_told_of_the_topics_that_are_there() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic("a", 1, 1).unwrap();
        cluster.create_topic("b", 1, 1).unwrap();
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
        config.set("allow.auto.create.topics", "false");
        let client: BaseConsumer<ClientLog> = config.create_with_context(ClientLog).unwrap();
        let ask = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            topic_ids(client.client(), &names, Duration::from_secs(10)).unwrap()
        };
        let ids = ask(&["a", "b", "nothing"]);
        assert_eq!(ids.len(), 2, "{ids:?}");
        assert_ne!(ids["a"], ids["b"]);
        assert_eq!(ask(&["a"])["a"], ids["a"]);
        assert!(ask(&[]).is_empty());
        cluster.broker_down(1).unwrap();
        let asked = topic_ids(client.client(), &["a".to_owned()], Duration::from_millis(300));
        assert!(asked.is_err());
    }
}
