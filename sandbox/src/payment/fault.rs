//! Which request goes wrong, and how.

use sha2::{Digest, Sha256};

use super::Options;
use super::token::Token;
use crate::Error;

/// A way to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Drop,
    ChargeThenDrop,
    Error500,
    StoredError500,
    RateLimited,
    Slow,
}

fn shares(options: &Options) -> [(u8, Fault); 6] {
    [
        (options.drop_percent, Fault::Drop),
        (options.charge_then_drop_percent, Fault::ChargeThenDrop),
        (options.error500_percent, Fault::Error500),
        (options.stored_error500_percent, Fault::StoredError500),
        (options.rate_limited_percent, Fault::RateLimited),
        (options.slow_percent, Fault::Slow),
    ]
}

pub(super) fn check(options: &Options) -> Result<(), Error> {
    let sum: u32 = shares(options).iter().map(|(percent, _)| u32::from(*percent)).sum();
    if sum > 100 {
        return Err(Error::Options { key: "*_percent", problem: "the shares exceed 100 together" });
    }
    Ok(())
}

/// What goes wrong with the try after `tries` others under the key. `token` is `None` but for
/// charges, `key` for requests without one.
pub(super) fn choose(
    options: &Options,
    token: Option<&Token>,
    key: Option<&str>,
    tries: u64,
) -> Option<Fault> {
    if let Some(token) = token
        && token.fault.is_some()
    {
        return token.fault.filter(|_| token.always || tries == 0);
    }
    let mut drawn = match key {
        Some(key) => {
            let digest = Sha256::new()
                .chain_update(options.seed.to_be_bytes())
                .chain_update(tries.to_be_bytes())
                .chain_update(key);
            digest.finalize().iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % 100)
        }
        None => rand::random_range(0..100),
    };
    for (percent, fault) in shares(options) {
        match drawn.checked_sub(percent.into()) {
            None => return Some(fault),
            Some(rest) => drawn = rest,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_strike_their_part_of_the_keys_and_the_same_ones_each_time() {
        let options = Options { seed: 7, drop_percent: 10, slow_percent: 30, ..Options::default() };
        let choose_all = |options: &Options| -> Vec<_> {
            (0..10_000).map(|i| choose(options, None, Some(&format!("key-{i}")), 0)).collect()
        };
        let chosen = choose_all(&options);
        let count = |fault| chosen.iter().filter(|c| **c == fault).count();
        assert!((800..1200).contains(&count(Some(Fault::Drop))));
        assert!((2700..3300).contains(&count(Some(Fault::Slow))));
        assert_eq!(count(Some(Fault::Drop)) + count(Some(Fault::Slow)) + count(None), 10_000);
        assert_eq!(chosen, choose_all(&options));
        assert_ne!(chosen, choose_all(&Options { seed: 8, ..options.clone() }));
    }

    #[test]
    fn each_try_is_drawn_anew() {
        let options = Options { seed: 7, error500_percent: 50, ..Options::default() };
        let tries = |n| (0..n).filter(|t| choose(&options, None, Some("k"), *t).is_some()).count();
        assert!((400..600).contains(&tries(1_000)));
        let token = Token::parse("pm_sandbox_drop_once");
        assert_eq!(choose(&options, token, Some("k"), 0), Some(Fault::Drop));
        assert!((1..100).all(|t| choose(&options, token, Some("k"), t).is_none()));
    }

    #[test]
    fn shares_above_a_hundred_are_refused() {
        let options = Options { drop_percent: 60, slow_percent: 40, ..Options::default() };
        assert!(check(&options).is_ok());
        assert!(check(&Options { error500_percent: 1, ..options }).is_err());
    }
}
