//! A mail, and how it is read from a request.

use comanda_schemas::Timestamp;
use http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

const MAX_RECIPIENTS: usize = 50;
/// Of an address with its name.
const MAX_ADDRESS_BYTES: usize = 1024;
const BOUNCING: &str = "@bounce.invalid";

/// A refusal in Resend's terms.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub name: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self { status, name, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_error", message)
    }

    fn missing(field: &str) -> Self {
        let message = format!("Missing `{field}` field.");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "missing_required_field", message)
    }
}

/// A mail address with or without a name: `ada@example.com`, `Ada <ada@example.com>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let address = Self(text.trim().to_owned());
        let (local, domain) = address.mail().split_once('@')?;
        let plain = |part: &str| {
            !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "@<>,;".contains(c))
        };
        let fits = text.len() <= MAX_ADDRESS_BYTES && !text.contains(char::is_control);
        (fits && plain(local) && plain(domain)).then_some(address)
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address without the name.
    pub fn mail(&self) -> &str {
        let in_brackets = self.0.strip_suffix('>').and_then(|rest| rest.rsplit_once('<'));
        in_brackets.map_or(&self.0, |(_, mail)| mail)
    }
}

/// A mail that was accepted.
#[derive(Debug, Serialize)]
pub struct Mail {
    /// Sorts by the time of receipt.
    pub id: Uuid,
    /// Sender.
    pub from: Address,
    /// Recipients; at least one.
    pub to: Vec<Address>,
    /// Copies.
    pub cc: Vec<Address>,
    /// Blind copies.
    pub bcc: Vec<Address>,
    /// Where answers go.
    pub reply_to: Vec<Address>,
    /// One line.
    pub subject: String,
    /// Body as text; a mail has this, `html` or both.
    pub text: Option<String>,
    /// Body as HTML, as it was sent: never show it outside a sandbox.
    pub html: Option<String>,
    /// `Idempotency-Key` of the request.
    pub idempotency_key: Option<String>,
    /// When it came; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub received_at: Timestamp,
}

fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339())
}

impl Mail {
    /// Date and time to the second, in UTC.
    pub(super) fn received_on_page(&self) -> String {
        let text = self.received_at.to_rfc3339();
        text.get(..19).unwrap_or(&text).replace('T', " ")
    }

    /// Bytes that the mail takes, roughly.
    pub(super) fn size(&self) -> usize {
        let lists = [&self.to, &self.cc, &self.bcc, &self.reply_to];
        let addresses: usize = lists.into_iter().flatten().map(|a| a.0.len() + 24).sum();
        let texts = [&self.text, &self.html, &self.idempotency_key];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        size_of::<Self>() + self.from.0.len() + self.subject.len() + addresses + texts
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Body {
    from: Option<String>,
    to: Option<OneOrMany>,
    cc: Option<OneOrMany>,
    bcc: Option<OneOrMany>,
    reply_to: Option<OneOrMany>,
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
}

/// Reads a mail from the JSON body of a request; it has no id yet.
pub(super) fn read(body: Value, idempotency_key: Option<String>) -> Result<Mail, Refusal> {
    let body: Body =
        serde_json::from_value(body).map_err(|error| Refusal::invalid(error.to_string()))?;
    let from = body.from.ok_or_else(|| Refusal::missing("from"))?;
    let from = Address::parse(&from).ok_or_else(|| {
        Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_from_address",
            "`from` must be an address, or a name and an address in angle brackets",
        )
    })?;
    let to = addresses("to", body.to)?;
    if to.is_empty() {
        return Err(Refusal::missing("to"));
    }
    let subject = body.subject.ok_or_else(|| Refusal::missing("subject"))?;
    if subject.contains(char::is_control) {
        return Err(Refusal::invalid("`subject` must be one line without control characters"));
    }
    if body.text.is_none() && body.html.is_none() {
        return Err(Refusal::missing("html` or `text"));
    }
    Ok(Mail {
        id: Uuid::nil(),
        from,
        to,
        cc: addresses("cc", body.cc)?,
        bcc: addresses("bcc", body.bcc)?,
        reply_to: addresses("reply_to", body.reply_to)?,
        subject,
        text: body.text,
        html: body.html,
        idempotency_key,
        received_at: Timestamp::now(),
    })
}

fn addresses(field: &str, given: Option<OneOrMany>) -> Result<Vec<Address>, Refusal> {
    let given = match given {
        None => Vec::new(),
        Some(OneOrMany::One(address)) => vec![address],
        Some(OneOrMany::Many(addresses)) => addresses,
    };
    if given.len() > MAX_RECIPIENTS {
        return Err(Refusal::invalid(format!("`{field}` has more than {MAX_RECIPIENTS} entries")));
    }
    let parse = |text: String| {
        let address = Address::parse(&text).ok_or_else(|| {
            Refusal::invalid(format!("`{field}` has an entry that is no address"))
        })?;
        if address.mail().to_ascii_lowercase().ends_with(BOUNCING) {
            return Err(Refusal::invalid(format!("`{field}` has an address that takes no mail")));
        }
        Ok(address)
    };
    given.into_iter().map(parse).collect()
}
