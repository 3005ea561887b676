use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::auth::Principal;
use crate::auth::tests::{Signer, claims};
use crate::auth::{jwks, source::Source};

const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

fn rules(leeway: u64) -> Rules {
    Rules {
        issuer: "https://issuer.example".into(),
        audience: "comanda".into(),
        leeway,
        mapping: Mapping {
            role_claim: "role".into(),
            operator_role: "operator".into(),
            customer_role: "customer".into(),
            customer_claim: "sub".into(),
        },
    }
}

fn published(signers: &[&Signer]) -> KeySet {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    KeySet::Published(jwks::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap())
}

fn shared() -> KeySet {
    Source::Fixed(SECRET.into()).parse(SECRET.as_bytes()).unwrap()
}

fn verify(keys: &KeySet, token: &str) -> Result<Principal, Refused> {
    keys.verify(token, &rules(0)).map(|grant| grant.principal)
}

/// A token with a header of any content, signed or not.
fn raw(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn a_token_is_verified_with_the_key_that_it_names() {
    let (rsa, ec, other) = (Signer::rsa("r"), Signer::ec("e"), Signer::ec("o"));
    let keys = published(&[&rsa, &ec]);
    for signer in [&rsa, &ec] {
        assert_eq!(verify(&keys, &signer.sign(&claims())), Ok(Principal::Operator));
    }
    assert_eq!(verify(&keys, &other.sign(&claims())), Err(Refused::UnknownKey));
    let disguised = other.sign_as(&ec.header(), &claims());
    assert_eq!(verify(&keys, &disguised), Err(Refused::Signature));
    let customer = json!({ "role": "customer", "sub": "ana" });
    let mut claims = claims();
    claims.as_object_mut().unwrap().extend(customer.as_object().unwrap().clone());
    let ana = Principal::Customer("ana".into());
    assert_eq!(verify(&keys, &rsa.sign(&claims)), Ok(ana));
}

#[test]
fn a_shared_secret_verifies_what_was_signed_with_it() {
    let signer = Signer::secret(SECRET.as_bytes());
    assert_eq!(verify(&shared(), &signer.sign(&claims())), Ok(Principal::Operator));
    let nameless = signer.sign_as(&Header::new(Algorithm::HS256), &claims());
    assert_eq!(verify(&shared(), &nameless), Ok(Principal::Operator));
    let other = Signer::secret(b"another-secret-of-thirty-two-bytes!!");
    assert_eq!(verify(&shared(), &other.sign(&claims())), Err(Refused::Signature));
    let longer = signer.sign_as(&Header::new(Algorithm::HS512), &claims());
    assert_eq!(verify(&shared(), &longer), Err(Refused::Algorithm));
}

#[test]
fn a_token_without_a_key_id_means_the_only_key() {
    let (rsa, ec) = (Signer::rsa("r"), Signer::ec("e"));
    let nameless = rsa.sign_as(&Header::new(Algorithm::RS256), &claims());
    assert_eq!(verify(&published(&[&rsa]), &nameless), Ok(Principal::Operator));
    assert_eq!(verify(&published(&[&rsa, &ec]), &nameless), Err(Refused::UnknownKey));
}

#[test]
fn a_public_key_is_never_used_as_a_shared_secret() {
    let key = openssl::rsa::Rsa::generate(2048).unwrap();
    let rsa = Signer::from_rsa("r", &key);
    let keys = published(&[&rsa]);
    let n = URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
    let header = Header { kid: Some("r".into()), ..Header::new(Algorithm::HS256) };
    for secret in [
        key.public_key_to_pem().unwrap(),
        key.public_key_to_pem_pkcs1().unwrap(),
        key.public_key_to_der().unwrap(),
        key.public_key_to_der_pkcs1().unwrap(),
        rsa.jwk().to_string().into_bytes(),
        rsa.jwk()["n"].as_str().unwrap().into(),
        n,
        Vec::new(),
    ] {
        let forged = Signer::secret(&secret).sign_as(&header, &claims());
        assert_eq!(verify(&keys, &forged), Err(Refused::Algorithm));
    }
    let signed = rsa.sign(&claims());
    assert_eq!(verify(&shared(), &signed), Err(Refused::Algorithm));
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let ec = Signer::ec("e");
    for keys in [published(&[&ec]), shared()] {
        for alg in ["none", "None", "NONE", "", "nOnE"] {
            let unsigned = raw(&json!({ "alg": alg, "kid": "e" }), &claims(), "");
            assert_eq!(verify(&keys, &unsigned), Err(Refused::Malformed), "{alg}");
        }
    }
    let stripped = raw(&json!({ "alg": "ES256", "kid": "e" }), &claims(), "");
    assert_eq!(verify(&published(&[&ec]), &stripped), Err(Refused::Signature));
    // CVE-2022-21449: a signature of zeros.
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    let zeros = raw(&json!({ "alg": "ES256", "kid": "e" }), &claims(), &zeros);
    assert_eq!(verify(&published(&[&ec]), &zeros), Err(Refused::Signature));
}

#[test]
fn what_a_token_brings_along_is_no_key() {
    let (known, own) = (Signer::ec("e"), Signer::ec("own"));
    let keys = published(&[&known]);
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(own.jwk()).unwrap();
    let header = Header { jwk: Some(jwk), ..own.header() };
    assert_eq!(verify(&keys, &own.sign_as(&header, &claims())), Err(Refused::UnknownKey));
    let header = Header { kid: Some("e".into()), ..header };
    assert_eq!(verify(&keys, &own.sign_as(&header, &claims())), Err(Refused::Signature));
}

#[test]
fn what_is_critical_and_not_understood_is_refused() {
    let ec = Signer::ec("e");
    let header = Header { crit: Some(vec!["b64".into()]), ..ec.header() };
    let token = ec.sign_as(&header, &claims());
    assert_eq!(verify(&published(&[&ec]), &token), Err(Refused::Malformed));
}

#[test]
fn each_claim_has_to_be_there_and_right() {
    let ec = Signer::ec("e");
    let keys = published(&[&ec]);
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        verify(&keys, &ec.sign(&claims))
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        verify(&keys, &ec.sign(&claims))
    };
    for required in ["exp", "iss", "aud"] {
        assert_eq!(without(required), Err(Refused::Claims), "{required}");
        assert_eq!(with(required, Value::Null), Err(Refused::Claims), "{required}");
    }
    assert_eq!(without("role"), Err(Refused::Role));
    assert_eq!(with("role", json!("cook")), Err(Refused::Role));
    assert_eq!(with("iss", json!("https://other.example")), Err(Refused::Issuer));
    assert_eq!(with("iss", json!("https://issuer.example/")), Err(Refused::Issuer));
    assert_eq!(with("aud", json!("other")), Err(Refused::Audience));
    assert_eq!(with("aud", json!(["other", "comanda"])), Ok(Principal::Operator));
    assert_eq!(with("aud", json!([])), Err(Refused::Audience));
    for forever in [json!("never"), json!("9999999999"), json!(-1)] {
        assert_eq!(with("exp", forever.clone()), Err(Refused::Claims), "{forever}");
    }
    assert_eq!(with("exp", json!(now() - 10)), Err(Refused::Expired));
    assert_eq!(with("nbf", json!(now() + 60)), Err(Refused::NotYetValid));
    assert_eq!(with("nbf", json!("later")), Err(Refused::Claims));
    assert_eq!(with("nbf", json!(now())), Ok(Principal::Operator));
}

#[test]
fn the_leeway_moves_both_ends() {
    let ec = Signer::ec("e");
    let keys = published(&[&ec]);
    let mut early = claims();
    early["nbf"] = json!(now() + 30);
    let mut late = claims();
    late["exp"] = json!(now() - 30);
    for claims in [early, late.clone()] {
        let token = ec.sign(&claims);
        assert!(keys.verify(&token, &rules(60)).is_ok());
        assert!(keys.verify(&token, &rules(0)).is_err());
    }
    let until = late["exp"].as_u64().unwrap() + 60;
    let grant = keys.verify(&ec.sign(&late), &rules(60)).unwrap();
    assert_eq!(grant.proof, Proof::Token { until });
    let mut forever = claims();
    forever["exp"] = json!(u64::MAX);
    let grant = keys.verify(&ec.sign(&forever), &rules(60)).unwrap();
    assert_eq!(grant.proof, Proof::Token { until: END_OF_TIME });
    assert!(remaining(u64::MAX) > Duration::from_secs(3600));
}

#[test]
fn what_is_no_token_is_refused() {
    let ec = Signer::ec("e");
    let keys = published(&[&ec]);
    let good = ec.sign(&claims());
    let (body, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = body.split_once('.').unwrap();
    for wrong in ["", "..", "a.b.c", &format!("{body}."), &format!("{header}..{signature}")] {
        assert!(verify(&keys, wrong).is_err(), "{wrong}");
    }
    assert!(is_token(&good) && !is_token("key-of-ana-0001") && !is_token("a.b"));
    let changed = ec.sign(&{
        let mut claims = claims();
        claims["sub"] = json!("other");
        claims
    });
    let (changed, _) = changed.rsplit_once('.').unwrap();
    assert_eq!(verify(&keys, &format!("{changed}.{signature}")), Err(Refused::Signature));
}
