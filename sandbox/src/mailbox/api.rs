//! Resend's path, and the mailbox's own.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::mail::{self, Refusal};
use super::store::{Accepted, Listing};
use super::{Handle, page};
use crate::server::{self, Request};

const MAX_KEY_CHARS: usize = 256;
const MAX_PAGE: usize = 1000;
const DEFAULT_PAGE: usize = 100;

pub(super) fn answer(handle: &Handle, request: &Request) -> Response<Bytes> {
    route(handle, request).unwrap_or_else(|refusal| {
        let Refusal { status, name, message } = refusal;
        let body = json!({ "statusCode": status.as_u16(), "name": name, "message": message });
        json(status, &body)
    })
}

fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    server::json(status, "application/json", body)
}

fn route(handle: &Handle, request: &Request) -> Result<Response<Bytes>, Refusal> {
    let path: Vec<_> = request.path.iter().map(String::as_str).collect();
    match (request.method.as_str(), path.as_slice()) {
        ("POST", ["emails"]) => send(handle, request),
        ("GET", ["api", "mails"]) => list(handle, request),
        ("DELETE", ["api", "mails"]) => {
            handle.store().clear();
            Ok(json(StatusCode::OK, &json!({})))
        }
        ("GET", ["api", "mails", id]) => {
            let mail = parse_id(id).and_then(|id| handle.store().mail(id));
            let mail = mail.ok_or_else(not_found)?;
            Ok(server::json(StatusCode::OK, "application/json", &*mail))
        }
        ("GET", []) => Ok(page::list(handle, request.param("before").and_then(parse_id))),
        ("GET", ["style.css"]) => Ok(page::style()),
        ("GET", ["mails", id]) => {
            parse_id(id).and_then(|id| page::mail(handle, id)).ok_or_else(not_found)
        }
        _ => Err(not_found()),
    }
}

fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here")
}

fn parse_id(id: &str) -> Option<Uuid> {
    id.parse().ok()
}

fn send(handle: &Handle, request: &Request) -> Result<Response<Bytes>, Refusal> {
    if request.bearer().is_none() {
        let message = "Authorization: Bearer and an API key are needed";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "missing_api_key", message));
    }
    let key = match request.headers.get("idempotency-key").map(|key| key.to_str()) {
        None => None,
        Some(Ok(key)) if (1..=MAX_KEY_CHARS).contains(&key.len()) => Some(key.to_owned()),
        Some(_) => {
            let message = "Idempotency-Key is 1 to 256 ASCII characters";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", message));
        }
    };
    let body: Value = serde_json::from_slice(&request.body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "validation_error", error.to_string())
    })?;
    let fingerprint = Sha256::digest(body.to_string()).into();
    let mail = mail::read(body, key)?;
    match handle.store().accept(mail, fingerprint) {
        Accepted::New(id) | Accepted::Replayed(id) => {
            Ok(json(StatusCode::OK, &json!({ "id": id })))
        }
        Accepted::Conflict => {
            let message = "This idempotency key was first used with another body";
            Err(Refusal::new(StatusCode::CONFLICT, "invalid_idempotent_request", message))
        }
    }
}

fn list(handle: &Handle, request: &Request) -> Result<Response<Bytes>, Refusal> {
    let invalid = |param: &str| {
        let message = format!("`{param}` is not understood");
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_error", message)
    };
    let limit = match request.param("limit").map(str::parse::<usize>) {
        None => DEFAULT_PAGE,
        Some(Ok(limit @ 1..=MAX_PAGE)) => limit,
        Some(_) => return Err(invalid("limit")),
    };
    let after = request.param("after").map(|id| parse_id(id).ok_or_else(|| invalid("after")));
    let listing = Listing { to: request.param("to"), after: after.transpose()?, limit };
    let store = handle.store();
    let (mails, has_more) = store.list(&listing);
    let counts = store.counts();
    drop(store);
    let mails: Vec<_> = mails.iter().map(|mail| &**mail).collect();
    Ok(json(StatusCode::OK, &json!({ "mails": mails, "has_more": has_more, "counts": counts })))
}
