use super::*;
use apache_avro::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use uuid::Uuid;

fn order() -> Order {
    Order {
        currency: Currency::parse("EUR").unwrap(),
        total_minor: 2400,
        lines: vec![OrderLine {
            sku: "PIZ-1".into(),
            name: "Margherita".into(),
            quantity: 2,
            unit_price_minor: 1200,
        }],
        contact: Contact { name: "Ana Ruiz".into(), email: "ana@example.com".into() },
        payment_method: "pm_card_visa".into(),
        note: Some("no basil".into()),
    }
}

pub(crate) fn order_event() -> OrderEvent {
    let order_id = OrderId::derive("c-1", "k-1");
    OrderEvent {
        event_id: OrderEvent::derive_id(order_id, 1, OrderEventType::Placed),
        r#type: OrderEventType::Placed,
        order_id,
        version: 1,
        occurred_at: Timestamp::from_micros(1_795_484_800_123_456),
        customer_id: "c-1".into(),
        order: order(),
        reason: None,
        seen_offset: None,
    }
}

fn source() -> Source {
    Source { topic: "orders".into(), partition: 3, offset: 42 }
}

fn payment_event() -> PaymentEvent {
    let cause = order_event();
    PaymentEvent {
        event_id: PaymentEvent::derive_id(cause.event_id),
        r#type: PaymentEventType::Failed,
        order_id: cause.order_id,
        version: 1,
        occurred_at: cause.occurred_at,
        order: order(),
        payment: Payment {
            provider: "stripe".into(),
            payment_id: Some("pi_1".into()),
            amount_minor: 2400,
            currency: Currency::parse("EUR").unwrap(),
            reason: Some(FailureReason::Declined),
            detail: Some("card_declined".into()),
            attempts: 1,
        },
        source: source(),
    }
}

fn notification_event() -> NotificationEvent {
    let cause = payment_event();
    NotificationEvent {
        event_id: NotificationEvent::derive_id(cause.event_id),
        r#type: NotificationEventType::Sent,
        order_id: cause.order_id,
        occurred_at: cause.occurred_at,
        payment_event_id: cause.event_id,
        channel: "email".into(),
        template: "payment_failed".into(),
        provider: "resend".into(),
        message_id: Some("m-1".into()),
        detail: None,
        source: source(),
    }
}

fn payment_report() -> PaymentReport {
    let cause = order_event();
    PaymentReport {
        event_id: PaymentReport::in_doubt_id(cause.event_id),
        r#type: PaymentReportType::Reported,
        order_id: cause.order_id,
        version: 1,
        occurred_at: cause.occurred_at,
        provider: "stripe".into(),
        payment_id: Some("pi_1".into()),
        outcome: Some(PaymentOutcome::Succeeded),
        amount_minor: Some(2400),
        currency: Currency::parse("EUR"),
        detail: None,
        attempts: 2,
        source: Some(source()),
    }
}

fn written_by<E: Event>(json: &str, value: &[u8]) -> Result<E, DecodeError> {
    let (id, datum) = split(value)?;
    WriterSchema::parse(id, json).unwrap().decode(datum)
}

fn round_trip<E: Event + PartialEq + std::fmt::Debug>(event: &E) {
    let value = Encoder::new(7).encode(event).unwrap();
    assert_eq!(value[..5], [0, 0, 0, 0, 7]);
    assert_eq!(&written_by::<E>(E::TOPIC.schema_json(), &value).unwrap(), event);
}

#[test]
fn every_event_survives_its_schema() {
    round_trip(&order_event());
    round_trip(&payment_event());
    round_trip(&notification_event());
    round_trip(&payment_report());
    round_trip(&PaymentReport { outcome: None, currency: None, source: None, ..payment_report() });
}

/// What serde writes must be what the schema means, not merely what serde reads back.
#[test]
fn another_avro_reader_sees_the_fields_by_name() {
    let value = Encoder::new(7).encode(&payment_event()).unwrap();
    let schema = WriterSchema::parse(7, Topic::Payments.schema_json()).unwrap();
    let json = schema.decode_json(&value[5..]).unwrap();
    assert_eq!(json["type"], "FAILED");
    assert_eq!(json["order_id"], payment_event().order_id.to_string());
    assert_eq!(json["occurred_at"], 1_795_484_800_123_456_i64);
    assert_eq!(json["order"]["lines"][0]["name"], "Margherita");
    assert_eq!(json["order"]["note"], "no basil");
    assert_eq!(json["payment"]["reason"], "DECLINED");
    assert_eq!(json["payment"]["amount_minor"], 2400);
    assert_eq!(json["source"]["offset"], 42);
}

#[test]
fn a_report_reads_by_name_and_its_id_tells_its_cause() {
    let value = Encoder::new(7).encode(&payment_report()).unwrap();
    let schema = WriterSchema::parse(7, Topic::PaymentReports.schema_json()).unwrap();
    let json = schema.decode_json(&value[5..]).unwrap();
    assert_eq!((&json["type"], &json["outcome"]), (&"REPORTED".into(), &"SUCCEEDED".into()));
    assert_eq!((&json["amount_minor"], &json["currency"]), (&2400.into(), &"EUR".into()));
    assert_eq!(json["source"]["offset"], 42);

    let id = PaymentReport::derive_id;
    assert_eq!(id(PaymentReportType::Reported, "a"), id(PaymentReportType::Reported, "a"));
    assert_ne!(id(PaymentReportType::Reported, "a"), id(PaymentReportType::Reported, "b"));
    assert_ne!(id(PaymentReportType::Reported, "a"), id(PaymentReportType::Resolved, "a"));
}

/// The bundled order schema, changed as `edit` says.
fn evolved(edit: impl Fn(&mut serde_json::Value)) -> String {
    let mut schema: serde_json::Value = serde_json::from_str(Topic::Orders.schema_json()).unwrap();
    edit(&mut schema);
    schema.to_string()
}

fn write_with(json: &str, event: &impl serde::Serialize) -> Vec<u8> {
    let schema = Schema::parse_str(json).unwrap();
    let writer = GenericDatumWriter::builder(&schema).human_readable(true).build().unwrap();
    let mut value = vec![0, 0, 0, 0, 9];
    writer.write_ser(&mut value, event).unwrap();
    value
}

#[test]
fn a_newer_writers_fields_and_symbols_do_not_disturb_this_reader() {
    #[derive(serde::Serialize)]
    struct Newer {
        table: Option<String>,
        event_id: Uuid,
        r#type: NewerType,
        order_id: OrderId,
        version: i32,
        occurred_at: Timestamp,
        customer_id: String,
        order: Order,
        reason: Option<String>,
        seen_offset: Option<i64>,
    }
    #[derive(serde::Serialize)]
    enum NewerType {
        #[serde(rename = "SPLIT")]
        Split,
    }
    let json = evolved(|schema| {
        let fields = schema["fields"].as_array_mut().unwrap();
        fields[1]["type"]["symbols"].as_array_mut().unwrap().insert(0, "SPLIT".into());
        fields.insert(
            0,
            serde_json::json!({"name": "table", "type": ["null", "string"], "default": null}),
        );
    });
    let event = order_event();
    let newer = Newer {
        table: Some("12".into()),
        event_id: event.event_id,
        r#type: NewerType::Split,
        order_id: event.order_id,
        version: event.version,
        occurred_at: event.occurred_at,
        customer_id: event.customer_id.clone(),
        order: event.order.clone(),
        reason: None,
        seen_offset: None,
    };
    let read: OrderEvent = written_by(&json, &write_with(&json, &newer)).unwrap();
    assert_eq!(read, OrderEvent { r#type: OrderEventType::Unknown, ..event });
}

#[test]
fn an_older_writer_without_the_optional_fields_is_read() {
    #[derive(serde::Serialize)]
    struct Older {
        event_id: Uuid,
        r#type: OrderEventType,
        order_id: OrderId,
        version: i32,
        occurred_at: Timestamp,
        customer_id: String,
        order: Order,
    }
    let json = evolved(|schema| {
        schema["fields"]
            .as_array_mut()
            .unwrap()
            .retain(|f| !["reason", "seen_offset"].contains(&f["name"].as_str().unwrap()));
    });
    let event = order_event();
    let older = Older {
        event_id: event.event_id,
        r#type: event.r#type,
        order_id: event.order_id,
        version: event.version,
        occurred_at: event.occurred_at,
        customer_id: event.customer_id.clone(),
        order: event.order.clone(),
    };
    assert_eq!(written_by::<OrderEvent>(&json, &write_with(&json, &older)).unwrap(), event);
}

#[test]
fn a_change_has_the_id_of_what_it_asks_for() {
    let id = |version, r#type, order: &Order, reason| {
        OrderEvent::derive_change_id(order_event().order_id, version, r#type, order, reason)
    };
    let (order, other) = (order(), Order { note: None, ..order() });
    let change = id(2, OrderEventType::Updated, &order, None);
    assert_eq!(change, id(2, OrderEventType::Updated, &order, None));
    for another in [
        id(3, OrderEventType::Updated, &order, None),
        id(2, OrderEventType::Cancelled, &order, None),
        id(2, OrderEventType::Updated, &other, None),
        id(2, OrderEventType::Updated, &order, Some("why")),
    ] {
        assert_ne!(change, another);
    }
}

/// Charges of other builds carry them.
#[test]
fn terms_are_lines_payment_method_and_currency_for_every_build() {
    let order = order();
    assert_eq!(order.terms().to_string(), "9236ae01-436b-5e7e-bb67-e4fde85b348a");
    let contact = Contact { name: "Bo".into(), email: "bo@example.com".into() };
    assert_eq!(order.terms(), Order { note: None, contact, ..order.clone() }.terms());
    let mut more = order.clone();
    more.lines[0].quantity += 1;
    let currency = Currency::parse("CHF").unwrap();
    for other in [
        more,
        Order { currency, ..order.clone() },
        Order { payment_method: "pm_card_amex".into(), ..order.clone() },
    ] {
        assert_ne!(order.terms(), other.terms());
    }
}

#[test]
fn bytes_that_are_no_event_are_refused() {
    let good = Encoder::new(7).encode(&order_event()).unwrap();
    let read = |value: &[u8]| written_by::<OrderEvent>(Topic::Orders.schema_json(), value);
    assert!(matches!(read(b""), Err(DecodeError::Framing(_))));
    assert!(matches!(read(b"\0\0\0"), Err(DecodeError::Framing(_))));
    assert!(matches!(read(b"{\"order\":1}"), Err(DecodeError::Framing(_))));
    assert!(matches!(read(&good[..good.len() - 1]), Err(DecodeError::Datum { .. })));
    let long = [good.as_slice(), b"x"].concat();
    assert!(matches!(read(&long), Err(DecodeError::Trailing { extra: 1, .. })));
}

#[test]
fn enum_symbols_are_those_of_the_schemas() {
    fn symbols(topic: Topic, at: &str) -> Vec<String> {
        let json: serde_json::Value = serde_json::from_str(topic.schema_json()).unwrap();
        let found = json.pointer(at).unwrap_or_else(|| panic!("{topic:?} has no {at}"));
        assert_eq!(found["default"], "UNKNOWN");
        found["symbols"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().into()).collect()
    }
    let named = |all: &[&'static str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let orders: Vec<_> = OrderEventType::ALL.iter().map(|t| t.as_str()).collect();
    let payments: Vec<_> = PaymentEventType::ALL.iter().map(|t| t.as_str()).collect();
    let notifications: Vec<_> = NotificationEventType::ALL.iter().map(|t| t.as_str()).collect();
    let reasons: Vec<_> = FailureReason::ALL.iter().map(|t| t.as_str()).collect();
    assert_eq!(symbols(Topic::Orders, "/fields/1/type"), named(&orders));
    assert_eq!(symbols(Topic::Payments, "/fields/1/type"), named(&payments));
    assert_eq!(symbols(Topic::Notifications, "/fields/1/type"), named(&notifications));
    assert_eq!(symbols(Topic::Payments, "/fields/6/type/fields/4/type/1"), named(&reasons));
    let reports: Vec<_> = PaymentReportType::ALL.iter().map(|t| t.as_str()).collect();
    let outcomes: Vec<_> = PaymentOutcome::ALL.iter().map(|t| t.as_str()).collect();
    assert_eq!(symbols(Topic::PaymentReports, "/fields/1/type"), named(&reports));
    assert_eq!(symbols(Topic::PaymentReports, "/fields/7/type/1"), named(&outcomes));
}

/// Design: every record and field has a doc, nullable fields are the only unions.
#[test]
fn the_schemas_keep_to_the_house_rules() {
    fn walk(node: &serde_json::Value, path: &str) {
        if let Some(items) = node.as_array() {
            assert_eq!(items.len(), 2, "{path} is a union of more than a null and a type");
            assert_eq!(items[0], "null", "{path} is not nullable but a union");
            return walk(&items[1], path);
        }
        let Some(object) = node.as_object() else { return };
        if matches!(object.get("type").and_then(|t| t.as_str()), Some("record" | "enum")) {
            assert!(object["doc"].as_str().is_some_and(|d| !d.is_empty()), "{path} has no doc");
        }
        if let Some(fields) = object.get("fields") {
            for field in fields.as_array().unwrap() {
                let path = format!("{path}.{}", field["name"].as_str().unwrap());
                assert!(field["doc"].as_str().is_some_and(|d| !d.is_empty()), "{path} has no doc");
                walk(&field["type"], &path);
            }
        }
        if let Some(items) = object.get("items") {
            walk(items, &format!("{path}[]"));
        }
    }
    for topic in Topic::ALL {
        walk(&serde_json::from_str(topic.schema_json()).unwrap(), &format!("{topic:?}"));
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(datum in proptest::collection::vec(any::<u8>(), 0..300)) {
        let schema = WriterSchema::parse(1, Topic::Payments.schema_json()).unwrap();
        let _ = schema.decode::<PaymentEvent>(&datum);
    }

    #[test]
    fn any_text_and_amount_survives(
        name in ".*",
        note in proptest::option::of(".*"),
        total: i64,
        seen_offset in proptest::option::of(0i64..),
    ) {
        let mut event = OrderEvent { seen_offset, ..order_event() };
        event.order.contact.name = name;
        event.order.note = note;
        event.order.total_minor = total;
        round_trip(&event);
    }

    #[test]
    fn a_total_that_overflows_is_none(price in 0i64.., quantity in 1i32..) {
        let line = OrderLine { quantity, unit_price_minor: price, ..order().lines[0].clone() };
        let expected = i128::from(price) * i128::from(quantity) * 2;
        let total = Order::total_of(&[line.clone(), line]);
        prop_assert_eq!(total.map(i128::from), i64::try_from(expected).ok().map(i128::from));
    }
}
