//! Whoever issues tokens: keys to sign with, and a host that publishes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A key to sign with.
pub struct Signer {
    algorithm: Algorithm,
    id: String,
    key: EncodingKey,
}

impl Signer {
    pub fn rsa(id: &str) -> Result<Self> {
        let key = EncodingKey::from_rsa_der(&Rsa::generate(2048)?.private_key_to_der()?);
        Ok(Self { algorithm: Algorithm::RS256, id: id.into(), key })
    }

    pub fn ec(id: &str) -> Result<Self> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?.private_key_to_pkcs8()?;
        Ok(Self { algorithm: Algorithm::ES256, id: id.into(), key: EncodingKey::from_ec_der(&key) })
    }

    pub fn secret(secret: &str) -> Self {
        let key = EncodingKey::from_secret(secret.as_bytes());
        Self { algorithm: Algorithm::HS256, id: "none".into(), key }
    }

    /// A token of `sub` in a role, for an hour.
    pub fn token(&self, sub: &str, role: &str) -> Result<String> {
        self.token_for(sub, role, Duration::from_secs(3600))
    }

    /// One that lives so long, in whole seconds.
    pub fn token_for(&self, sub: &str, role: &str, life: Duration) -> Result<String> {
        let expires = SystemTime::now() + life;
        let claims = json!({
            "iss": "https://issuer.example",
            "aud": "comanda",
            "sub": sub,
            "role": role,
            "exp": expires.duration_since(UNIX_EPOCH)?.as_secs(),
        });
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        Ok(encode(&header, &claims, &self.key)?)
    }
}

/// A JSON Web Key Set.
pub fn key_set(signers: &[&Signer]) -> Result<Value> {
    let keys = signers.iter().map(|signer| {
        let mut jwk = Jwk::from_encoding_key(&signer.key, signer.algorithm)?;
        jwk.common.key_id = Some(signer.id.clone());
        Ok(serde_json::to_value(jwk)?)
    });
    Ok(json!({ "keys": keys.collect::<Result<Vec<_>>>()? }))
}

/// A host that publishes keys.
pub struct Issuer {
    server: MockServer,
}

impl Issuer {
    pub async fn publishing(signers: &[&Signer]) -> Result<Self> {
        let issuer = Self { server: MockServer::start().await };
        issuer.answer(ResponseTemplate::new(200).set_body_json(key_set(signers)?)).await;
        Ok(issuer)
    }

    pub fn url(&self) -> String {
        format!("{}/jwks", self.server.uri())
    }

    /// Publishes other keys from now on.
    pub async fn publish(&self, signers: &[&Signer]) -> Result<()> {
        self.answer(ResponseTemplate::new(200).set_body_json(key_set(signers)?)).await;
        Ok(())
    }

    /// Answers so from now on. The count of requests begins again.
    pub async fn answer(&self, answer: ResponseTemplate) {
        self.server.reset().await;
        let keys = Mock::given(method("GET")).and(path("/jwks")).respond_with(answer);
        keys.mount(&self.server).await;
    }

    /// How often it was asked.
    pub async fn asked(&self) -> usize {
        self.server.received_requests().await.unwrap_or_default().len()
    }
}
