//! German.

use super::{Declined, Failed, Labels, Told, Words};

pub(super) const WORDS: Words = Words {
    tag: "de",
    decimal_mark: ",",
    labels: Labels {
        hello: "Guten Tag",
        before_name: " ",
        after_name: ",",
        order: "Bestellung",
        quantity: "Menge",
        item: "Artikel",
        amount: "Betrag",
        before_more: "und",
        after_more: "weitere",
        total: "Summe",
        note: "Anmerkung",
        reply: "Fragen? Antworten Sie einfach auf diese E-Mail.",
        full_number: "Vollständige Bestellnummer",
    },
    payment_succeeded: Told {
        subject: "Bestellung {number} ist bestätigt",
        heading: "Vielen Dank, Ihre Bestellung ist bestätigt",
        paragraphs: &["Wir haben {amount} abgebucht, und die Küche hat Ihre Bestellung."],
    },
    nothing_to_pay: &["Es ist nichts zu bezahlen, und die Küche hat Ihre Bestellung."],
    charged_before: &[
        "Wir haben Ihre Bestellung geändert, wie Sie es wollten. Sie war schon bezahlt \
                       ({amount}), und es wird nichts weiter abgebucht.",
    ],
    payment_failed: Told {
        subject: "Bestellung {number} konnte nicht bezahlt werden",
        heading: "Ihre Bestellung konnte nicht bezahlt werden",
        paragraphs: &[],
    },
    failed: Failed {
        declined: [
            "Ihre Zahlung wurde abgelehnt. Es wurde nichts abgebucht.",
            "Bitte versuchen Sie es mit einer anderen Zahlungsart, oder fragen Sie Ihre Bank.",
        ],
        declined_because: "Ihre Zahlung wurde abgelehnt: {reason}. Es wurde nichts abgebucht.",
        because: Declined {
            insufficient_funds: "das Konto ist nicht ausreichend gedeckt",
            expired_card: "die Karte ist abgelaufen",
            wrong_security_code: "der Sicherheitscode der Karte stimmt nicht",
            wrong_number: "die Kartennummer stimmt nicht",
            card_not_supported: "die Karte ist für diese Art von Kauf nicht zugelassen",
            currency_not_supported: "die Karte ist für diese Währung nicht zugelassen",
            limit_reached: "das Limit der Karte ist erreicht",
            try_again_later: "die Bank konnte sie gerade nicht bearbeiten",
            confirmation_needed: "die Bank verlangt eine Bestätigung, die hier nicht möglich ist",
        },
        unreachable: [
            "Wir konnten unseren Zahlungsdienst nicht erreichen. Es wurde nichts abgebucht.",
            "Mit Ihrer Zahlungsart ist alles in Ordnung: Bitte versuchen Sie es in ein paar Minuten \
             noch einmal.",
        ],
        invalid: [
            "Unser Zahlungsdienst hat die Zahlungsangaben nicht angenommen. Es wurde nichts \
             abgebucht.",
            "Bitte prüfen Sie Zahlungsart und Betrag, und versuchen Sie es noch einmal.",
        ],
        unknown: [
            "Die Zahlung konnte nicht abgeschlossen werden, und dem Zahlungsdienst liegt keine \
             Abbuchung dafür vor.",
            "Bitte versuchen Sie es noch einmal. Sollte auf Ihrem Konto trotzdem eine Abbuchung \
             erscheinen, sagen Sie uns Bescheid.",
        ],
    },
    order_cancelled: Told {
        subject: "Bestellung {number} ist storniert",
        heading: "Ihre Bestellung ist storniert",
        paragraphs: &["Wir haben Ihre Bestellung wie gewünscht storniert. Es wurde nichts \
                       abgebucht, und Sie brauchen nichts weiter zu tun."],
    },
    payment_refunded: Told {
        subject: "Bestellung {number} ist storniert und erstattet",
        heading: "Ihre Bestellung ist storniert und Ihre Zahlung erstattet",
        paragraphs: &[
            "Wir haben Ihre Bestellung wie gewünscht storniert und {amount} erstattet.",
            "Je nach Bank dauert es bis zu zehn Tage, bis das Geld auf Ihrem Konto erscheint.",
        ],
    },
    change_rejected: Told {
        subject: "Bestellung {number} konnte nicht geändert werden",
        heading: "Ihre Änderung war nicht möglich",
        paragraphs: &[
            "Ihre Bestellung war schon bezahlt ({amount}), als uns Ihre Änderung erreichte, und \
             bleibt daher, wie sie war. Unten steht, was Sie wollten; es wurde nicht übernommen und \
             nicht abgebucht.",
            "Wenn Sie die Bestellung so, wie sie bezahlt ist, nicht möchten, stornieren Sie sie \
             bitte.",
        ],
    },
    change_overtaken: &[
        "Eine andere Änderung Ihrer Bestellung war vor Ihrer da, daher wurde Ihre nicht übernommen. \
         Unten steht, was Sie wollten; es wurde nicht übernommen und nicht abgebucht.",
        "Bitte sehen Sie sich die Bestellung an, wie sie jetzt ist, und ändern Sie sie noch einmal, \
         wenn nötig.",
    ],
    change_of_cancelled: &[
        "Ihre Bestellung war schon storniert, als uns Ihre Änderung erreichte. Unten steht, was Sie \
         wollten; es wurde nicht übernommen und nicht abgebucht.",
    ],
};
