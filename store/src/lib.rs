//! The order store: what the topics say about each order, folded and ready to be read.
//!
//! - [`Store`]: SQLite or PostgreSQL through sqlx; written by projectors alone, read by gateways alone
//! - [`AnyEvent`], [`Applied`], [`StoredEvent`], [`Position`]: what goes in and how far it came
//! - [`OrderView`] and its parts: an order as [`fold`] derives it from its events; [`OrderState`]: what
//!   lists show of it
//! - [`Waiting`]: orders that wait for a result for too long
//! - [`Scope`], [`EventPage`]: what happened since, of one order, one customer or all
//! - [`Filter`], [`Page`], [`Cursor`], [`Listing`]: lists of orders
//! - [`fingerprint`]: whether two requests asked for the same order

mod backend;
mod copy;
mod entries;
mod error;
mod event;
mod facts;
mod fingerprint;
mod fold;
mod history;
mod insert;
mod list;
mod listing;
mod options;
mod read;
mod refold;
mod rows;
mod search;
mod state;
mod step;
mod store;
mod stuck;
mod timeline;
mod topic;
mod view;
mod write;

pub use backend::schema::Migrated;
pub use entries::Latest;
pub use error::Error;
pub use event::{AnyEvent, Applied, Position, Recorded, StoredEvent};
pub use fingerprint::fingerprint;
pub use fold::fold;
pub use history::{EventPage, EventSummary, Scope};
pub use list::{Cursor, Filter, Listing, MAX_PAGE, MAX_SEARCH, Page};
pub use options::Options;
pub use read::Contents;
pub use state::OrderState;
pub use store::Store;
pub use stuck::Waiting;
pub use view::{
    NotificationView, OrderStatus, OrderView, PaymentStatus, PaymentView, Placement, TimelineEntry,
    TimelineKind,
};
