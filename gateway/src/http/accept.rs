//! Which media type a client takes.

use http::{HeaderMap, header};

/// What `Accept` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accept {
    /// The media type of one answer; `None` where the client takes neither.
    pub media: Option<Media>,
    pub events: Events,
}

impl Accept {
    pub fn of(headers: &HeaderMap) -> Self {
        if !headers.contains_key(header::ACCEPT) {
            return Self { media: Some(Media::Json), events: Events::No };
        }
        let offered = headers.get_all(header::ACCEPT).iter();
        let offered = offered.filter_map(|value| value.to_str().ok());
        let ranges: Vec<_> =
            offered.flat_map(|value| value.split(',')).filter_map(Range::parse).collect();
        Self { media: Media::negotiate(&ranges), events: Events::negotiate(&ranges) }
    }
}

/// A media type that answers can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/graphql-response+json`: the status tells how it went.
    GraphqlResponse,
    /// `application/json`: the status is 200 for all that is well-formed.
    Json,
}

impl Media {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Self::Json => "application/json; charset=utf-8",
        }
    }

    /// The one that `Accept` prefers; `None` where it takes neither. Without preference it is
    /// JSON, as clients from before the specification expect it, unless the other is named.
    fn negotiate(ranges: &[Range<'_>]) -> Option<Self> {
        let named = best(ranges, "graphql-response+json");
        let json = best(ranges, "json");
        match (named, json) {
            (Some(named), Some(json)) if named.is_exact && named.quality >= json.quality => {
                Some(Self::GraphqlResponse)
            }
            (Some(named), Some(json)) if named.quality > json.quality => {
                Some(Self::GraphqlResponse)
            }
            (_, Some(_)) => Some(Self::Json),
            (Some(_), None) => Some(Self::GraphqlResponse),
            (None, None) => None,
        }
    }
}

/// Whether a client takes an event stream. It has to name it: those that take anything expect one
/// answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    No,
    /// For what can't be answered otherwise.
    Possible,
    /// Rather than JSON.
    Preferred,
}

impl Events {
    fn negotiate(ranges: &[Range<'_>]) -> Self {
        let named = ranges.iter().find(|range| range.is("text", "event-stream"));
        let Some(events) = named.filter(|range| range.quality > 0) else { return Self::No };
        let json = ["graphql-response+json", "json"].map(|sub| best(ranges, sub));
        match json.into_iter().flatten().map(|json| json.quality).max() {
            Some(quality) if quality >= events.quality => Self::Possible,
            _ => Self::Preferred,
        }
    }
}

/// One part of `Accept` (RFC 9110 §12.5.1).
struct Range<'a> {
    main: &'a str,
    sub: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let mut quality = 1000;
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            if name.trim().eq_ignore_ascii_case("q") {
                let weight: f32 = value.trim().parse().ok()?;
                quality = (weight.clamp(0.0, 1.0) * 1000.0) as u16;
            }
        }
        Some(Self { main, sub, quality })
    }

    /// Types are written in either case.
    fn is(&self, main: &str, sub: &str) -> bool {
        self.main.eq_ignore_ascii_case(main) && self.sub.eq_ignore_ascii_case(sub)
    }
}

struct Match {
    quality: u16,
    is_exact: bool,
}

/// The most specific range that has `application/<sub>`; `None` where it is not acceptable.
fn best(ranges: &[Range<'_>], sub: &str) -> Option<Match> {
    let find = |main: &str, sub: &str| ranges.iter().find(|range| range.is(main, sub));
    let (range, is_exact) = match find("application", sub) {
        Some(range) => (range, true),
        None => (find("application", "*").or_else(|| find("*", "*"))?, false),
    };
    (range.quality > 0).then_some(Match { quality: range.quality, is_exact })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(accept: &[&str]) -> Option<Media> {
        let pairs = accept.iter().map(|value| (header::ACCEPT, value.parse().unwrap()));
        Accept::of(&pairs.collect()).media
    }

    #[test]
    fn an_event_stream_has_to_be_named() {
        for (accept, expected) in [
            ("text/event-stream", Events::Preferred),
            ("text/event-stream, application/json;q=0.5", Events::Preferred),
            ("text/event-stream, */*;q=0.1", Events::Preferred),
            (
                "application/graphql-response+json, application/json, text/event-stream, \
              multipart/mixed",
                Events::Possible,
            ),
            ("text/event-stream;q=0.5, application/json", Events::Possible),
            ("*/*", Events::No),
            ("text/*", Events::No),
            ("text/event-stream;q=0", Events::No),
            ("", Events::No),
        ] {
            let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
            assert_eq!(Accept::of(&headers).events, expected, "{accept}");
        }
        assert_eq!(Accept::of(&HeaderMap::new()).events, Events::No);
    }

    #[test]
    fn the_client_gets_what_it_prefers() {
        use Media::{GraphqlResponse, Json};
        let graphql = "application/graphql-response+json";
        let both = "application/graphql-response+json, application/json;q=0.9";
        let equal = "application/json, application/graphql-response+json";
        let json_first = "application/graphql-response+json;q=0.5, application/json";
        for (accept, expected) in [
            (&[][..], Some(Json)),
            (&["*/*"], Some(Json)),
            (&["application/*"], Some(Json)),
            (&["text/html, */*;q=0.1"], Some(Json)),
            (&["application/json"], Some(Json)),
            (&["Application/JSON; charset=utf-8"], Some(Json)),
            (&[graphql], Some(GraphqlResponse)),
            (&[both], Some(GraphqlResponse)),
            (&[equal], Some(GraphqlResponse)),
            (&["application/json", graphql], Some(GraphqlResponse)),
            (&[json_first], Some(Json)),
            (&["application/graphql-response+json, */*;q=0.5"], Some(GraphqlResponse)),
            (&["application/json;q=0, */*"], Some(GraphqlResponse)),
            (&["text/html"], None),
            (&["application/json;q=0"], None),
            (&["application/json;q=zero"], None),
            (&[""], None),
            (&["json"], None),
        ] {
            assert_eq!(negotiate(accept), expected, "{accept:?}");
        }
    }
}
