// Watches an order with graphql-sse until everything that is waited for has happened to it.
//
// usage: watch-sse.mjs URL API_KEY ORDER_ID TYPE...
//
// Prints one JSON array of { type, order: { status } }, one for each update.

import { createClient } from 'graphql-sse';

const [url, key, orderId, ...awaited] = process.argv.slice(2);
const client = createClient({
  url,
  headers: { authorization: `Bearer ${key}` },
  retryAttempts: 0,
});
const query =
  'subscription ($id: ID!) { orderUpdates(orderId: $id) { type order { status } } }';

const updates = [];
const patience = setTimeout(() => {
  console.error('not all of it within 60 s', updates);
  process.exit(1);
}, 60_000);
for await (const { data, errors } of client.iterate({ query, variables: { id: orderId } })) {
  if (errors) throw new Error(JSON.stringify(errors));
  updates.push(data.orderUpdates);
  const types = updates.map(({ type }) => type);
  if (awaited.every((type) => types.includes(type))) break;
}
clearTimeout(patience);
client.dispose();
console.log(JSON.stringify(updates));
