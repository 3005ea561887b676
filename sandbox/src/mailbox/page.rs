//! The web page.

use std::sync::Arc;

use askama::Template;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use uuid::Uuid;

use super::Handle;
use super::mail::Mail;
use super::store::Counts;
use crate::server::with_body;

const PAGE: usize = 100;
const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = include_str!("../../templates/style.css");
const LIST_POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";
/// The frame with the mail inherits this policy: a mail may style itself and show pictures that
/// it carries, and load nothing.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src data:; \
                           frame-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    mails: Vec<Arc<Mail>>,
    counts: Counts,
    is_newest: bool,
    older: Option<Uuid>,
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Single {
    mail: Arc<Mail>,
}

pub(super) fn list(handle: &Handle, before: Option<Uuid>) -> Response<Bytes> {
    let store = handle.store();
    let (mails, more) = store.newest(before, PAGE);
    let older = mails.last().map(|mail| mail.id).filter(|_| more);
    let counts = store.counts();
    drop(store);
    render(&List { mails, counts, is_newest: before.is_none(), older }, LIST_POLICY)
}

pub(super) fn mail(handle: &Handle, id: Uuid) -> Option<Response<Bytes>> {
    let mail = handle.store().mail(id)?;
    Some(render(&Single { mail }, MAIL_POLICY))
}

pub(super) fn style() -> Response<Bytes> {
    with_body(StatusCode::OK, "text/css; charset=utf-8", STYLE)
}

fn render(page: &impl Template, policy: &'static str) -> Response<Bytes> {
    let html = page.render().expect("the templates write nothing that can fail");
    let mut response = with_body(StatusCode::OK, HTML, html);
    let set: [(HeaderName, &'static str); 4] = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
