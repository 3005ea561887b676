//! Requests that only have to be numbered before they are sent.

use comanda_schemas::Order;
use serde_json::json;

use super::super::load::Orders;

/// What ends the payload of an order that is stored, and of no other.
const STORED: &str = "\"},\"errors\":[]}";
/// Begins idempotency keys.
const KEY: &str = "order-";
/// Digits of an order's number in its idempotency key.
const DIGITS: usize = 12;
/// Selected of each order, as clients do that show it and read their own writes. The token stands
/// last in the receipt, for [`STORED`].
const SELECTED: &str = "{ order { id status } receipt { topic partition offset token } \
                        errors { code message path retriable } }";

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Orders in it; more than one are a `placeOrders`.
    pub orders: usize,
    /// Whether each has an idempotency key.
    pub keyed: bool,
}

/// A request to place orders, head and body.
#[derive(Clone)]
pub struct Request {
    text: Vec<u8>,
    /// Where the numbers of the orders stand in it.
    keys: Vec<usize>,
    /// Where the customers stand in it.
    customers: Vec<usize>,
    orders: u64,
}

impl Request {
    /// A request of the one who has the API key `key`. The orders are those of [`Orders`].
    pub fn new(shape: Shape, key: &str) -> Self {
        let made = Orders::new().event(0);
        let input = rest(&made.order);
        let (mut body, mut keys, mut customers) = (String::new(), Vec::new(), Vec::new());
        body += &match shape.orders {
            1 => format!(
                "{{\"query\":\"mutation($input: PlaceOrderInput!) {{ \
                 placeOrder(input: $input) {SELECTED} }}\",\"variables\":{{\"input\":"
            ),
            _ => format!(
                "{{\"query\":\"mutation($inputs: [PlaceOrderInput!]!) {{ \
                 placeOrders(inputs: $inputs) {SELECTED} }}\",\"variables\":{{\"inputs\":["
            ),
        };
        for n in 0..shape.orders {
            body += if n == 0 { "{" } else { ",{" };
            if shape.keyed {
                body += &format!("\"idempotencyKey\":\"{KEY}");
                keys.push(body.len());
                body += &format!("{:0DIGITS$}\",", 0);
            }
            body += "\"customerId\":\"";
            customers.push(body.len());
            body += &format!("{}\",{input}", Orders::customer(0));
        }
        body += if shape.orders == 1 { "}}" } else { "]}}" };
        let head = format!(
            "POST /graphql HTTP/1.1\r\nhost: comanda\r\nauthorization: Bearer {key}\r\n\
             accept: application/graphql-response+json\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let moved = |all: Vec<usize>| all.into_iter().map(|at| at + head.len()).collect();
        let (keys, customers) = (moved(keys), moved(customers));
        let orders = shape.orders as u64;
        Self { text: [head, body].concat().into_bytes(), keys, customers, orders }
    }

    /// Orders in it.
    pub fn orders(&self) -> u64 {
        self.orders
    }

    /// The request for the orders from number `first` on.
    pub fn numbered(&mut self, first: u64) -> &[u8] {
        for (at, n) in self.keys.iter().zip(first..) {
            write_digits(&mut self.text[*at..at + DIGITS], n);
        }
        for (at, n) in self.customers.iter().zip(first..) {
            let customer = Orders::customer(n);
            self.text[*at..at + customer.len()].copy_from_slice(customer.as_bytes());
        }
        &self.text
    }

    /// How many orders the answer `body` says are stored.
    pub fn stored(body: &str) -> u64 {
        body.matches(STORED).count() as u64
    }
}

/// Everything of an input but who and which, without the opening brace.
fn rest(order: &Order) -> String {
    let lines = order.lines.iter().map(|line| {
        json!({ "sku": line.sku, "name": line.name, "quantity": line.quantity,
                "unitPriceMinor": line.unit_price_minor })
    });
    let all = json!({
        "contact": { "name": order.contact.name, "email": order.contact.email },
        "currency": order.currency.code(),
        "lines": lines.collect::<Vec<_>>(),
        "paymentMethod": order.payment_method,
    });
    all.to_string().split_off(1)
}

fn write_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn body(shape: Shape, first: u64) -> Value {
        let mut request = Request::new(shape, "a-key");
        let text = std::str::from_utf8(request.numbered(first)).unwrap().to_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /graphql HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("authorization: Bearer a-key\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn a_request_places_the_order_that_the_bare_client_writes() {
        let input = body(Shape { orders: 1, keyed: true }, 1_234_567)["variables"]["input"].take();
        let event = Orders::new().event(1_234_567);
        assert_eq!(input["idempotencyKey"], "order-000001234567");
        assert_eq!(input["customerId"], event.customer_id);
        assert_eq!(input["contact"]["email"], event.order.contact.email);
        assert_eq!(input["lines"].as_array().unwrap().len(), event.order.lines.len());
        assert_eq!(input["lines"][1]["name"], event.order.lines[1].name);
        assert_eq!(input["paymentMethod"], event.order.payment_method);
        let without = body(Shape { orders: 1, keyed: false }, 7)["variables"]["input"].take();
        assert_eq!(without["idempotencyKey"], Value::Null);
        assert_eq!(without["customerId"], "table-007");
    }

    #[test]
    fn a_batch_has_consecutive_orders() {
        let inputs = body(Shape { orders: 3, keyed: true }, 99)["variables"]["inputs"].take();
        let keys: Vec<&str> = inputs
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|i| i["idempotencyKey"].as_str())
            .collect();
        assert_eq!(keys, ["order-000000000099", "order-000000000100", "order-000000000101"]);
    }

    #[test]
    fn only_orders_with_a_receipt_and_without_errors_count() {
        let stored = r#"{"order":{"id":"1","status":"PENDING"},"receipt":{"topic":"orders","partition":0,"offset":1,"token":"AQ"},"errors":[]}"#;
        let refused = r#"{"order":null,"receipt":null,"errors":[{"code":"REQUIRED","message":"","path":[],"retriable":false}]}"#;
        let answer = |payloads: &str| format!(r#"{{"data":{{"placeOrders":[{payloads}]}}}}"#);
        assert_eq!(Request::stored(&answer(&format!("{stored},{refused},{stored}"))), 2);
        assert_eq!(Request::stored(&format!(r#"{{"data":{{"placeOrder":{stored}}}}}"#)), 1);
        assert_eq!(Request::stored(&answer(refused)), 0);
        let failed =
            r#"{"data":null,"errors":[{"message":"no","extensions":{"code":"OVERLOADED"}}]}"#;
        assert_eq!(Request::stored(failed), 0);
        let no_receipt = r#"{"order":{"id":"1","status":"PENDING"},"receipt":null,"errors":[]}"#;
        assert_eq!(Request::stored(no_receipt), 0);
    }
}
