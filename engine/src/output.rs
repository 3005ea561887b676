//! What a handled record leaves.

use std::sync::Arc;

use crate::Headers;

/// A record to write, in the transaction that commits the offset of the record it comes from.
#[derive(Debug, Clone)]
pub struct Output {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// The key; it decides the partition, by the hash that Java's clients use.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Headers,
}

/// All that a handled record leaves.
#[derive(Debug, Default, Clone)]
pub(crate) struct Finished {
    pub outputs: Vec<Output>,
    pub dead_letter: Option<Box<Output>>,
    /// Whether its dead letter tells of a fault of this program's, and not of a neighbour's.
    pub is_own_fault: bool,
}
