//! From a token's claims to who asks.

use serde_json::{Map, Value};

use super::Principal;

/// The claims of a token (RFC 7519 §4).
pub(super) type Claims = Map<String, Value>;

/// Which claims say who asks.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    pub role_claim: String,
    pub operator_role: String,
    pub customer_role: String,
    pub customer_claim: String,
}

impl Mapping {
    /// Who asks; `None` where the claims give no role that is known here, or not whose customer it
    /// is. Where they give several roles, the one that allows most counts.
    pub fn principal(&self, claims: &Claims) -> Option<Principal> {
        let role = claims.get(&self.role_claim)?;
        let has = |wanted: &str| match role {
            Value::String(role) => role == wanted,
            Value::Array(roles) => roles.iter().any(|role| role.as_str() == Some(wanted)),
            _ => false,
        };
        if has(&self.operator_role) {
            return Some(Principal::Operator);
        }
        if !has(&self.customer_role) {
            return None;
        }
        let customer = claims.get(&self.customer_claim)?.as_str()?;
        (!customer.is_empty()).then(|| Principal::Customer(customer.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn principal(claims: Value) -> Option<Principal> {
        let mapping = Mapping {
            role_claim: "role".into(),
            operator_role: "operator".into(),
            customer_role: "customer".into(),
            customer_claim: "sub".into(),
        };
        mapping.principal(claims.as_object().unwrap())
    }

    #[test]
    fn the_claims_say_who_it_is() {
        let ana = Some(Principal::Customer("ana".into()));
        let operator = Some(Principal::Operator);
        assert_eq!(principal(json!({ "sub": "ana", "role": "customer" })), ana);
        assert_eq!(principal(json!({ "sub": "ana", "role": ["eater", "customer"] })), ana);
        assert_eq!(principal(json!({ "sub": "ana", "role": "operator" })), operator);
        assert_eq!(principal(json!({ "role": ["customer", "operator"] })), operator);
    }

    #[test]
    fn whoever_has_no_known_role_or_no_customer_is_nobody() {
        for claims in [
            json!({ "sub": "ana" }),
            json!({ "sub": "ana", "role": "admin" }),
            json!({ "sub": "ana", "role": "Operator" }),
            json!({ "sub": "ana", "role": "" }),
            json!({ "sub": "ana", "role": null }),
            json!({ "sub": "ana", "role": [] }),
            json!({ "sub": "ana", "role": { "operator": true } }),
            json!({ "sub": "ana", "role": [["operator"]] }),
            json!({ "sub": "", "role": "customer" }),
            json!({ "sub": 5, "role": "customer" }),
            json!({ "role": "customer" }),
        ] {
            assert_eq!(principal(claims.clone()), None, "{claims}");
        }
    }
}
