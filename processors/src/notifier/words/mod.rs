//! What the mails say. Each language is one table, in a file of its own.

mod de;
mod en;
mod es;

use comanda_schemas::{CHARGED_BEFORE, Currency, FailureReason, PaymentEvent, Rejection};
use serde::{Deserialize, Serialize};

use super::kind::Kind;

/// A language that mails can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    En,
    /// German.
    De,
    /// Spanish.
    Es,
}

impl Language {
    pub(super) fn words(self) -> &'static Words {
        match self {
            Language::En => &en::WORDS,
            Language::De => &de::WORDS,
            Language::Es => &es::WORDS,
        }
    }
}

/// All words of one language. `{number}` stands for the order's short number, `{amount}` for an
/// amount with its currency, `{reason}` for one of [`Declined`].
#[derive(Debug)]
pub(super) struct Words {
    /// Language tag, as HTML wants it (BCP 47).
    pub tag: &'static str,
    /// What stands between whole units and their parts in an amount.
    pub decimal_mark: &'static str,
    pub labels: Labels,
    pub payment_succeeded: Told,
    /// In the place of the above's paragraphs where there was nothing to pay.
    pub nothing_to_pay: &'static [&'static str],
    /// The same for a change of an order that was paid before.
    pub charged_before: &'static [&'static str],
    /// Its paragraphs are those of `failed`.
    pub payment_failed: Told,
    pub failed: Failed,
    pub order_cancelled: Told,
    pub payment_refunded: Told,
    /// Its paragraphs are about a change that came after the charge.
    pub change_rejected: Told,
    /// In their place where another change was there before.
    pub change_overtaken: &'static [&'static str],
    /// In their place where the order was cancelled before.
    pub change_of_cancelled: &'static [&'static str],
}

/// What templates put around what differs from mail to mail.
#[derive(Debug, Serialize)]
pub(super) struct Labels {
    /// A greeting is this, `before_name`, the name and `after_name`; or this and `after_name`.
    pub hello: &'static str,
    pub before_name: &'static str,
    pub after_name: &'static str,
    pub order: &'static str,
    pub quantity: &'static str,
    pub item: &'static str,
    pub amount: &'static str,
    /// Around the number of positions that are not listed.
    pub before_more: &'static str,
    pub after_more: &'static str,
    pub total: &'static str,
    pub note: &'static str,
    pub reply: &'static str,
    pub full_number: &'static str,
}

/// One kind of mail.
#[derive(Debug)]
pub(super) struct Told {
    /// End of the subject, after the restaurant's name.
    pub subject: &'static str,
    pub heading: &'static str,
    /// What happened and what to do.
    pub paragraphs: &'static [&'static str],
}

/// Why nothing was charged, and what to do about it: a paragraph each.
#[derive(Debug)]
pub(super) struct Failed {
    pub declined: [&'static str; 2],
    /// In the place of the first above where the reason may be told.
    pub declined_because: &'static str,
    pub because: Declined,
    pub unreachable: [&'static str; 2],
    pub invalid: [&'static str; 2],
    pub unknown: [&'static str; 2],
}

/// The bank's reasons that may be told.
#[derive(Debug)]
pub(super) struct Declined {
    pub insufficient_funds: &'static str,
    pub expired_card: &'static str,
    pub wrong_security_code: &'static str,
    pub wrong_number: &'static str,
    pub card_not_supported: &'static str,
    pub currency_not_supported: &'static str,
    pub limit_reached: &'static str,
    pub try_again_later: &'static str,
    pub confirmation_needed: &'static str,
}

impl Words {
    pub fn told(&self, kind: Kind) -> &Told {
        match kind {
            Kind::PaymentSucceeded => &self.payment_succeeded,
            Kind::PaymentFailed => &self.payment_failed,
            Kind::OrderCancelled => &self.order_cancelled,
            Kind::PaymentRefunded => &self.payment_refunded,
            Kind::ChangeRejected => &self.change_rejected,
        }
    }

    /// What happened and what to do, a paragraph each.
    pub fn paragraphs(&self, kind: Kind, event: &PaymentEvent) -> Vec<String> {
        let payment = &event.payment;
        let amount = self.amount(payment.amount_minor, payment.currency);
        let paragraphs = match kind {
            Kind::PaymentFailed => return self.failed.paragraphs(event),
            Kind::PaymentSucceeded if payment.payment_id.is_none() => self.nothing_to_pay,
            Kind::PaymentSucceeded if payment.detail.as_deref() == Some(CHARGED_BEFORE) => {
                self.charged_before
            }
            Kind::ChangeRejected => self.rejected(payment.detail.as_deref()),
            kind => self.told(kind).paragraphs,
        };
        paragraphs.iter().map(|text| text.replace("{amount}", &amount)).collect()
    }

    fn rejected(&self, detail: Option<&str>) -> &'static [&'static str] {
        match detail.and_then(Rejection::from_word) {
            Some(Rejection::VersionTaken | Rejection::Overtaken) => self.change_overtaken,
            Some(Rejection::OrderCancelled) => self.change_of_cancelled,
            Some(Rejection::AlreadyCharged) | None => self.change_rejected.paragraphs,
        }
    }

    /// An amount in minor units with its currency's code.
    pub fn amount(&self, minor: i64, currency: Currency) -> String {
        currency.format_minor(minor).replace('.', self.decimal_mark)
    }
}

impl Failed {
    fn paragraphs(&self, event: &PaymentEvent) -> Vec<String> {
        let [why, what] = match event.payment.reason {
            Some(FailureReason::Declined) => self.declined,
            Some(FailureReason::Unreachable) => self.unreachable,
            Some(FailureReason::Invalid) => self.invalid,
            Some(FailureReason::Unknown) | None => self.unknown,
        };
        let declined = event.payment.reason == Some(FailureReason::Declined);
        let code = event.payment.detail.as_deref().filter(|_| declined);
        let why = match code.and_then(|code| self.because.of(code)) {
            Some(reason) => self.declined_because.replace("{reason}", reason),
            None => why.to_owned(),
        };
        vec![why, what.to_owned()]
    }
}

impl Declined {
    /// The reason for a decline code, for those that may be told. Others, such as a card reported
    /// stolen, must look like any decline: <https://docs.stripe.com/declines/codes>.
    fn of(&self, code: &str) -> Option<&'static str> {
        Some(match code {
            "insufficient_funds" => self.insufficient_funds,
            "expired_card" => self.expired_card,
            "incorrect_cvc" | "invalid_cvc" => self.wrong_security_code,
            "incorrect_number" | "invalid_number" => self.wrong_number,
            "card_not_supported" => self.card_not_supported,
            "currency_not_supported" => self.currency_not_supported,
            "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" => self.limit_reached,
            "processing_error" | "issuer_not_available" | "try_again_later" => self.try_again_later,
            "authentication_required" | "requires_action" => self.confirmation_needed,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_says_where_numbers_and_amounts_go() {
        let marks = |texts: &[&str], mark: &str| texts.iter().any(|text| text.contains(mark));
        for language in [Language::En, Language::De, Language::Es] {
            let words = language.words();
            for kind in Kind::ALL {
                let told = words.told(kind);
                assert!(told.subject.contains("{number}"), "{language:?} {kind:?}");
                let amount = matches!(
                    kind,
                    Kind::PaymentSucceeded | Kind::PaymentRefunded | Kind::ChangeRejected
                );
                assert_eq!(marks(told.paragraphs, "{amount}"), amount, "{language:?} {kind:?}");
                let others = [told.subject, told.heading];
                assert!(!marks(&others, "{amount}"), "{language:?} {kind:?}");
            }
            assert!(words.failed.declined_because.contains("{reason}"), "{language:?}");
            let failed = &words.failed;
            let whole = [failed.declined, failed.unreachable, failed.invalid, failed.unknown];
            assert!(!marks(whole.as_flattened(), "{"), "{language:?}");
            for without in [words.nothing_to_pay, words.change_overtaken, words.change_of_cancelled]
            {
                assert!(!marks(without, "{"), "{language:?}");
            }
            assert!(marks(words.charged_before, "{amount}"), "{language:?}");
        }
    }
}
