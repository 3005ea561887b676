// Apollo Client: places an order, reads it with its receipt, watches it until it is paid.
//
// usage: apollo.mjs URL API_KEY INPUT
//
// Prints { placed, read, watched }: the order's status after each step.

import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client/core';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { ORDER, PLACE, WATCH, socket } from './operations.mjs';

const [url, key, input] = process.argv.slice(2);
const authorization = `Bearer ${key}`;
const updates = socket(url, authorization);
const client = new ApolloClient({
  cache: new InMemoryCache(),
  link: ApolloLink.split(
    ({ operationType }) => operationType === 'subscription',
    new GraphQLWsLink(updates),
    new HttpLink({ uri: url, headers: { authorization } }),
  ),
});

const variables = { input: JSON.parse(input) };
const placing = await client.mutate({ mutation: gql(PLACE), variables });
const { order, receipt, errors } = placing.data.placeOrder;
if (errors.length > 0) throw new Error(JSON.stringify(errors));
const reading = { id: order.id, receipt: receipt.token };
const read = await client.query({ query: gql(ORDER), variables: reading });
const watched = await new Promise((resolve, reject) => {
  const watching = client.subscribe({ query: gql(WATCH), variables: { id: order.id } });
  watching.subscribe({
    next: ({ data, error }) => {
      if (error) reject(error);
      const { status } = data.orderUpdates.order;
      if (status === 'PAID') resolve(status);
    },
    error: reject,
    complete: () => reject(new Error('the subscription ended early')),
  });
});
await updates.dispose();
console.log(JSON.stringify({ placed: order.status, read: read.data.order.status, watched }));
