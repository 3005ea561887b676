//! What the mails look like.

use super::client::Client;
use super::mail::Writer;
use super::{Error, Options};

/// The mail for one of the bundled samples.
#[derive(Debug)]
pub struct Preview {
    /// Name of the sample: the kind of mail, and what is special about it.
    pub name: &'static str,
    /// One line.
    pub subject: String,
    /// Body as text.
    pub text: String,
    /// Body as HTML.
    pub html: String,
}

/// The mails that `options` give for the bundled samples, each kind at least once.
pub fn preview(options: &Options) -> Result<Vec<Preview>, Error> {
    let can_reply = Client::new(options)?.can_reply();
    let mails = Writer::new(options, can_reply)?.samples()?;
    let show = |(name, mail): (_, super::mail::Mail)| Preview {
        name,
        subject: mail.subject,
        text: mail.text,
        html: mail.html,
    };
    Ok(mails.into_iter().map(show).collect())
}
