//! From what is selected of an answer to a function that writes it as JSON.

use async_graphql::parser::types::{Selection, SelectionSet};
use async_graphql::resolver_utils::EnumType;
use async_graphql::{ID, Positioned};
use comanda_schemas::Timestamp;
use serde::Serialize;

use crate::input::{ErrorCode, UserError};
use crate::receipt;
use crate::schema::outputs::{
    Contact, FailureReason, Notification, NotificationStatus, OrderEventType, OrderLine,
    OrderStatus, Payment, PaymentStatus, Receipt, TimelineEntry, WholeOrder as Order,
};
use crate::schema::scalars::{DateTime, Long};

/// Appends a value, or what is selected of it, as JSON.
pub(super) type Writer<T> = Box<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;

/// A type that answers are made of.
pub(super) trait Output: Sized + 'static {
    /// Writes what is selected; `None` where the selection is more than plain fields.
    fn writer(selected: &SelectionSet) -> Option<Writer<Self>>;
}

/// A field of the document, as far as plans know fields: a name, perhaps an alias, and what is
/// selected below it.
pub(super) struct Plain<'d> {
    pub key: &'d str,
    pub name: &'d str,
    pub selected: &'d SelectionSet,
}

/// The fields of a selection, where they are plain, have no arguments but those that `takes` says,
/// and come under a key of their own each.
pub(super) fn fields<'d>(
    selected: &'d SelectionSet,
    takes: impl Fn(&str) -> usize,
) -> Option<Vec<Plain<'d>>> {
    let mut fields = Vec::<Plain<'d>>::with_capacity(selected.items.len());
    for Positioned { node, .. } in &selected.items {
        let Selection::Field(Positioned { node: field, .. }) = node else { return None };
        let (key, name) = (field.response_key().node.as_str(), field.name.node.as_str());
        let is_plain = field.directives.is_empty() && field.arguments.len() == takes(name);
        // Two fields under one key are one (specification §5.3.2).
        if !is_plain || fields.iter().any(|other| other.key == key) {
            return None;
        }
        fields.push(Plain { key, name, selected: &field.selection_set.node });
    }
    Some(fields)
}

/// Appends a value in the words of serde.
pub(super) fn json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("texts and numbers have a JSON form");
}

/// A writer of a value without parts.
pub(super) fn leaf<T: 'static>(
    selected: &SelectionSet,
    write: impl Fn(&T, &mut Vec<u8>) + Send + Sync + 'static,
) -> Option<Writer<T>> {
    selected.items.is_empty().then(|| Box::new(write) as Writer<T>)
}

/// A writer of an object: `part` makes those of its fields.
pub(super) fn object<T: 'static>(
    type_name: &str,
    selected: &SelectionSet,
    part: impl Fn(&Plain<'_>) -> Option<Writer<T>>,
) -> Option<Writer<T>> {
    let mut parts = Vec::<(Vec<u8>, Option<Writer<T>>)>::new();
    for field in fields(selected, |_| 0)? {
        let comma = if parts.is_empty() { "" } else { "," };
        // Names and aliases are letters, digits and underscores.
        let mut before = format!("{comma}\"{}\":", field.key).into_bytes();
        let write = match field.name {
            "__typename" => {
                json(type_name, &mut before);
                None
            }
            _ => Some(part(&field)?),
        };
        parts.push((before, write));
    }
    if parts.is_empty() {
        return None;
    }
    Some(Box::new(move |value, out| {
        out.push(b'{');
        for (before, write) in &parts {
            out.extend_from_slice(before);
            if let Some(write) = write {
                write(value, out);
            }
        }
        out.push(b'}');
    }))
}

/// A writer of one field of an object.
fn field<T: 'static, F: Output>(
    field: &Plain<'_>,
    get: impl Fn(&T) -> &F + Send + Sync + 'static,
) -> Option<Writer<T>> {
    let write = F::writer(field.selected)?;
    Some(Box::new(move |value, out| write(get(value), out)))
}

impl Output for Receipt {
    fn writer(selected: &SelectionSet) -> Option<Writer<Self>> {
        object("Receipt", selected, |plain| {
            let selected = plain.selected;
            match plain.name {
                "topic" => leaf::<Self>(selected, |it, out| json(&it.0.topic, out)),
                "partition" => leaf::<Self>(selected, |it, out| json(&it.0.partition, out)),
                "offset" => leaf::<Self>(selected, |it, out| json(&it.0.offset, out)),
                "timestamp" => leaf::<Self>(selected, |it, out| time(it.0.timestamp, out)),
                "token" => leaf::<Self>(selected, |it, out| json(&receipt::token(&it.0), out)),
                _ => None,
            }
        })
    }
}

/// Objects with their fields, by the names that GraphQL has for them.
macro_rules! objects {
    ($($type:ident { $($name:literal => $field:ident,)+ })+) => {
        $(impl Output for $type {
            fn writer(selected: &SelectionSet) -> Option<Writer<Self>> {
                object(stringify!($type), selected, |plain| match plain.name {
                    $($name => field(plain, |it: &Self| &it.$field),)+
                    _ => None,
                })
            }
        })+
    };
}

objects! {
    Order {
        "id" => id,
        "customerId" => customer_id,
        "status" => status,
        "version" => version,
        "currency" => currency,
        "totalMinor" => total_minor,
        "lines" => lines,
        "contact" => contact,
        "paymentMethod" => payment_method,
        "note" => note,
        "placedAt" => placed_at,
        "updatedAt" => updated_at,
        "payment" => payment,
        "notifications" => notifications,
        "timeline" => timeline,
        "receipt" => receipt,
    }
    OrderLine {
        "sku" => sku,
        "name" => name,
        "quantity" => quantity,
        "unitPriceMinor" => unit_price_minor,
        "totalMinor" => total_minor,
    }
    Contact {
        "name" => name,
        "email" => email,
    }
    Payment {
        "status" => status,
        "provider" => provider,
        "paymentId" => payment_id,
        "amountMinor" => amount_minor,
        "currency" => currency,
        "reason" => reason,
        "detail" => detail,
        "attempts" => attempts,
        "at" => at,
    }
    Notification {
        "status" => status,
        "channel" => channel,
        "template" => template,
        "provider" => provider,
        "messageId" => message_id,
        "detail" => detail,
        "at" => at,
    }
    TimelineEntry {
        "type" => r#type,
        "version" => version,
        "at" => at,
        "detail" => detail,
        "eventId" => event_id,
        "receipt" => receipt,
    }
    UserError {
        "code" => code,
        "message" => message,
        "path" => path,
        "retriable" => retriable,
    }
}

/// Values without parts.
macro_rules! leaves {
    ($($type:ty: $write:expr;)+) => {
        $(impl Output for $type {
            fn writer(selected: &SelectionSet) -> Option<Writer<Self>> {
                leaf::<Self>(selected, $write)
            }
        })+
    };
}

leaves! {
    String: json;
    i32: json;
    bool: json;
    ID: |id, out| json(&id.0, out);
    Long: |number, out| json(&number.0, out);
    DateTime: |it, out| time(it.0, out);
    ErrorCode: symbol;
    OrderStatus: symbol;
    PaymentStatus: symbol;
    FailureReason: symbol;
    NotificationStatus: symbol;
    OrderEventType: symbol;
}

pub(super) fn time(time: Timestamp, out: &mut Vec<u8>) {
    json(&time.to_rfc3339(), out);
}

pub(super) fn symbol<T: EnumType>(value: &T, out: &mut Vec<u8>) {
    let item = T::items().iter().find(|item| item.value == *value);
    json(item.expect("every value has a name").name, out);
}

impl<T: Output> Output for Option<T> {
    fn writer(selected: &SelectionSet) -> Option<Writer<Self>> {
        let write = T::writer(selected)?;
        Some(Box::new(move |value, out| match value {
            Some(value) => write(value, out),
            None => out.extend_from_slice(b"null"),
        }))
    }
}

impl<T: Output> Output for Vec<T> {
    fn writer(selected: &SelectionSet) -> Option<Writer<Self>> {
        let write = T::writer(selected)?;
        Some(Box::new(move |items, out| {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }))
    }
}
