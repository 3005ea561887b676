//! Keys to sign with, as an issuer has them, for the tests of this module and those below.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use serde_json::{Value, json};

use super::JwtOptions;
use super::token::now;

/// Signs tokens as an issuer does.
pub struct Signer {
    pub id: String,
    pub algorithm: Algorithm,
    pub key: EncodingKey,
}

impl Signer {
    pub fn rsa(id: &str) -> Self {
        Self::from_rsa(id, &Rsa::generate(2048).unwrap())
    }

    pub fn from_rsa(id: &str, key: &Rsa<Private>) -> Self {
        let key = EncodingKey::from_rsa_der(&key.private_key_to_der().unwrap());
        Self { id: id.into(), algorithm: Algorithm::RS256, key }
    }

    pub fn ec(id: &str) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let key = EncodingKey::from_ec_der(&key.private_key_to_pkcs8().unwrap());
        Self { id: id.into(), algorithm: Algorithm::ES256, key }
    }

    pub fn secret(secret: &[u8]) -> Self {
        let key = EncodingKey::from_secret(secret);
        Self { id: String::new(), algorithm: Algorithm::HS256, key }
    }

    /// The public key, as an issuer publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        serde_json::to_value(jwk).unwrap()
    }

    pub fn header(&self) -> Header {
        Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) }
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.header(), claims)
    }

    pub fn sign_as(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }
}

/// Claims of an operator that are in order.
pub fn claims() -> Value {
    json!({
        "iss": "https://issuer.example",
        "aud": "comanda",
        "sub": "ops",
        "role": "operator",
        "exp": now() + 3600,
    })
}

/// Settings without a source of keys.
pub fn options() -> JwtOptions {
    JwtOptions {
        secret: "".into(),
        secret_file: String::new(),
        jwks_file: String::new(),
        jwks_url: String::new(),
        issuer: "https://issuer.example".into(),
        audience: "comanda".into(),
        leeway_seconds: 0,
        role_claim: "role".into(),
        operator_role: "operator".into(),
        customer_role: "customer".into(),
        customer_claim: "sub".into(),
        jwks_refresh_ms: 1,
        jwks_cooldown_ms: 1,
        jwks_timeout_ms: 1,
        max_cached_tokens: 1,
    }
}
