//! Documents that were found to be valid, by the hash of their text.

use std::sync::Arc;

use quick_cache::sync::{Cache as Store, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::Document;
use crate::digest::Digest;

/// Parts that are locked one by one; a document has to fit into one.
const SHARDS: usize = 8;

/// Documents by their digest, bounded in number and bytes. One that was used once does not drive
/// out those that are used again and again (S3-FIFO).
pub(super) struct Cache {
    known: Store<Digest, Arc<Document>, Weigher>,
}

/// Weighs in bytes. Each weighs its share at least, so that the number is bounded as well.
#[derive(Clone)]
struct Weigher {
    share: u64,
}

impl Weighter<Digest, Arc<Document>> for Weigher {
    fn weight(&self, _: &Digest, document: &Arc<Document>) -> u64 {
        (document.bytes as u64).max(self.share)
    }
}

impl Cache {
    /// At most `documents` that take at most `bytes`; each at least 1.
    pub fn new(documents: usize, bytes: u64) -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(documents)
            .weight_capacity(bytes)
            .build()
            .expect("both capacities are given");
        let weigher = Weigher { share: (bytes / documents as u64).max(1) };
        let hasher = DefaultHashBuilder::default();
        Self { known: Store::with_options(options, weigher, hasher, DefaultLifecycle::default()) }
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<Document>> {
        self.known.get(digest)
    }

    pub fn insert(&self, digest: Digest, document: Arc<Document>) {
        self.known.insert(digest, document);
    }
}
