use async_graphql::ID;
use proptest::prelude::*;

use super::*;
use crate::schema::scalars::Long;

fn line() -> OrderLineInput {
    OrderLineInput {
        sku: "PIZ-1".into(),
        name: "Margherita".into(),
        quantity: 2,
        unit_price_minor: Long(950),
    }
}

fn input() -> PlaceOrderInput {
    PlaceOrderInput {
        idempotency_key: Some("k-1".into()),
        customer_id: ID("table-7".into()),
        contact: ContactInput { name: "Zoë Ruiz".into(), email: "zoe@example.com".into() },
        currency: "EUR".into(),
        lines: vec![line(), line()],
        payment_method: "pm_card_visa".into(),
        note: Some("no onions,\n\tplease".into()),
    }
}

fn parse(input: PlaceOrderInput) -> Result<PlaceOrder, Vec<UserError>> {
    PlaceOrder::parse(input, &["input"], 200)
}

/// The errors of an input after `edit`, each as its code and its path without the first part.
fn errors(edit: impl FnOnce(&mut PlaceOrderInput)) -> Vec<(ErrorCode, String)> {
    let mut input = input();
    edit(&mut input);
    let errors = parse(input).err().unwrap_or_default();
    errors.into_iter().map(|e| (e.code, e.path[1..].join("."))).collect()
}

fn one(code: ErrorCode, path: &str) -> Vec<(ErrorCode, String)> {
    vec![(code, path.to_owned())]
}

#[test]
fn a_good_order_is_taken_as_it_is() {
    let placed = parse(input()).unwrap();
    assert_eq!(placed.customer_id, "table-7");
    assert_eq!(placed.order.total_minor, 3800);
    assert_eq!(placed.order.lines[1].unit_price_minor, 950);
    assert_eq!(placed.order.note.as_deref(), Some("no onions,\n\tplease"));
    assert_eq!(placed.order_id(), OrderId::derive("table-7", "k-1"));
}

#[test]
fn an_order_without_a_key_has_an_id_of_its_own() {
    let unkeyed = || parse(PlaceOrderInput { idempotency_key: None, ..input() }).unwrap();
    assert_ne!(unkeyed().order_id(), unkeyed().order_id());
}

#[test]
fn each_field_is_checked_and_named() {
    use ErrorCode::*;
    let long = |n: usize| "é".repeat(n);
    assert_eq!(
        errors(|i| i.idempotency_key = Some(String::new())),
        one(Required, "idempotencyKey")
    );
    assert_eq!(errors(|i| i.idempotency_key = Some(long(256))), one(TooLong, "idempotencyKey"));
    assert_eq!(errors(|i| i.idempotency_key = Some(long(255))), []);
    assert_eq!(errors(|i| i.customer_id = ID(String::new())), one(Required, "customerId"));
    assert_eq!(errors(|i| i.customer_id = ID("a b".into())), one(InvalidFormat, "customerId"));
    assert_eq!(
        errors(|i| i.customer_id = ID("a\u{200b}".into())),
        one(InvalidFormat, "customerId")
    );
    assert_eq!(errors(|i| i.customer_id = ID(long(129))), one(TooLong, "customerId"));
    assert_eq!(errors(|i| i.contact.name = " \t ".into()).len(), 2);
    assert_eq!(errors(|i| i.contact.name = long(201)), one(TooLong, "contact.name"));
    let crlf = "x\r\nBcc: evil@e.invalid";
    assert_eq!(errors(|i| i.contact.name = crlf.into()), one(InvalidFormat, "contact.name"));
    assert_eq!(errors(|i| i.currency = "eur".into()), one(UnknownCurrency, "currency"));
    assert_eq!(errors(|i| i.currency = "XYZ".into()), one(UnknownCurrency, "currency"));
    assert_eq!(errors(|i| i.lines.clear()), one(Required, "lines"));
    assert_eq!(errors(|i| i.lines[1].sku = String::new()), one(Required, "lines.1.sku"));
    assert_eq!(errors(|i| i.lines[1].sku = long(65)), one(TooLong, "lines.1.sku"));
    assert_eq!(errors(|i| i.lines[0].name = String::new()), one(Required, "lines.0.name"));
    assert_eq!(errors(|i| i.note = Some("a\u{7}".into())), one(InvalidFormat, "note"));
    assert_eq!(errors(|i| i.note = Some(long(1001))), one(TooLong, "note"));
    assert_eq!(errors(|i| i.note = Some(String::new())), []);
    let none = |i: &mut PlaceOrderInput| i.payment_method = String::new();
    assert_eq!(errors(none), one(Required, "paymentMethod"));
    let script = |i: &mut PlaceOrderInput| i.payment_method = "<script>".into();
    assert_eq!(errors(script), one(InvalidFormat, "paymentMethod"));
}

#[test]
fn amounts_and_quantities_have_bounds() {
    use ErrorCode::OutOfRange;
    for quantity in [0, -1, i32::MIN, 10_000, i32::MAX] {
        let found = errors(|i| i.lines[1].quantity = quantity);
        assert_eq!(found[0], (OutOfRange, "lines.1.quantity".into()), "{quantity}");
    }
    for price in [-1, i64::MIN, MAX_AMOUNT + 1, i64::MAX] {
        let found = errors(|i| i.lines[1].unit_price_minor = Long(price));
        assert_eq!(found[0], (OutOfRange, "lines.1.unitPriceMinor".into()), "{price}");
    }
    assert_eq!(errors(|i| i.lines[0].unit_price_minor = Long(0)), []);
    let dearest = |quantity| {
        errors(move |i| {
            i.lines.truncate(1);
            i.lines[0].quantity = quantity;
            i.lines[0].unit_price_minor = Long(MAX_AMOUNT);
        })
    };
    assert_eq!(dearest(1), []);
    assert_eq!(dearest(2), one(OutOfRange, "lines"));
    assert_eq!(dearest(9_999), one(OutOfRange, "lines"));
}

#[test]
fn too_many_lines_are_one_error_and_many_errors_are_cut_off() {
    let many = |n| move |i: &mut PlaceOrderInput| i.lines = (0..n).map(|_| line()).collect();
    assert_eq!(errors(many(200)), []);
    assert_eq!(errors(many(201)), one(ErrorCode::TooMany, "lines"));
    assert_eq!(errors(many(10_000)), one(ErrorCode::TooMany, "lines"));
    let all_wrong = errors(|i| {
        many(200)(i);
        i.lines.iter_mut().for_each(|line| line.quantity = 0);
    });
    assert_eq!(all_wrong.len(), 50);
}

#[test]
fn paths_begin_where_the_input_stands() {
    let input = PlaceOrderInput { currency: "?".into(), ..input() };
    let errors = PlaceOrder::parse(input, &["inputs", "7"], 200).unwrap_err();
    assert_eq!(errors[0].path, ["inputs", "7", "currency"]);
}

#[test]
fn addresses_are_plain_ones() {
    let is_taken = |email: &str| errors(|i| i.contact.email = email.into()).is_empty();
    for good in ["a@example.com", "a.b+c@mail.example.co.uk", "o'brien@example.com"] {
        assert!(is_taken(good), "{good}");
    }
    let long = format!("{}@example.com", "a".repeat(260));
    for bad in [
        "",
        "a",
        "a@",
        "@example.com",
        "a@example",
        "a b@example.com",
        "a@exa mple.com",
        "a@example.com\r\nBcc: b@example.com",
        "a@example.com,b@example.com",
        "Ana <a@example.com>",
        "\"a,b\"@example.com",
        "zoë@example.com",
        "a@exämple.com",
        "a@[127.0.0.1]",
        "a@example.com\0",
        &long,
    ] {
        assert!(!is_taken(bad), "{bad}");
    }
}

#[test]
fn card_numbers_are_refused_however_they_are_written_and_never_repeated() {
    for card in [
        "4242424242424242",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "378282246310005",
        "6011 0009 9013 9424",
        " 4000 0566 5566 5556 ",
        "4222222222222",
    ] {
        let errors = parse(PlaceOrderInput { payment_method: card.into(), ..input() }).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].code, ErrorCode::CardNumber, "{card}");
        let all = format!("{errors:?}");
        assert!(!all.contains("4242") && !all.contains(card.trim()), "{all}");
    }
    for token in ["pm_card_visa", "pm_4242424242424242", "4242424242424241", "424242424242"] {
        let taken = parse(PlaceOrderInput { payment_method: token.into(), ..input() });
        assert!(taken.is_ok(), "{token}");
    }
}

proptest! {
    #[test]
    fn an_order_that_is_taken_keeps_the_promises_of_its_fields(
        name in ".{0,5}|[a-z\\s]{0,5}",
        sku in ".{0,5}",
        note in prop::option::of(".{0,5}"),
        quantity in prop_oneof![Just(0), 1..3i32, 9_998..10_001i32, any::<i32>()],
        price in prop_oneof![0..3i64, any::<i64>()],
    ) {
        let mut input = input();
        input.contact.name = name;
        input.note = note;
        input.lines[0] = OrderLineInput {
            sku,
            quantity,
            unit_price_minor: Long(price),
            ..line()
        };
        if let Ok(placed) = parse(input) {
            let order = placed.order;
            let exact: i128 = order
                .lines
                .iter()
                .map(|l| i128::from(l.unit_price_minor) * i128::from(l.quantity))
                .sum();
            prop_assert_eq!(i128::from(order.total_minor), exact);
            prop_assert!((0..=MAX_AMOUNT).contains(&order.total_minor));
            prop_assert!(!order.contact.name.chars().any(char::is_control));
            prop_assert!(!order.lines[0].sku.is_empty());
        }
    }
}

mod changes {
    use async_graphql::MaybeUndefined;

    use super::*;
    use crate::schema::inputs::{CancelOrderInput, RetryPaymentInput, UpdateOrderInput};

    fn update() -> UpdateOrderInput {
        UpdateOrderInput {
            order_id: ID(OrderId::derive("c", "k").to_string()),
            expected_version: None,
            lines: None,
            payment_method: None,
            contact: None,
            note: MaybeUndefined::Undefined,
            receipt: None,
        }
    }

    fn edit(edit: impl FnOnce(&mut UpdateOrderInput)) -> Edit {
        let mut input = update();
        edit(&mut input);
        match Ask::update(input, &["input"], 200).unwrap().change {
            Change::Update(edit) => edit,
            other => panic!("{other:?}"),
        }
    }

    fn errors(edit: impl FnOnce(&mut UpdateOrderInput)) -> Vec<(ErrorCode, String)> {
        let mut input = update();
        edit(&mut input);
        let errors = Ask::update(input, &["input"], 200).err().unwrap_or_default();
        errors.into_iter().map(|e| (e.code, e.path.join("."))).collect()
    }

    fn one(code: ErrorCode, path: &str) -> Vec<(ErrorCode, String)> {
        vec![(code, path.to_owned())]
    }

    #[test]
    fn what_is_not_given_is_not_part_of_a_change() {
        let note = |note| edit(|i| i.note = note);
        assert_eq!(note(MaybeUndefined::Null).note, Some(None));
        assert_eq!(note(MaybeUndefined::Value(String::new())).note, Some(None));
        let salt = note(MaybeUndefined::Value("salt".into()));
        assert_eq!(salt, Edit { note: Some(Some("salt".into())), ..Edit::default() });
        let lines = edit(|i| i.lines = Some(vec![line()])).lines.unwrap();
        assert_eq!((lines.0.len(), lines.1), (1, 1900));
    }

    #[test]
    fn a_change_is_checked_as_a_new_order_is() {
        use ErrorCode::*;
        assert_eq!(errors(|_| {}), one(Required, "input"));
        assert_eq!(errors(|i| i.lines = Some(vec![])), one(Required, "input.lines"));
        let card = |i: &mut UpdateOrderInput| i.payment_method = Some("4242424242424242".into());
        assert_eq!(errors(card), one(CardNumber, "input.paymentMethod"));
        let contact = ContactInput { name: "Zoë".into(), email: "zoe".into() };
        let wrong = |i: &mut UpdateOrderInput| i.contact = Some(contact);
        assert_eq!(errors(wrong), one(InvalidFormat, "input.contact.email"));
        let long = MaybeUndefined::Value("é".repeat(1001));
        assert_eq!(errors(|i| i.note = long), one(TooLong, "input.note"));
        let version = |i: &mut UpdateOrderInput| {
            i.note = MaybeUndefined::Null;
            i.expected_version = Some(0);
        };
        assert_eq!(errors(version), one(OutOfRange, "input.expectedVersion"));
    }

    #[test]
    fn cancellations_and_retries_are_checked_as_well() {
        let cancel = |reason: &str| CancelOrderInput {
            order_id: update().order_id,
            expected_version: Some(1),
            reason: Some(reason.into()),
            receipt: None,
        };
        let ask = Ask::cancel(cancel(""), &["input"]).unwrap();
        assert_eq!(ask.change, Change::Cancel { reason: None });
        assert_eq!(ask.order_id, Some(OrderId::derive("c", "k")));
        let errors = Ask::cancel(cancel("a\u{7}"), &["input"]).unwrap_err();
        assert_eq!(errors[0].path, ["input", "reason"]);
        let retry = |method: &str| RetryPaymentInput {
            order_id: ID("no id".into()),
            expected_version: None,
            payment_method: Some(method.into()),
            receipt: None,
        };
        assert_eq!(Ask::retry(retry("pm_2"), &["input"]).unwrap().order_id, None);
        let errors = Ask::retry(retry(""), &["input"]).unwrap_err();
        assert_eq!(
            (errors[0].code, &errors[0].path[1..]),
            (ErrorCode::Required, &["paymentMethod".to_owned()][..])
        );
    }
}
