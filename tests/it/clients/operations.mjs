// The operations that each of the clients sends.

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
