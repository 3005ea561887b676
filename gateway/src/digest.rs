//! SHA-256: what keys, tokens and documents are known by.

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest: two texts are never taken for each other.
pub(crate) type Digest = [u8; 32];

/// The digest of a text.
pub(crate) fn digest(content: impl AsRef<[u8]>) -> Digest {
    Sha256::digest(content).into()
}

/// A digest that is written in 64 hexadecimal digits of either case.
pub(crate) fn parse(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}
