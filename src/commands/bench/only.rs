//! Which cases are measured: those that were named, or all.

use anyhow::{Result, bail};

/// Whether all names are those of `cases`; the pace of `paced` follows from `base`.
pub fn check(only: &[String], cases: &[String], paced: [&str; 2], base: &str) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| !cases.contains(name)) {
        bail!("there is no case {unknown:?}, only {}", cases.join(", "));
    }
    let has = |case: &str| only.iter().any(|only| only == case);
    if paced.iter().any(|case| has(case)) && !has(base) {
        bail!("the pace of {} follows from {base}; name it as well", paced.join(" and "));
    }
    Ok(())
}

/// Whether a case is to be measured.
pub fn wants(only: &[String], case: &str) -> bool {
    only.is_empty() || only.iter().any(|only| only == case)
}
