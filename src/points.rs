//! Points in time as people write them: `beginning`, `end`, RFC 3339, or an age such as `15m`.

use std::time::Duration;

use anyhow::{Result, bail};
use comanda_schemas::Timestamp;
use comanda_schemas::scan::From;

/// Reads a point; ages count back from `now`.
pub fn parse(text: &str, now: Timestamp) -> Result<From> {
    match text {
        "beginning" => return Ok(From::Beginning),
        "end" => return Ok(From::End),
        _ => {}
    }
    if let Some(age) = age(text) {
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let time = Timestamp::from_micros(now.as_micros().saturating_sub(micros));
        return Ok(From::Time(time.as_millis()));
    }
    match Timestamp::parse_rfc3339(text) {
        Some(time) => Ok(From::Time(time.as_millis())),
        None => bail!(
            "{text:?} is no point in time; write beginning, end, 2026-11-24T12:00:00Z, or an age \
             such as 90s, 15m, 2h, 1d"
        ),
    }
}

/// Reads an age such as `90s`, `15m`, `2h` or `1d`.
pub fn age(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_as_people_write_them() {
        let now = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
        let at = |text| match parse(text, now).unwrap() {
            From::Time(time) => Timestamp::from_millis(time).to_rfc3339(),
            other => format!("{other:?}"),
        };
        assert_eq!(at("90s"), "2026-11-24T11:58:30Z");
        assert_eq!(at("2h"), "2026-11-24T10:00:00Z");
        assert_eq!(at("1d"), "2026-11-23T12:00:00Z");
        assert_eq!(at("2026-01-02T03:04:05+01:00"), "2026-01-02T02:04:05Z");
        assert_eq!(at("beginning"), "Beginning");
        for wrong in ["", "m", "5", "5w", "-5m", "yesterday", "5€"] {
            assert!(parse(wrong, now).is_err(), "{wrong}");
        }
    }
}
