//! Shared secrets of HS256 tokens.

use super::load::LoadError;

/// RFC 7518 §3.2: a key of at least the size of the hash.
const MIN_BYTES: usize = 32;
/// How keys begin that are none of ours, public ones among them: PEM, JSON, OpenSSH, and the
/// base64 of DER. Whoever knows the public key could sign tokens with it.
const OTHER_KINDS: [&str; 4] = ["-----BEGIN", "{", "ssh-", "MII"];

/// Whether a secret can be used, or what is wrong with it.
pub(super) fn check(secret: &str) -> Result<(), &'static str> {
    if OTHER_KINDS.iter().any(|start| secret.trim_start().starts_with(start)) {
        return Err("must be a shared secret, not a key of another kind");
    }
    if secret.len() < MIN_BYTES {
        return Err("must have at least 32 bytes");
    }
    Ok(())
}

/// The secret in a file: all of it but the end of the line.
pub(super) fn of_file(content: &[u8]) -> Result<&str, LoadError> {
    let text = std::str::from_utf8(content).map_err(|_| LoadError::Secret("must be text"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    check(secret).map_err(LoadError::Secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use openssl::rsa::Rsa;

    use super::*;

    #[test]
    fn a_secret_has_256_bits_at_least() {
        assert_eq!(check(&"x".repeat(32)), Ok(()));
        assert!(check(&"x".repeat(31)).is_err());
        assert_eq!(of_file(format!("{}\r\n", "x".repeat(32)).as_bytes()).unwrap().len(), 32);
        assert!(of_file(b"").is_err());
    }

    #[test]
    fn a_public_key_is_no_secret() {
        let key = Rsa::generate(2048).unwrap();
        let pem = key.public_key_to_pem().unwrap();
        let text = std::str::from_utf8(&pem).unwrap();
        let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(check(text).is_err());
        assert!(check(&base64).is_err());
        assert!(of_file(&pem).is_err());
        assert!(of_file(&key.public_key_to_der().unwrap()).is_err());
        assert!(check(&format!(r#"{{"kty":"RSA","n":"{base64}","e":"AQAB"}}"#)).is_err());
    }
}
