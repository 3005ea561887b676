//! The order store: what the topics say about each order, folded and ready to be read.
//!
//! - [`Store`]: SQLite through sqlx; written by the projector alone, read by the gateway alone
//! - [`AnyEvent`], [`Applied`], [`StoredEvent`], [`Position`]: what goes in and how far it came
//! - [`OrderView`] and its parts: an order as [`fold`] derives it from its events
//! - [`Filter`], [`Page`], [`Cursor`], [`Listing`]: lists of orders
//! - [`fingerprint`]: whether two requests asked for the same order

mod backfill;
mod error;
mod event;
mod fingerprint;
mod fold;
mod list;
mod listing;
mod read;
mod rows;
mod store;
#[cfg(test)]
mod tests;
mod timeline;
mod view;
mod write;

pub use error::Error;
pub use event::{AnyEvent, Applied, Position, Recorded, StoredEvent};
pub use fingerprint::fingerprint;
pub use fold::fold;
pub use list::{Cursor, Filter, Listing, MAX_PAGE, Page};
pub use store::{Options, Store};
pub use view::{
    NotificationView, OrderStatus, OrderView, PaymentStatus, PaymentView, Placement, TimelineEntry,
    TimelineKind,
};
