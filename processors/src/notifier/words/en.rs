//! English.

use super::{Declined, Failed, Labels, Told, Words};

pub(super) const WORDS: Words = Words {
    tag: "en",
    decimal_mark: ".",
    labels: Labels {
        hello: "Hello",
        before_name: " ",
        after_name: ",",
        order: "Order",
        quantity: "Qty",
        item: "Item",
        amount: "Amount",
        before_more: "and",
        after_more: "more",
        total: "Total",
        note: "Note",
        reply: "Questions? Just answer this mail.",
        full_number: "Full order number",
    },
    payment_succeeded: Told {
        subject: "order {number} is confirmed",
        heading: "Thank you, your order is confirmed",
        paragraphs: &["We have charged {amount}, and the kitchen has your order."],
    },
    nothing_to_pay: &["There is nothing to pay, and the kitchen has your order."],
    charged_before: &[
        "We have changed your order as you asked. It was paid before ({amount}), and \
                       nothing more is charged.",
    ],
    payment_failed: Told {
        subject: "order {number} could not be paid",
        heading: "Your order could not be paid",
        paragraphs: &[],
    },
    failed: Failed {
        declined: [
            "Your payment was declined. Nothing was charged.",
            "Please try again with another payment method, or ask your bank.",
        ],
        declined_because: "Your payment was declined: {reason}. Nothing was charged.",
        because: Declined {
            insufficient_funds: "the account has insufficient funds",
            expired_card: "the card has expired",
            wrong_security_code: "the card's security code is wrong",
            wrong_number: "the card's number is wrong",
            card_not_supported: "the card does not support this kind of purchase",
            currency_not_supported: "the card does not support this currency",
            limit_reached: "the card's limit is reached",
            try_again_later: "the bank could not process it just now",
            confirmation_needed: "the bank asks for a confirmation that can't be given here",
        },
        unreachable: [
            "We could not reach our payment provider. Nothing was charged.",
            "There is nothing wrong with your payment method: please try again in a few minutes.",
        ],
        invalid: [
            "Our payment provider did not accept the payment details. Nothing was charged.",
            "Please check the payment method and the amount, and try again.",
        ],
        unknown: [
            "The payment could not be completed, and the payment provider has no charge for it.",
            "Please try again. Should a charge show on your account all the same, tell us.",
        ],
    },
    order_cancelled: Told {
        subject: "order {number} is cancelled",
        heading: "Your order is cancelled",
        paragraphs: &[
            "We have cancelled your order as you asked. Nothing was charged, and there is \
                       nothing left for you to do.",
        ],
    },
    payment_refunded: Told {
        subject: "order {number} is cancelled and refunded",
        heading: "Your order is cancelled and your payment refunded",
        paragraphs: &[
            "We have cancelled your order as you asked and given back {amount}.",
            "Depending on your bank it takes up to ten days until you see the money.",
        ],
    },
    change_rejected: Told {
        subject: "order {number} could not be changed",
        heading: "Your change could not be made",
        paragraphs: &[
            "Your order was already paid ({amount}) when your change reached us, so it stays as it \
             was. Below is what you asked for; it was not applied and not charged.",
            "If you don't want the order as it was paid, please cancel it.",
        ],
    },
    change_overtaken: &[
        "Another change of your order was there before yours, so yours was not made. Below is what \
         you asked for; it was not applied and not charged.",
        "Please look at your order as it is now, and change it again if need be.",
    ],
    change_of_cancelled: &[
        "Your order was already cancelled when your change reached us. Below is what you asked for; \
         it was not applied and not charged.",
    ],
};
