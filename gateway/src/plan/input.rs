//! Variables, read from JSON straight into what they stand for.
//!
//! What is read here, GraphQL's rules of coercion read in the same way. They take more: what is not
//! read here may still be right.

use std::fmt;

use async_graphql::ID;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::schema::inputs::{ContactInput, OrderLineInput, PlaceOrderInput};
use crate::schema::scalars::Long;

/// The one variable that is read, by its name.
pub(super) struct Only<'n, T> {
    name: &'n str,
    value: std::marker::PhantomData<T>,
}

/// The value of the variable `name` where `json` is an object with that variable and no other.
pub(super) fn only<'de, T: Deserialize<'de>>(json: &'de str, name: &str) -> Option<T> {
    let mut from = serde_json::Deserializer::from_str(json);
    let only = Only { name, value: std::marker::PhantomData };
    only.deserialize(&mut from).ok()
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Only<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with {} alone", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        // A name with escapes can't be borrowed, which is an error, too.
        let is_it = |name: Option<&str>| name == Some(self.name);
        if !is_it(map.next_key()?) {
            return Err(A::Error::custom("another variable"));
        }
        let value = map.next_value()?;
        match map.next_key::<&str>()? {
            None => Ok(value),
            Some(_) => Err(A::Error::custom("another variable")),
        }
    }
}

/// What a field is where it is left out; `None` where it must not be.
trait LeftOut: Sized {
    fn left_out() -> Option<Self> {
        None
    }
}

impl LeftOut for String {}
impl LeftOut for ID {}
impl LeftOut for i32 {}
impl LeftOut for Long {}
impl LeftOut for ContactInput {}
impl<T> LeftOut for Vec<T> {}
impl<T> LeftOut for Option<T> {
    fn left_out() -> Option<Self> {
        Some(None)
    }
}

impl<'de> Deserialize<'de> for Long {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        i64::deserialize(from).map(Self)
    }
}

/// Reads input objects. Not derived, since serde would take a list of values for an object, too.
macro_rules! objects {
    ($($type:ident { $($name:literal => $field:ident,)+ })+) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> Visitor<'de> for Fields {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", stringify!($type)))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        $(let mut $field = None;)+
                        while let Some(name) = map.next_key::<&str>()? {
                            match name {
                                $($name if $field.is_none() => $field = Some(map.next_value()?),)+
                                _ => return Err(A::Error::custom("unknown, or there twice")),
                            }
                        }
                        let missing = || A::Error::custom("not there");
                        Ok($type {
                            $($field: $field.or_else(LeftOut::left_out).ok_or_else(missing)?,)+
                        })
                    }
                }

                from.deserialize_map(Fields)
            }
        })+
    };
}

objects! {
    PlaceOrderInput {
        "idempotencyKey" => idempotency_key,
        "customerId" => customer_id,
        "contact" => contact,
        "currency" => currency,
        "lines" => lines,
        "paymentMethod" => payment_method,
        "note" => note,
    }
    ContactInput {
        "name" => name,
        "email" => email,
    }
    OrderLineInput {
        "sku" => sku,
        "name" => name,
        "quantity" => quantity,
        "unitPriceMinor" => unit_price_minor,
    }
}
