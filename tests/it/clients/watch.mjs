// Watches an order with graphql-ws until everything that is waited for has happened to it.
//
// usage: watch.mjs URL API_KEY ORDER_ID TYPE...
//
// Prints one JSON array of { type, order: { status } }, one for each update.

import { socket, watch } from './operations.mjs';

const [url, key, orderId, ...awaited] = process.argv.slice(2);
await watch(socket(url, `Bearer ${key}`, { retryAttempts: 0 }), orderId, awaited);
