//! The signature of a webhook.
//!
//! Source: "Verify webhook signatures manually" (<https://docs.stripe.com/webhooks/signature>).

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Signatures of one header that are tried; a provider sends one for each secret in force.
const MAX_SIGNATURES: usize = 8;

/// Why what came is not taken for the provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// The header is missing, or does not read.
    Malformed,
    /// No secret in force made any of the signatures.
    Forged,
    /// It was signed too long ago, or is from the future.
    OutOfTime,
}

/// Whether `header` signs `body` by one of `secrets`, at most `tolerance` seconds from `now`
/// (Unix time, in seconds).
pub(super) fn verify(
    header: Option<&[u8]>,
    body: &[u8],
    secrets: &[SecretString],
    tolerance: u64,
    now: i64,
) -> Result<(), Untrusted> {
    let header = header.and_then(|h| std::str::from_utf8(h).ok()).ok_or(Untrusted::Malformed)?;
    let (mut time, mut signatures) = (None, Vec::new());
    for (name, value) in header.split(',').filter_map(|item| item.trim().split_once('=')) {
        match name {
            "t" => time = Some(value),
            "v1" if signatures.len() < MAX_SIGNATURES => signatures.extend(hex::decode(value).ok()),
            _ => {}
        }
    }
    let time = time.ok_or(Untrusted::Malformed)?;
    let at: i64 = time.parse().map_err(|_| Untrusted::Malformed)?;
    if signatures.is_empty() {
        return Err(Untrusted::Malformed);
    }
    let is_signed = secrets.iter().any(|secret| {
        let key = secret.expose_secret().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        // In constant time.
        signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
    });
    if !is_signed {
        return Err(Untrusted::Forged);
    }
    if now.abs_diff(at) > tolerance {
        return Err(Untrusted::OutOfTime);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HMAC-SHA256 of `1700000000.{"id":"evt_1"}` by `whsec_test`, made with OpenSSL.
    const SIGNATURE: &str = "c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925";
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW: i64 = 1_700_000_000;

    fn check(header: &str, body: &[u8], secrets: &[&str], now: i64) -> Result<(), Untrusted> {
        let secrets: Vec<_> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        verify(Some(header.as_bytes()), body, &secrets, 300, now)
    }

    #[test]
    fn a_signature_holds_for_its_body_and_its_time() {
        let header = format!("t={NOW},v1={SIGNATURE},v0=00");
        assert_eq!(check(&header, BODY, &["whsec_test"], NOW), Ok(()));
        assert_eq!(check(&header, b"{}", &["whsec_test"], NOW), Err(Untrusted::Forged));
        assert_eq!(check(&header, BODY, &["another"], NOW), Err(Untrusted::Forged));
        let moved = format!("t={},v1={SIGNATURE}", NOW + 1);
        assert_eq!(check(&moved, BODY, &["whsec_test"], NOW), Err(Untrusted::Forged));
    }

    /// Header as stripe-node 23.1.0 makes it (`webhooks.generateTestHeaderString`).
    #[test]
    fn what_stripes_own_library_signs_holds() {
        let body = br#"{"id":"evt_1","object":"event","created":1764057600,"type":"payment_intent.succeeded"}"#;
        let header = "t=1764057600,\
                      v1=600cf18c3d3043da108e35fd3eab572a3eca1ceee22ffe4a510926a5fbc956fd";
        assert_eq!(check(header, body, &["whsec_test_secret"], 1_764_057_600), Ok(()));
        let forged = check(header, &body[1..], &["whsec_test_secret"], 1_764_057_600);
        assert_eq!(forged, Err(Untrusted::Forged));
    }

    #[test]
    fn its_time_may_be_off_both_ways_by_the_tolerance() {
        let header = format!("t={NOW},v1={SIGNATURE}");
        let at = |now| check(&header, BODY, &["whsec_test"], now);
        assert_eq!((at(NOW + 300), at(NOW - 300)), (Ok(()), Ok(())));
        assert_eq!(at(NOW + 301), Err(Untrusted::OutOfTime));
        assert_eq!(at(NOW - 301), Err(Untrusted::OutOfTime));
        assert_eq!(at(i64::MIN), Err(Untrusted::OutOfTime));
    }

    #[test]
    fn while_a_secret_is_exchanged_either_is_good() {
        let header = format!("t={NOW},v1={},v1={SIGNATURE}", "0".repeat(64));
        assert_eq!(check(&header, BODY, &["new", "whsec_test"], NOW), Ok(()));
        assert_eq!(check(&header, BODY, &["whsec_test", "new"], NOW), Ok(()));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        for header in ["", "t=", "t=x,v1=00", "v1=00", "t=1700000000", "t=1700000000,v1=zz"] {
            assert_eq!(check(header, BODY, &["whsec_test"], NOW), Err(Untrusted::Malformed));
        }
        let secrets = [SecretString::from("whsec_test")];
        assert_eq!(verify(None, BODY, &secrets, 300, NOW), Err(Untrusted::Malformed));
        let old = format!("t={NOW},v0={SIGNATURE}");
        assert_eq!(check(&old, BODY, &["whsec_test"], NOW), Err(Untrusted::Malformed));
    }
}
