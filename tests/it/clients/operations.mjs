// What the clients have in common: the operations that they send, and how they are watched.

import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

export const PLACE = `mutation Place($input: PlaceOrderInput!) {
  placeOrder(input: $input) {
    order { id status }
    receipt { token }
    errors { code message path }
  }
}`;

export const ORDER = `query Order($id: ID!, $receipt: String) {
  order(id: $id, receipt: $receipt) { id status totalMinor }
}`;

export const WATCH = `subscription Watch($id: ID!) {
  orderUpdates(orderId: $id) { cursor type order { id status } }
}`;

// A client of graphql-ws, for the WebSocket at the address of the gateway.
export function socket(url, authorization, options) {
  return createClient({
    url: url.replace(/^http/, 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: { authorization },
    ...options,
  });
}

// Watches an order until each of `awaited` types has happened to it; prints one JSON array of
// { type, order: { status } }, one for each update.
export async function watch(client, orderId, awaited) {
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
  await client.dispose();
  console.log(JSON.stringify(updates));
}
