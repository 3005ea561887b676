//! The bundled sample orders.

use std::sync::LazyLock;

use serde_json::Value;

/// `PlaceOrderInput`s as a client sends them: several currencies, some with a payment method that
/// is declined, some with hostile text in the names.
static ORDERS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let lines = include_str!("orders.ndjson").lines();
    lines
        .map(|line| serde_json::from_str(line).expect("bundled orders parse; a test reads them"))
        .collect()
});

/// The `n`th order of a demo; the bundled ones come round again and again.
pub fn order(n: usize) -> Value {
    ORDERS[n % ORDERS.len()].clone()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_samples_are_many_and_varied() {
        let text = |of: &Value, key: &str| of[key].as_str().unwrap().to_owned();
        let currencies: BTreeSet<_> = ORDERS.iter().map(|o| text(o, "currency")).collect();
        let declined = ORDERS.iter().filter(|o| text(o, "paymentMethod").contains("Declined"));
        let hostile = ORDERS.iter().filter(|o| text(&o["contact"], "name").contains("<script>"));
        assert!(ORDERS.len() >= 200);
        assert!(currencies.len() >= 5);
        assert!(declined.count() >= 10);
        assert!(hostile.count() >= 1);
    }
}
