// Reads topics with kafkajs and @kafkajs/confluent-schema-registry, as a data team would.
//
// usage: read.mjs BROKERS REGISTRY_URL TOPIC=COUNT...
//
// Every record must decode, and its key must be the order id in its value. Ends when each topic
// has given as many records as announced, and prints the numbers as one JSON object.

import registryPackage from '@kafkajs/confluent-schema-registry';
import kafkajs from 'kafkajs';

const [brokers, registryUrl, ...announced] = process.argv.slice(2);
const expected = Object.fromEntries(
  announced.map((pair) => pair.split('=')).map(([topic, count]) => [topic, Number(count)]),
);
const topics = Object.keys(expected);
const counts = Object.fromEntries(topics.map((topic) => [topic, 0]));

const registry = new registryPackage.SchemaRegistry({ host: registryUrl });
const kafka = new kafkajs.Kafka({
  brokers: brokers.split(','),
  logLevel: kafkajs.logLevel.ERROR,
  retry: { retries: 2 },
});
const consumer = kafka.consumer({ groupId: `it-clients-node-${process.pid}` });

const stop = async (problem) => {
  if (problem) console.error(problem, counts);
  else console.log(JSON.stringify(counts));
  await consumer.disconnect();
  process.exit(problem ? 1 : 0);
};
setTimeout(() => stop('not all records came within 60 s'), 60_000);
consumer.on(consumer.events.CRASH, ({ payload }) => stop(payload.error));

await consumer.connect();
await consumer.subscribe({ topics, fromBeginning: true });
await consumer.run({
  eachMessage: async ({ topic, message }) => {
    try {
      const value = await registry.decode(message.value);
      const key = message.key.toString();
      if (key !== value.order_id) throw new Error(`key ${key}, order id ${value.order_id}`);
    } catch (error) {
      await stop(error);
    }
    counts[topic] += 1;
    if (topics.every((name) => counts[name] === expected[name])) setImmediate(stop);
  },
});
