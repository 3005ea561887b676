//! API keys, and whose they are.

use std::collections::HashSet;

use serde::Deserialize;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::Principal;
use crate::digest::{self, digest};

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
    hex::encode(digest(key))
}

/// The keys that are accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    known: Vec<([u8; 32], Principal)>,
}

impl Keys {
    /// The keys as they are configured, or what is wrong with them; that never tells a value: it
    /// may be a key that stands in the wrong place.
    pub fn parse<'a>(configured: impl IntoIterator<Item = &'a ApiKey>) -> Result<Self, String> {
        let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
        let mut known = Vec::new();
        for (n, key) in (1..).zip(configured) {
            if !names.insert(&key.name) {
                return Err(format!("number {n}: another entry has the same name"));
            }
            let Some(hash) = digest::parse(&key.sha256) else {
                return Err(format!("number {n}: sha256 must be 64 hexadecimal digits"));
            };
            if !hashes.insert(hash) {
                return Err(format!("number {n}: another entry has the same key"));
            }
            let principal = match (key.role, key.customer_id.as_deref()) {
                (Role::Operator, None) => Principal::Operator,
                (Role::Operator, Some(_)) => {
                    return Err(format!("number {n}: an operator has no customer_id"));
                }
                (Role::Customer, Some(id)) if !id.is_empty() => Principal::Customer(id.into()),
                (Role::Customer, _) => {
                    return Err(format!("number {n}: a customer needs a customer_id"));
                }
            };
            known.push((hash, principal));
        }
        Ok(Self { known })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whose key has this hash. It takes the same time wherever the key stands in the list, and
    /// whether it is there at all.
    pub fn find(&self, hash: &[u8; 32]) -> Option<&Principal> {
        let (mut found, mut at) = (Choice::from(0), 0u64);
        for (index, (known, _)) in (0u64..).zip(&self.known) {
            let same = known.ct_eq(hash);
            at.conditional_assign(&index, same);
            found |= same;
        }
        let known = self.known.get(at as usize).filter(|_| bool::from(found));
        known.map(|(_, principal)| principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        let mine = ApiKey::customer("ana", "key-of-ana-0001", "c-ana");
        Keys::parse(&[ApiKey::operator("ops", "key-of-ops-0001"), mine]).unwrap()
    }

    #[test]
    fn a_key_is_hashed_as_every_sha256_tool_does_it() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash_key("abc"), known);
    }

    #[test]
    fn each_key_is_its_owners() {
        let keys = keys();
        let ana = Principal::Customer("c-ana".into());
        assert_eq!(keys.find(&digest("key-of-ana-0001")), Some(&ana));
        assert_eq!(keys.find(&digest("key-of-ops-0001")), Some(&Principal::Operator));
        assert!(ana.is_allowed("c-ana") && !ana.is_allowed("c-bob"));
        assert!(Principal::Operator.is_allowed("c-bob"));
    }

    #[test]
    fn a_wrong_key_is_nobodys() {
        for wrong in ["", "key-of-ana-0002", &hash_key("key-of-ana-0001")] {
            assert_eq!(keys().find(&digest(wrong)), None);
        }
        assert_eq!(Keys::parse(&[]).unwrap().find(&digest("key-of-ops-0001")), None);
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
