//! JSON Web Key Sets (RFC 7517): the public keys that a token's issuer publishes.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::Value;
use tracing::debug;

use super::load::LoadError;
use super::token::Key;

/// RFC 7518 §3.3: an RSA key has 2048 bits or more.
const MIN_MODULUS_BYTES: usize = 2048 / 8;
/// A point of P-256: 4, and two coordinates of 32 bytes (SEC 1 §2.3.3).
const POINT_BYTES: usize = 65;

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The keys that tokens can be verified with. Others are passed over, as RFC 7517 §5 has it.
pub(super) fn parse(content: &[u8]) -> Result<Vec<Key>, LoadError> {
    let set: KeySet = serde_json::from_slice(content).map_err(|error| {
        // Its message repeats what it finds.
        LoadError::NoKeySet { line: error.line(), column: error.column() }
    })?;
    let all = set.keys.len();
    let keys: Vec<Key> = set.keys.into_iter().filter_map(key).collect();
    debug!(keys = keys.len(), passed_over = all - keys.len(), "a key set");
    if keys.is_empty() { Err(LoadError::NoKey) } else { Ok(keys) }
}

/// A key with the one algorithm that it is for. A symmetric key is never one: a set is public.
fn key(jwk: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(jwk).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        _ => return None,
    };
    let common = jwk.common.clone();
    let is_to_sign = common.public_key_use.is_none_or(|usage| usage == PublicKeyUse::Signature)
        && common.key_operations.is_none_or(|all| all.contains(&KeyOperations::Verify))
        && common.key_algorithm.is_none_or(|named| named == KeyAlgorithm::from(algorithm));
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let is_strong = match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => {
            n.iter().skip_while(|byte| **byte == 0).count() >= MIN_MODULUS_BYTES
        }
        DecodingKeyKind::SecretOrDer(point) => point.len() == POINT_BYTES,
    };
    (is_to_sign && is_strong).then_some(Key { id: common.key_id, algorithm, decoding })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use openssl::rsa::Rsa;
    use serde_json::json;

    use super::*;
    use crate::auth::tests::Signer;

    fn parsed(keys: &[Value]) -> Result<Vec<(Option<String>, Algorithm)>, LoadError> {
        let set = json!({ "keys": keys }).to_string();
        let keys = parse(set.as_bytes())?;
        Ok(keys.into_iter().map(|key| (key.id, key.algorithm)).collect())
    }

    #[test]
    fn rsa_and_p_256_keys_are_taken_each_for_its_algorithm() {
        let (rsa, ec) = (Signer::rsa("r").jwk(), Signer::ec("e").jwk());
        let expected = [(Some("r".into()), Algorithm::RS256), (Some("e".into()), Algorithm::ES256)];
        assert_eq!(parsed(&[rsa, ec]).unwrap(), expected);
    }

    #[test]
    fn what_is_not_for_verifying_is_passed_over() {
        let good = Signer::ec("good").jwk();
        let with = |name: &str, value: Value| {
            let mut jwk = Signer::ec("bad").jwk();
            jwk[name] = value;
            jwk
        };
        let weak = Rsa::generate(1024).unwrap();
        let [n, e] = [weak.n(), weak.e()].map(|number| URL_SAFE_NO_PAD.encode(number.to_vec()));
        let weak = json!({ "kty": "RSA", "kid": "weak", "n": n, "e": e });
        let set = [
            json!({ "kty": "oct", "kid": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            json!({ "kty": "XYZ", "kid": "new" }),
            json!(5),
            weak,
            with("use", json!("enc")),
            with("key_ops", json!(["sign"])),
            with("alg", json!("ES384")),
            with("crv", json!("P-384")),
            with("crv", json!("secp256k1")),
            with("x", json!("AAAA")),
            with("y", json!("!")),
            good,
        ];
        assert_eq!(parsed(&set).unwrap(), [(Some("good".into()), Algorithm::ES256)]);
        assert!(matches!(parsed(&set[..set.len() - 1]), Err(LoadError::NoKey)));
        assert!(matches!(parsed(&[]), Err(LoadError::NoKey)));
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for wrong in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert!(matches!(parse(wrong.as_bytes()), Err(LoadError::NoKeySet { .. })), "{wrong}");
        }
    }
}
