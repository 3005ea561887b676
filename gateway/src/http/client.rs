//! Where a request comes from, past the proxies that are trusted.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use serde::Deserialize;
use tracing::warn;

use crate::Error;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which the trusted proxies tell whom they speak for. One alone is read: the other
/// reaches us as the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, each proxy adds one at the end.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): the same in parameters `for`.
    Forwarded,
}

impl ForwardedHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => header::FORWARDED,
        }
    }

    /// The address that one element names.
    fn address(self, element: &str) -> Option<IpAddr> {
        let node = match self {
            Self::XForwardedFor => element,
            Self::Forwarded => element.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then_some(value)
            })?,
        };
        let node = node.trim().trim_matches('"');
        let bare = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(node);
        let with_port = || node.parse().ok().map(|addr: SocketAddr| addr.ip());
        bare.parse().ok().or_else(with_port).map(|addr: IpAddr| addr.to_canonical())
    }
}

/// The proxies that are believed.
#[derive(Debug)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
    has_warned: AtomicBool,
}

impl Proxies {
    pub fn parse(trusted: &[String], header: ForwardedHeader) -> Result<Self, Error> {
        let net = |(n, text): (usize, &String)| {
            let bare = text.parse().map(|address: IpAddr| address.into());
            bare.or_else(|_| text.parse()).map_err(|_| Error::Options {
                key: "trusted_proxies",
                problem: format!(
                    "has, as number {}, neither an address nor a network such as 10.0.0.0/8",
                    n + 1
                ),
            })
        };
        let trusted = trusted.iter().enumerate().map(net).collect::<Result<_, _>>()?;
        Ok(Self { trusted, header, has_warned: AtomicBool::new(false) })
    }

    pub fn trust(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// The address of the client: of the nearest hop that is no trusted proxy. Whatever is further
    /// away may be made up.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer.to_canonical();
        if !self.trust(nearest) {
            self.hint(nearest, headers);
            return nearest;
        }
        let lines = headers.get_all(self.header.name()).iter().rev();
        let elements = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for element in elements {
            let Some(address) = self.header.address(element) else { break };
            nearest = address;
            if !self.trust(nearest) {
                break;
            }
        }
        nearest
    }

    /// Says once that there may be a proxy that nobody told us of.
    fn hint(&self, peer: IpAddr, headers: &HeaderMap) {
        if !self.has_warned.load(Ordering::Relaxed)
            && headers.contains_key(self.header.name())
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            warn!(
                %peer,
                "a request came with a header of proxies, and from none of \
                 gateway.trusted_proxies: all clients of a proxy that is not listed there count \
                 as one address"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ForwardedHeader, peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()];
        let proxies = Proxies::parse(&trusted, header).unwrap();
        let headers = lines.iter().map(|line| (header.name(), line.parse().unwrap())).collect();
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let of = |peer, lines| client(ForwardedHeader::XForwardedFor, peer, lines);
        assert_eq!(of("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(of("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("2001:db8::1", &["2001:db8::2"]), "2001:db8::2");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_puts_in_front_is_not_believed() {
        let of = |lines| client(ForwardedHeader::XForwardedFor, "10.0.0.1", lines);
        assert_eq!(of(&["203.0.113.9, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(of(&["203.0.113.9", "198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(of(&["198.51.100.7, nonsense"]), "10.0.0.1");
        assert_eq!(of(&["10.1.1.1, 10.2.2.2"]), "10.1.1.1");
        assert_eq!(of(&["198.51.100.7:4711"]), "198.51.100.7");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let of = |lines| client(ForwardedHeader::Forwarded, "10.0.0.1", lines);
        assert_eq!(of(&["for=198.51.100.7;proto=https"]), "198.51.100.7");
        assert_eq!(of(&["For=\"[2001:db8:cafe::17]:4711\""]), "2001:db8:cafe::17");
        assert_eq!(of(&["by=203.0.113.43;for=\"[2001:db8::9]\""]), "2001:db8::9");
        assert_eq!(of(&["for=203.0.113.9, for=_hidden"]), "10.0.0.1");
        assert_eq!(of(&["for=\"1.2.3.4, for=198.51.100.7"]), "198.51.100.7");
        assert_eq!(of(&["proto=https"]), "10.0.0.1");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let parse = |text: &str| Proxies::parse(&[text.into()], ForwardedHeader::Forwarded);
        assert!(["10.0.0.0/8", "10.1.2.3", "::1", "fd00::/8"].iter().all(|t| parse(t).is_ok()));
        assert!(["", "10.0.0.0/33", "proxy", "*"].iter().all(|text| parse(text).is_err()));
    }
}
