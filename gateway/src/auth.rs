//! API keys: who asks.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderMap, header};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::Error;
use crate::failure::{Code, Failure};

/// Header that carries a key instead of `Authorization: Bearer …`.
pub(crate) const KEY_HEADER: &str = "x-api-key";

/// An API key as the configuration has it: never the key itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// What to call it; unique.
    pub name: String,
    /// [`hash_key`] of the key: SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// What it allows.
    pub role: Role,
    /// The customer it belongs to; given for that role alone.
    pub customer_id: Option<String>,
}

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Places orders for anybody, sees all.
    Operator,
    /// Places and sees the orders of one customer.
    Customer,
}

impl ApiKey {
    /// An operator's key.
    pub fn operator(name: &str, key: &str) -> Self {
        let (name, sha256) = (name.to_owned(), hash_key(key));
        Self { name, sha256, role: Role::Operator, customer_id: None }
    }

    /// A customer's key.
    pub fn customer(name: &str, key: &str, customer_id: &str) -> Self {
        let (name, sha256) = (name.to_owned(), hash_key(key));
        Self { name, sha256, role: Role::Customer, customer_id: Some(customer_id.to_owned()) }
    }
}

/// What [`ApiKey::sha256`] holds for `key`.
///
/// A plain hash is enough where keys are random and long; it would not be for passwords.
pub fn hash_key(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

/// Who asks, where they showed a good key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    Operator,
    Customer(Arc<str>),
}

impl Principal {
    /// Whether orders of `customer_id` are theirs to place and see.
    pub fn is_allowed(&self, customer_id: &str) -> bool {
        match self {
            Self::Operator => true,
            Self::Customer(own) => **own == *customer_id,
        }
    }
}

/// Who asks; `None` for nobody in particular.
pub(crate) type Caller = Option<Principal>;

/// The keys that are accepted.
#[derive(Debug)]
pub(crate) struct Keys {
    known: Vec<([u8; 32], Principal)>,
}

impl Keys {
    pub fn parse(configured: &[ApiKey]) -> Result<Self, Error> {
        let refuse = |problem| Err(Error::Options { key: "api_keys", problem });
        let mut names = HashSet::new();
        let mut known: Vec<([u8; 32], Principal)> = Vec::with_capacity(configured.len());
        for key in configured {
            let name = &key.name;
            if !names.insert(name) {
                return refuse(format!("has two keys with the name {name:?}"));
            }
            let Some(hash) = parse_hash(&key.sha256) else {
                return refuse(format!("{name:?}: sha256 must be 64 hexadecimal digits"));
            };
            if known.iter().any(|(other, _)| *other == hash) {
                return refuse(format!("{name:?}: another entry has the same key"));
            }
            let principal = match (key.role, key.customer_id.as_deref()) {
                (Role::Operator, None) => Principal::Operator,
                (Role::Operator, Some(_)) => {
                    return refuse(format!("{name:?}: an operator has no customer_id"));
                }
                (Role::Customer, Some(id)) if !id.is_empty() => Principal::Customer(id.into()),
                (Role::Customer, _) => {
                    return refuse(format!("{name:?}: a customer needs a customer_id"));
                }
            };
            known.push((hash, principal));
        }
        Ok(Self { known })
    }

    /// Whose key it is. It takes the same time wherever the key stands in the list, and whether
    /// it is there at all.
    pub fn principal(&self, key: &str) -> Result<Principal, Failure> {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let (mut found, mut at) = (Choice::from(0), 0u64);
        for (index, (known, _)) in (0u64..).zip(&self.known) {
            let same = known.ct_eq(&hash);
            at.conditional_assign(&index, same);
            found |= same;
        }
        let principal = self.known.get(at as usize).filter(|_| bool::from(found));
        principal
            .map(|(_, principal)| principal.clone())
            .ok_or_else(|| Failure::new(Code::Unauthenticated, "the API key is not valid"))
    }

    /// Who sent these headers: nobody in particular without a key, a failure with a wrong one.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        match credentials(headers)? {
            Some(key) => self.principal(key).map(Some),
            None => Ok(None),
        }
    }
}

/// Whether these headers claim to be somebody's.
pub(crate) fn shows_key(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key(KEY_HEADER)
}

fn credentials(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        return value.to_str().ok().and_then(bearer).map(Some).ok_or_else(|| {
            Failure::new(Code::Unauthenticated, "Authorization must be Bearer and a key")
        });
    }
    match headers.get(KEY_HEADER).map(|value| value.to_str()) {
        None => Ok(None),
        Some(Ok(key)) => Ok(Some(key.trim())),
        Some(Err(_)) => Err(Failure::new(Code::Unauthenticated, "the API key is not valid")),
    }
}

/// The key in `Bearer KEY`.
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let mine = ApiKey::customer("ana", "key-of-ana-0001", "c-ana");
        Keys::parse(&[ApiKey::operator("ops", "key-of-ops-0001"), mine]).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_is_hashed_as_every_sha256_tool_does_it() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_key("abc"), known);
    }

    #[test]
    fn each_key_is_its_owners() {
        let ana = Principal::Customer("c-ana".into());
        assert_eq!(keys().principal("key-of-ana-0001"), Ok(ana.clone()));
        assert_eq!(keys().principal("key-of-ops-0001"), Ok(Principal::Operator));
        assert!(ana.is_allowed("c-ana") && !ana.is_allowed("c-bob"));
        assert!(Principal::Operator.is_allowed("c-bob"));
    }

    #[test]
    fn a_wrong_key_is_nobodys() {
        for wrong in ["", "key-of-ana-0002", &hash_key("key-of-ana-0001")] {
            assert_eq!(keys().principal(wrong).unwrap_err().code, Code::Unauthenticated);
        }
        let none = Keys::parse(&[]).unwrap();
        assert_eq!(none.principal("key-of-ops-0001").unwrap_err().code, Code::Unauthenticated);
    }

    #[test]
    fn a_key_comes_in_either_header() {
        let caller = |pairs: &[_]| keys().caller(&headers(pairs)).map_err(|f| f.code);
        assert_eq!(caller(&[]), Ok(None));
        let operator = Ok(Some(Principal::Operator));
        assert_eq!(caller(&[("authorization", "Bearer key-of-ops-0001")]), operator);
        assert_eq!(caller(&[("authorization", "bearer  key-of-ops-0001 ")]), operator);
        assert_eq!(caller(&[("x-api-key", "key-of-ops-0001")]), operator);
        for wrong in ["Basic a2V5", "Bearer", "Bearer ", "key-of-ops-0001", "Bearer nope"] {
            assert_eq!(caller(&[("authorization", wrong)]), Err(Code::Unauthenticated), "{wrong}");
        }
        assert_eq!(caller(&[("x-api-key", "")]), Err(Code::Unauthenticated));
    }

    #[test]
    fn a_configuration_that_makes_no_sense_is_refused() {
        let good = ApiKey::operator("ops", "key-of-ops-0001");
        let broken = [
            vec![ApiKey { sha256: "12".into(), ..good.clone() }],
            vec![ApiKey { sha256: "zz".repeat(32), ..good.clone() }],
            vec![ApiKey { customer_id: Some("c-ana".into()), ..good.clone() }],
            vec![ApiKey { role: Role::Customer, ..good.clone() }],
            vec![good.clone(), ApiKey::operator("ops", "another-key-0001")],
            vec![good.clone(), ApiKey::operator("ops-2", "key-of-ops-0001")],
        ];
        for keys in broken {
            assert!(Keys::parse(&keys).is_err(), "{keys:?}");
        }
        assert!(Keys::parse(&[good]).is_ok());
    }
}
