//! Stripe's paths, and the course of a charge or refund.

use std::sync::Arc;
use std::time::Duration;

use comanda_schemas::Timestamp;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::books::{Books, Operation, State};
use super::fault::{self, Fault};
use super::form::Form;
use super::keys::{Begun, Stored};
use super::refusal::Refusal;
use super::search::{self, Clause};
use super::token::Token;
use super::{Handle, render};
use crate::server::{self, Answer, Request};

const MAX_KEY_CHARS: usize = 255;
const MAX_PAGE: usize = 100;

pub(super) async fn answer(handle: Handle, request: Request) -> Answer {
    let path: Vec<_> = request.path.iter().map(String::as_str).collect();
    let answered = match (request.method.as_str(), path.as_slice()) {
        ("GET", ["ledger"]) => {
            let ledger = match request.param("order_id") {
                Some(order) => handle.ledger_of(order),
                None => handle.ledger(),
            };
            return Answer::Send(server::json(StatusCode::OK, "application/json", &ledger));
        }
        (_, ["v1", ..]) if request.bearer().is_none() => Err(Refusal::unauthenticated()),
        ("POST", ["v1", "payment_intents"]) => create(&handle, &request).await,
        ("POST", ["v1", "refunds"]) => refund(&handle, &request).await,
        ("GET", ["v1", "payment_intents", "search"]) => search(&handle, &request).await,
        ("GET", ["v1", "payment_intents", id]) => {
            let books = handle.books();
            match books.intent(id) {
                Some(index) => Ok(send(StatusCode::OK, &render::intent(&books, index))),
                None => Err(Refusal::not_found("payment_intent", id)),
            }
        }
        ("GET", ["v1", "refunds"]) => refunds(&handle, &request),
        _ => Err(Refusal::no_route()),
    };
    answered.unwrap_or_else(|refusal| refuse(&refusal))
}

fn send(status: StatusCode, body: &Value) -> Answer {
    Answer::Send(server::json(status, "application/json", body))
}

fn refuse(refusal: &Refusal) -> Answer {
    let (status, body) = render::refusal(refusal);
    let mut response = server::json(status, "application/json", &body);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert("retry-after", HeaderValue::from_static("1"));
    }
    Answer::Send(response)
}

async fn create(handle: &Handle, request: &Request) -> Result<Answer, Refusal> {
    let key = key(request)?;
    let form = Form::new(server::pairs(&request.body));
    let new = form.intent()?;
    let token = new.token;
    let fingerprint = form.fingerprint(&request.path);
    let (begun, index) = handle.books().begin_intent(key.as_ref(), fingerprint, new)?;
    Ok(go_on(handle, key, begun, token, Operation::Intent(index)).await)
}

async fn refund(handle: &Handle, request: &Request) -> Result<Answer, Refusal> {
    let key = key(request)?;
    let form = Form::new(server::pairs(&request.body));
    let new = form.refund()?;
    let fingerprint = form.fingerprint(&request.path);
    let begun = handle.books().begin_refund(key.as_ref(), fingerprint)?;
    Ok(go_on(handle, key, begun, None, Operation::Refund(new)).await)
}

fn key(request: &Request) -> Result<Option<Arc<str>>, Refusal> {
    let Some(value) = request.headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=MAX_KEY_CHARS).contains(&key.len()) => Ok(Some(key.into())),
        _ => Err(Refusal::bad_request("Idempotency-Key is 1 to 255 ASCII characters")),
    }
}

async fn go_on(
    handle: &Handle,
    key: Option<Arc<str>>,
    begun: Begun,
    token: Option<&'static Token>,
    operation: Operation,
) -> Answer {
    let tries = match begun {
        Begun::Run { tries } => tries,
        Begun::Replay(stored) => {
            let (status, body) = render::stored(&handle.books(), stored);
            let mut response = server::json(status, "application/json", &body);
            let headers = response.headers_mut();
            headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
            return Answer::Send(response);
        }
    };
    let fault = fault::choose(&handle.shared.options, token, key.as_deref(), tries);
    let ticket = Ticket { handle: handle.clone(), key };
    // On a task of its own: a client that hangs up cancels its handler, not the charge.
    match tokio::spawn(run(ticket, fault, operation)).await {
        Ok(answer) => answer,
        Err(_) => Answer::HangUp,
    }
}

async fn run(ticket: Ticket, fault: Option<Fault>, operation: Operation) -> Answer {
    let options = &ticket.handle.shared.options;
    pause(options.latency_ms).await;
    if let Some(answer) = strike(&ticket.handle, fault).await {
        if fault == Some(Fault::StoredError500) {
            ticket.handle.books().store(ticket.key.as_ref(), Stored::Error500);
        }
        return answer;
    }
    let mut books = ticket.handle.books();
    match books.execute(ticket.key.as_ref(), operation) {
        Ok(_) if fault == Some(Fault::ChargeThenDrop) => hang_up(&mut books),
        Ok(stored) => {
            let (status, body) = render::stored(&books, stored);
            send(status, &body)
        }
        Err(refusal) => refuse(&refusal),
    }
}

/// The answer that comes before anything is done.
async fn strike(handle: &Handle, fault: Option<Fault>) -> Option<Answer> {
    match fault {
        Some(Fault::Drop) => Some(hang_up(&mut handle.books())),
        Some(Fault::RateLimited) => {
            handle.books().counted.rate_limited += 1;
            Some(refuse(&Refusal::rate_limited()))
        }
        Some(Fault::Error500 | Fault::StoredError500) => {
            handle.books().counted.server_errors += 1;
            Some(refuse(&Refusal::server_error()))
        }
        Some(Fault::Slow) => {
            pause(handle.shared.options.slow_ms).await;
            None
        }
        Some(Fault::ChargeThenDrop) | None => None,
    }
}

fn hang_up(books: &mut Books) -> Answer {
    books.counted.hung_up += 1;
    Answer::HangUp
}

/// A sleep of nothing would still wait for the timer's next tick.
async fn pause(millis: u64) {
    if millis > 0 {
        sleep(Duration::from_millis(millis)).await;
    }
}

/// Holds a key while its request runs. Dropped without a stored answer, the key is free again.
struct Ticket {
    handle: Handle,
    key: Option<Arc<str>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.handle.books().release(key);
        }
    }
}

async fn search(handle: &Handle, request: &Request) -> Result<Answer, Refusal> {
    let query = request.param("query").ok_or_else(|| Refusal::missing("query"))?;
    let clauses = search::parse(query)?;
    let order = clauses.iter().find_map(|clause| match clause {
        Clause::Metadata { name, value } if name == "order_id" => Some(value.as_str()),
        Clause::Metadata { .. } | Clause::Status(_) => None,
    });
    let number = {
        let mut books = handle.books();
        books.counted.look_ups += 1;
        books.counted.look_ups
    };
    let fault = fault::choose(&handle.shared.options, None, Some("search"), number);
    if let Some(answer) = strike(handle, fault).await {
        return Ok(answer);
    }
    if fault == Some(Fault::ChargeThenDrop) {
        return Ok(hang_up(&mut handle.books()));
    }
    let lag = Duration::from_millis(handle.shared.options.search_lag_ms);
    let now = Timestamp::now();
    let books = handle.books();
    let matches = |index: &u32| {
        let attempt = &books.attempts[*index as usize];
        let holds = |clause: &Clause| match clause {
            Clause::Metadata { name, value } => attempt.metadata(name) == Some(value),
            Clause::Status(status) => render::status(attempt.state) == status,
        };
        attempt.state != State::Open && now.since(attempt.at) >= lag && clauses.iter().all(holds)
    };
    let found = books.of_order(order).into_iter().rev().filter(matches);
    page(request, "search_result", found, |index| render::intent(&books, index))
}

fn refunds(handle: &Handle, request: &Request) -> Result<Answer, Refusal> {
    let books = handle.books();
    let id = request.param("payment_intent").ok_or_else(|| Refusal::missing("payment_intent"))?;
    let of = books.intent(id).ok_or_else(|| Refusal::not_found("payment_intent", id))?;
    let found: Vec<u32> =
        (0..).zip(&books.refunds).filter(|(_, r)| r.attempt == of).map(|(i, _)| i).collect();
    page(request, "list", found.into_iter().rev(), |index| render::refund(&books, index))
}

/// One page of a list. `page` is how many to leave out, from the last answer's `next_page`.
fn page(
    request: &Request,
    object: &str,
    found: impl Iterator<Item = u32>,
    render: impl Fn(u32) -> Value,
) -> Result<Answer, Refusal> {
    let number = |name: &str, default| match request.param(name).map(str::parse::<usize>) {
        None => Ok(default),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => {
            Err(Refusal::parameter("parameter_invalid_integer", name, "Not an integer"))
        }
    };
    let limit = number("limit", 10)?.clamp(1, MAX_PAGE);
    let skip = number("page", 0)?;
    let mut found = found.skip(skip);
    let data: Vec<_> = found.by_ref().take(limit).map(render).collect();
    let next_page = found.next().map(|_| (skip + data.len()).to_string());
    let body = json!({
        "object": object,
        "data": data,
        "has_more": next_page.is_some(),
        "next_page": next_page,
        "url": format!("/{}", request.path.join("/")),
    });
    Ok(send(StatusCode::OK, &body))
}
