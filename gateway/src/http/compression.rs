//! Compressing answers.
//!
//! That a compressed answer's length tells of what is in it (BREACH) takes a page that makes the
//! victim's browser send requests with its credentials; a key is not sent by itself.

use http::Response;
use http_body::Body;
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::Predicate;

/// Which answers are compressed: those that are long enough and known whole. A stream of events is
/// neither.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Long {
    /// In bytes; 0 for none at all.
    min: u64,
}

impl Predicate for Long {
    fn should_compress<B: Body>(&self, response: &Response<B>) -> bool {
        self.min > 0 && response.body().size_hint().exact().is_some_and(|size| size >= self.min)
    }
}

/// A service whose answers of at least `min` bytes are compressed as the client takes it: zstd or
/// gzip.
pub(crate) fn compressed<S>(service: S, min: u64) -> Compression<S, Long> {
    Compression::new(service).quality(CompressionLevel::Fastest).compress_when(Long { min })
}
