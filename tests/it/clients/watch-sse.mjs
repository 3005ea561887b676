// Watches an order with graphql-sse until everything that is waited for has happened to it.
//
// usage: watch-sse.mjs URL API_KEY ORDER_ID TYPE...
//
// Prints one JSON array of { type, order: { status } }, one for each update.

import { createClient } from 'graphql-sse';
import { watch } from './operations.mjs';

const [url, key, orderId, ...awaited] = process.argv.slice(2);
const client = createClient({
  url,
  headers: { authorization: `Bearer ${key}` },
  retryAttempts: 0,
});
await watch(client, orderId, awaited);
