"""Reads topics to their ends with confluent-kafka, as a data team would.

usage: read.py BROKERS REGISTRY_URL TOPIC...

Every record must decode, and its key must be the order id in its value. Prints one JSON object
with the number of records in each topic.
"""

import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition, OFFSET_BEGINNING
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

brokers, registry_url, *topics = sys.argv[1:]
deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry_url}))
consumer = Consumer(
    {
        "bootstrap.servers": brokers,
        "group.id": "it-clients-python",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
)
assignment = [
    TopicPartition(topic, partition, OFFSET_BEGINNING)
    for topic in topics
    for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions
]
consumer.assign(assignment)

counts = dict.fromkeys(topics, 0)
open_partitions = len(assignment)
deadline = time.monotonic() + 60
while open_partitions:
    if time.monotonic() > deadline:
        sys.exit(f"{open_partitions} partitions were not read to their ends: {counts}")
    message = consumer.poll(1.0)
    if message is None:
        continue
    if message.error():
        if message.error().code() != KafkaError._PARTITION_EOF:
            sys.exit(str(message.error()))
        open_partitions -= 1
        continue
    context = SerializationContext(message.topic(), MessageField.VALUE)
    value = deserialize(message.value(), context)
    key = message.key().decode()
    if key != str(value["order_id"]):
        sys.exit(f"{message.topic()}: key {key}, order id {value['order_id']}")
    counts[message.topic()] += 1
consumer.close()
print(json.dumps(counts))
