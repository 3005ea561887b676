//! Who asks, and what that rests on.

use std::sync::Arc;

use crate::failure::{Code, Failure};

/// Who asks, where they showed a good key or token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    Operator,
    Customer(Arc<str>),
}

impl Principal {
    /// Whether orders of `customer_id` are theirs to place and see.
    pub fn is_allowed(&self, customer_id: &str) -> bool {
        match self {
            Self::Operator => true,
            Self::Customer(own) => **own == *customer_id,
        }
    }
}

/// Who asks; `None` for nobody in particular.
pub(crate) type Caller = Option<Principal>;

/// What a good key or token gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub principal: Principal,
    pub proof: Proof,
}

/// What a grant rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// An API key, by its hash: it holds as long as the key is one of those accepted.
    Key([u8; 32]),
    /// A token: it holds until this time, in seconds since the Unix epoch.
    Token { until: u64 },
}

/// Why a credential gives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub failure: Failure,
    /// Whether it counts as a wrong key. What was good once, or will be, is no guess.
    pub is_wrong_key: bool,
}

impl Denial {
    /// For a credential that is not wrong.
    pub fn harmless(failure: Failure) -> Self {
        Self { failure, is_wrong_key: false }
    }
}

impl From<Failure> for Denial {
    fn from(failure: Failure) -> Self {
        let is_wrong_key = matches!(failure.code, Code::Unauthenticated | Code::Forbidden);
        Self { failure, is_wrong_key }
    }
}
