//! Spanish.

use super::{Declined, Failed, Labels, Told, Words};

pub(super) const WORDS: Words = Words {
    tag: "es",
    decimal_mark: ",",
    labels: Labels {
        hello: "Hola",
        before_name: ", ",
        after_name: ":",
        order: "Pedido",
        quantity: "Cant.",
        item: "Artículo",
        amount: "Importe",
        before_more: "y",
        after_more: "más",
        total: "Total",
        note: "Nota",
        reply: "¿Alguna pregunta? Responda a este correo.",
        full_number: "Número completo del pedido",
    },
    payment_succeeded: Told {
        subject: "pedido {number} confirmado",
        heading: "Gracias, su pedido está confirmado",
        paragraphs: &["Hemos cobrado {amount} y la cocina ya tiene su pedido."],
    },
    nothing_to_pay: &["No hay nada que pagar y la cocina ya tiene su pedido."],
    charged_before: &[
        "Hemos cambiado su pedido como pidió. Ya estaba pagado ({amount}) y no se cobra \
                       nada más.",
    ],
    payment_failed: Told {
        subject: "no se pudo pagar el pedido {number}",
        heading: "No se pudo pagar su pedido",
        paragraphs: &[],
    },
    failed: Failed {
        declined: [
            "Su pago fue rechazado. No se ha cobrado nada.",
            "Inténtelo de nuevo con otro medio de pago o consulte a su banco.",
        ],
        declined_because: "Su pago fue rechazado: {reason}. No se ha cobrado nada.",
        because: Declined {
            insufficient_funds: "la cuenta no tiene fondos suficientes",
            expired_card: "la tarjeta ha caducado",
            wrong_security_code: "el código de seguridad de la tarjeta no es correcto",
            wrong_number: "el número de la tarjeta no es correcto",
            card_not_supported: "la tarjeta no admite este tipo de compra",
            currency_not_supported: "la tarjeta no admite esta moneda",
            limit_reached: "se ha alcanzado el límite de la tarjeta",
            try_again_later: "el banco no pudo procesarlo en este momento",
            confirmation_needed: "el banco pide una confirmación que aquí no se puede dar",
        },
        unreachable: [
            "No pudimos comunicarnos con nuestro proveedor de pagos. No se ha cobrado nada.",
            "Su medio de pago no tiene ningún problema: inténtelo de nuevo en unos minutos.",
        ],
        invalid: [
            "Nuestro proveedor de pagos no aceptó los datos del pago. No se ha cobrado nada.",
            "Compruebe el medio de pago y el importe e inténtelo de nuevo.",
        ],
        unknown: [
            "No se pudo completar el pago y el proveedor de pagos no tiene ningún cargo registrado.",
            "Inténtelo de nuevo. Si aun así aparece un cargo en su cuenta, avísenos.",
        ],
    },
    order_cancelled: Told {
        subject: "pedido {number} cancelado",
        heading: "Su pedido está cancelado",
        paragraphs: &[
            "Hemos cancelado su pedido, tal como pidió. No se ha cobrado nada y no tiene \
                       que hacer nada más.",
        ],
    },
    payment_refunded: Told {
        subject: "pedido {number} cancelado y reembolsado",
        heading: "Su pedido está cancelado y su pago, reembolsado",
        paragraphs: &[
            "Hemos cancelado su pedido, tal como pidió, y le hemos devuelto {amount}.",
            "Según su banco, el dinero puede tardar hasta diez días en aparecer en su cuenta.",
        ],
    },
    change_rejected: Told {
        subject: "no se pudo cambiar el pedido {number}",
        heading: "No se pudo hacer el cambio",
        paragraphs: &[
            "Su pedido ya estaba pagado ({amount}) cuando recibimos el cambio, así que queda como \
             estaba. Abajo figura lo que pidió; no se ha aplicado ni cobrado.",
            "Si no quiere el pedido tal como se pagó, cancélelo, por favor.",
        ],
    },
    change_overtaken: &[
        "Otro cambio de su pedido llegó antes que el suyo, así que el suyo no se hizo. Abajo figura \
         lo que pidió; no se ha aplicado ni cobrado.",
        "Mire su pedido tal como está ahora y cámbielo otra vez si hace falta.",
    ],
    change_of_cancelled: &[
        "Su pedido ya estaba cancelado cuando recibimos el cambio. Abajo figura lo que pidió; no se \
         ha aplicado ni cobrado.",
    ],
};
