//! URLs as they may be shown.

use reqwest::Url;

/// What stands in the place of a login.
const MASK: &str = "********";

/// `text` without the user and the password of a URL. What only looks like a URL loses whatever
/// stands before its last `@`. Any other text stays as it is.
pub fn url_without_login(text: &str) -> String {
    let Ok(mut url) = text.parse::<Url>() else { return without_login_by_hand(text) };
    let has_login = !url.username().is_empty() || url.password().is_some();
    // A password with a `/` or `#` ends the part in which a login can stand.
    if !has_login && url.has_host() && text.contains('@') {
        return without_login_by_hand(text);
    }
    // PostgreSQL's may stand among the parameters.
    let is_login = |key: &str| matches!(key, "user" | "password");
    let has_parameter = url.query_pairs().any(|(key, _)| is_login(&key));
    if has_login {
        // Fails only for URLs that can't have them, and this one has.
        let _ = url.set_username(MASK);
        let _ = url.set_password(None);
    }
    if has_parameter {
        let pairs = url.query_pairs().into_owned();
        let kept: Vec<(String, String)> = pairs.filter(|(key, _)| !is_login(key)).collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
    }
    if has_login || has_parameter { url.to_string() } else { text.to_owned() }
}

/// The same for a URL that does not parse: a password with a `#` in it, a port that is no number.
fn without_login_by_hand(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let shown = match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}://{MASK}@{rest}"),
        None => text.to_owned(),
    };
    match shown.find("password=") {
        Some(at) => format!("{}password={MASK}", &shown[..at]),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_of_a_url_is_shown() {
        for url in [
            "postgres://user:hunter2@db:5432/orders?sslmode=require",
            "postgres://:hunter2@db/orders?sslmode=require",
            "postgres://db/orders?user=user&password=hunter2&sslmode=require",
            "postgresql:///orders?sslmode=require&password=hunter2&host=/run/postgresql",
            "http://user:hunter2@registry/orders?sslmode=require",
        ] {
            let shown = url_without_login(url);
            assert!(!shown.contains("hunter2") && !shown.contains("user"), "{shown}");
            assert!(shown.contains("orders?sslmode=require"), "{shown}");
        }
        let urls =
            ["sqlite://orders.db", "sqlite:///var/lib/a%20b.db?mode=rw", "postgres://db/orders"];
        for url in urls {
            assert_eq!(url_without_login(url), url);
        }
    }

    #[test]
    fn a_url_that_does_not_parse_shows_no_login() {
        for url in [
            "postgres://user:hunter2#x@db:5432/orders",
            "postgres://user:12/hunter2@db:5432/orders",
            "http://user:hunter2@db:port/",
            "http://user:hunt@er2:hunter2@db:port/",
            "http://db:port/?password=hunter2&user=x",
        ] {
            let shown = url_without_login(url);
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
