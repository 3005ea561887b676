//! Whether two requests asked for the same order.

use comanda_schemas::Order;
use sha2::{Digest, Sha256};

/// Begins every hashed text, so that another form of it later can't give the same value.
const FORM: &[u8] = b"comanda-placement-1";

/// SHA-256, in hexadecimal, over everything a client sends to place an order. Equal for equal
/// requests; another value in any field gives another fingerprint. The total is left out, since
/// it follows from the lines.
pub fn fingerprint(customer_id: &str, order: &Order) -> String {
    let mut hash = Canonical(Sha256::new());
    hash.bytes(FORM);
    hash.text(customer_id);
    hash.text(&order.contact.name);
    hash.text(&order.contact.email);
    hash.text(order.currency.code());
    hash.number(order.lines.len() as u64);
    for line in &order.lines {
        hash.text(&line.sku);
        hash.text(&line.name);
        hash.number(i64::from(line.quantity).cast_unsigned());
        hash.number(line.unit_price_minor.cast_unsigned());
    }
    hash.text(&order.payment_method);
    hash.number(u64::from(order.note.is_some()));
    hash.text(order.note.as_deref().unwrap_or_default());
    hex::encode(hash.0.finalize())
}

/// Feeds a hash so that where one value ends and the next begins can't be mistaken.
struct Canonical(Sha256);

impl Canonical {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use comanda_schemas::{Contact, Currency, OrderLine};
    use proptest::prelude::*;

    use super::*;

    /// Few and short values, so that one value's end is often another's beginning.
    fn text() -> impl Strategy<Value = String> {
        "[ab]{0,3}"
    }

    fn orders() -> impl Strategy<Value = Order> {
        let line = (text(), text(), 0..3i32, 0..3i64).prop_map(
            |(sku, name, quantity, unit_price_minor)| OrderLine {
                sku,
                name,
                quantity,
                unit_price_minor,
            },
        );
        let currency = prop::sample::select(vec!["EUR", "JPY"]);
        let lines = prop::collection::vec(line, 0..3);
        (currency, lines, text(), text(), text(), prop::option::of(text())).prop_map(
            |(currency, lines, name, email, payment_method, note)| Order {
                currency: Currency::parse(currency).unwrap(),
                total_minor: 0,
                lines,
                contact: Contact { name, email },
                payment_method,
                note,
            },
        )
    }

    /// `order` with one field changed each.
    fn changed(order: &Order) -> Vec<Order> {
        let change = |edit: &dyn Fn(&mut Order)| {
            let mut other = order.clone();
            edit(&mut other);
            other
        };
        let other = if order.currency.code() == "EUR" { "JPY" } else { "EUR" };
        let line =
            OrderLine { sku: String::new(), name: String::new(), quantity: 0, unit_price_minor: 0 };
        let mut all = vec![
            change(&|o| o.currency = Currency::parse(other).unwrap()),
            change(&|o| o.lines.push(line.clone())),
            change(&|o| o.contact.name.push('a')),
            change(&|o| o.contact.email.push('a')),
            change(&|o| o.payment_method.push('a')),
            change(&|o| {
                o.note = match o.note {
                    Some(_) => None,
                    None => Some(String::new()),
                }
            }),
        ];
        for n in 0..order.lines.len() {
            all.push(change(&|o| o.lines[n].sku.push('a')));
            all.push(change(&|o| o.lines[n].name.push('a')));
            all.push(change(&|o| o.lines[n].quantity += 1));
            all.push(change(&|o| o.lines[n].unit_price_minor += 1));
            all.push(change(&|o| drop(o.lines.remove(n))));
        }
        all
    }

    proptest! {
        #[test]
        fn a_change_of_any_field_changes_it(customer in text(), order in orders()) {
            let before = fingerprint(&customer, &order);
            prop_assert_ne!(&before, &fingerprint(&format!("{customer}a"), &order));
            for other in changed(&order) {
                prop_assert_ne!(&before, &fingerprint(&customer, &other), "{:?}", other);
            }
        }

        #[test]
        fn it_is_equal_for_equal_requests_alone(
            a in (text(), orders()),
            b in (text(), orders()),
        ) {
            let same = fingerprint(&a.0, &a.1) == fingerprint(&b.0, &b.1);
            prop_assert_eq!(same, a == b);
        }
    }

    /// Stores and gateways of different builds compare it.
    #[test]
    fn it_is_the_same_for_every_build_and_leaves_the_total_out() {
        let line = OrderLine {
            sku: "PIZ-1".into(),
            name: "Margherita".into(),
            quantity: 1,
            unit_price_minor: 1200,
        };
        let mut order = Order {
            currency: Currency::parse("EUR").unwrap(),
            total_minor: 1200,
            lines: vec![line],
            contact: Contact { name: "Ana Ruiz".into(), email: "ana@example.com".into() },
            payment_method: "pm_card_visa".into(),
            note: None,
        };
        let print = fingerprint("c-1", &order);
        assert_eq!(print, "ae8df24baaf7a23dc58c672b6cb023375e53ab7162387a9dd1ad1da0a4a271fa");
        order.total_minor += 1;
        assert_eq!(print, fingerprint("c-1", &order));
    }
}
