// urql: places an order, reads it with its receipt, watches it until it is paid.
//
// usage: urql.mjs URL API_KEY INPUT
//
// Prints { placed, read, watched }: the order's status after each step.

import { Client, cacheExchange, fetchExchange, subscriptionExchange } from '@urql/core';
import { ORDER, PLACE, WATCH, socket } from './operations.mjs';

const [url, key, input] = process.argv.slice(2);
const authorization = `Bearer ${key}`;
const updates = socket(url, authorization);
const client = new Client({
  url,
  preferGetMethod: false,
  fetchOptions: { headers: { authorization } },
  exchanges: [
    cacheExchange,
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: updates.subscribe({ query, variables }, sink) }),
      }),
    }),
  ],
});

function data(result) {
  if (result.error) throw result.error;
  return result.data;
}

const placing = await client.mutation(PLACE, { input: JSON.parse(input) }).toPromise();
const { order, receipt, errors } = data(placing).placeOrder;
if (errors.length > 0) throw new Error(JSON.stringify(errors));
const reading = client.query(ORDER, { id: order.id, receipt: receipt.token });
const read = data(await reading.toPromise()).order.status;
const watched = await new Promise((resolve, reject) => {
  client.subscription(WATCH, { id: order.id }).subscribe((result) => {
    if (result.error) reject(result.error);
    const { status } = result.data.orderUpdates.order;
    if (status === 'PAID') resolve(status);
  });
});
await updates.dispose();
console.log(JSON.stringify({ placed: order.status, read, watched }));
